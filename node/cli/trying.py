"""``send``, ``demo`` and ``fhir``: objects on their way out of a folder, and what becomes of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli import common
from node.cli.common import ConfigFile, Url, add, client, err, load, out, reported, show
from node.errors import ConfigError

if TYPE_CHECKING:
    from node.fhir.options import FhirOptions
    from node.fhir.targets import Profile

PROFILE_NAMES = ("r5", "imr", "osiris", "dstu1", "imagingselection")


def register(app: typer.Typer) -> None:
    """Adds this group's commands."""
    add(
        app,
        send,
        common.TRY,
        "dicom-fhir-node send FOLDER --to DICOMFHIR@localhost:11112",
        "dicom-fhir-node send *.dcm --to PACS@10.0.0.7:104 --calling CT1 -n 4",
    )
    add(
        app,
        demo,
        common.TRY,
        "dicom-fhir-node demo",
        "dicom-fhir-node demo --wait                    # to the end of the quiet period",
    )
    add(
        app,
        fhir,
        common.TRY,
        "dicom-fhir-node fhir FOLDER",
        "dicom-fhir-node fhir FOLDER --profile osiris --config node.toml",
        "dicom-fhir-node fhir --explain --profile r5    # where each element comes from",
    )


def _profiles(incomplete: str) -> list[str]:
    return [name for name in PROFILE_NAMES if name.startswith(incomplete)]


@reported
def send(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="DICOM files and folders")],
    to: Annotated[str, typer.Option("--to", metavar="AE@HOST:PORT", help="Who gets them.")],
    calling: Annotated[str, typer.Option("--calling", help="Calling AE title.")] = "DICOMFHIR-SEND",
    associations: Annotated[
        int, typer.Option("--associations", "-n", min=1, max=64, help="So many at a time.")
    ] = 1,
    retries: Annotated[int, typer.Option(min=0, help="New associations after one was lost.")] = 3,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the peer.")] = 30.0,
) -> None:
    """Send files by C-STORE, as they are; exit 1 if any object was not stored."""
    from node.services.send import SendOptions
    from node.services.send.address import Address
    from node.services.send.view import print_summary, send_with_progress

    try:
        address = Address.parse(to)
        options = SendOptions(calling_ae=calling, associations=associations, retries=retries, timeout=timeout)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise typer.BadParameter(f"no such file or folder: {missing[0]}")
    summary = send_with_progress(paths, address, options, out)
    print_summary(summary, out)
    raise typer.Exit(summary.exit_code)


@reported
def demo(
    to: Annotated[
        str,
        typer.Option("--to", metavar="AE@HOST:PORT", help="Default: from the configuration."),
    ] = "",
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait out the quiet period instead of using `complete`.")
    ] = False,
    url: Url = None,
    config: ConfigFile = None,
) -> None:
    """Send a small made-up study to the running node and show the event that comes out."""
    from node.demo import run_demo

    settings = load(config)
    where = to or f"{settings.dicom.ae_title}@127.0.0.1:{settings.dicom.port}"
    if not run_demo(where, client(url, config), out, wait):
        raise typer.Exit(1)


@reported
def fhir(
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="PATH", help="DICOM files and folders")
    ] = None,
    profile: Annotated[
        str,
        typer.Option(
            "--profile", "-p", help="What to make: " + ", ".join(PROFILE_NAMES), autocompletion=_profiles
        ),
    ] = "r5",
    study: Annotated[str, typer.Option(help="Only of this Study Instance UID.")] = "",
    explain: Annotated[bool, typer.Option("--explain", help="Print where each element comes from.")] = False,
    no_check: Annotated[bool, typer.Option("--no-check", help="Print also what is not valid.")] = False,
    config: ConfigFile = None,
) -> None:
    """Print what DICOM files would be published as, one resource a line; no node is needed, nothing is kept.

    Exit 1 if anything would not be published, or nothing was found.
    """
    from node.fhir import pages
    from node.fhir.targets import PROFILES

    if profile not in PROFILES:
        raise typer.BadParameter(f"{profile!r} is not a profile; there are {', '.join(PROFILES)}")
    if explain:
        print(pages.page(PROFILES[profile]), end="")
        return
    if not paths:
        raise typer.BadParameter("give DICOM files or folders")
    for path in paths:
        if not path.exists():
            raise typer.BadParameter(f"no such file or folder: {path}")
    options = load(config).fhir.options()
    absent = [(*key.rpartition("."), message) for key, message in PROFILES[profile].missing(options)]
    if absent:
        raise ConfigError([f"[{table}] {key}: {message}" for table, _, key, message in absent])
    if not _preview(paths, PROFILES[profile], options, study, not no_check):
        raise typer.Exit(1)


def _preview(paths: list[Path], profile: Profile, options: FhirOptions, study: str, check: bool) -> bool:
    """Prints the resources, tells the rest on stderr; False when something was found wrong, or nothing found."""
    from node import preview
    from node.preview import view

    with view.reading(err) as progress:
        gathered = preview.gather(paths, study, progress)
    view.tell_of_files(gathered, err)
    printed, faults = 0, 0
    for one in preview.previews(gathered, profile, options, check):
        view.tell_of_study(one, err)
        for resource in one.resources:
            show(resource, False)
        printed += len(one.resources)
        faults += len(one.faults)
    if not printed and not faults:
        studies = "1 study" if len(gathered.studies) == 1 else f"{len(gathered.studies)} studies"
        nothing = f"nothing in {studies} for profile {profile.name}"
        err.print(nothing if gathered.studies else "no DICOM objects found", markup=False)
    return bool(printed) and not faults
