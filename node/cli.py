"""``dicom-fhir-node``: the commands."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from functools import wraps
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import orjson
import typer
from rich.console import Console
from rich.table import Table

from node import config as configuration
from node.client import Client
from node.errors import ConfigError, NodeError
from node.fhir import pages
from node.fhir.options import FhirOptions
from node.fhir.targets import PROFILES, Profile

app = typer.Typer(
    name="dicom-fhir-node",
    help="A DICOM node that publishes each finished study as a FHIR event.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_out = Console(soft_wrap=True, highlight=False)
_err = Console(stderr=True, soft_wrap=True, highlight=False)

_P = ParamSpec("_P")
_T = TypeVar("_T")

ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", help="TOML file; without it the defaults run.")
]
Url = Annotated[
    str | None, typer.Option("--url", help="The node's HTTP address; default: from the configuration.")
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON, one value a line, for programs.")]
StudyUid = Annotated[str, typer.Argument(help="Study Instance UID")]


def _reported(command: Callable[_P, _T]) -> Callable[_P, _T]:
    """Errors as a line and a hint instead of a traceback; exit 2 for configuration, 1 for the rest."""

    @wraps(command)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return command(*args, **kwargs)
        except ConfigError as error:
            for problem in error.problems:
                _err.print(problem, markup=False)
            _err.print(error.hint, style="dim", markup=False)
            raise typer.Exit(2) from error
        except NodeError as error:
            _err.print(str(error), markup=False)
            _err.print(error.hint, style="dim", markup=False)
            raise typer.Exit(1) from error

    return run


def _load(config: Path | None) -> configuration.Config:
    return configuration.load(config, os.environ)


def _client(url: str | None, config: Path | None) -> Client:
    settings = _load(config).http
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return Client(url or f"http://{host}:{settings.port}", settings.token.get_secret_value())


def _version(wanted: bool) -> None:
    if wanted:
        _out.print(installed_version("dicom-fhir-node"))
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """A DICOM node that publishes each finished study as a FHIR event."""


@app.command()
@_reported
def serve(config: ConfigFile = None) -> None:
    """Run the node until SIGTERM or SIGINT, then drain."""
    from node import logs  # imported here: the other commands start faster without the whole node
    from node.service import Node, receivers

    settings = _load(config)
    logs.configure(settings.log.level, settings.log.format)
    try:
        nursery = receivers(settings)  # before anything starts a thread
        node = Node(settings, nursery)
        asyncio.run(node.run(lambda line: print(line, flush=True)))
    except OSError as error:
        raise ConfigError([f"can't start: {error}"]) from error


@app.command("check-config")
@_reported
def check_config(config: ConfigFile = None) -> None:
    """Print the effective configuration, secrets masked; exit 2 with every problem found."""
    print(configuration.effective(_load(config)), end="")


@app.command()
@_reported
def reindex(config: ConfigFile = None) -> None:
    """Rebuild the index from the stored objects. The node must be stopped."""
    from node import logs
    from node.service import reindex as rebuild

    settings = _load(config)
    logs.configure(settings.log.level, settings.log.format)
    _out.print(f"{rebuild(settings)} objects indexed")


@app.command()
@_reported
def send(
    paths: Annotated[list[Path], typer.Argument(help="DICOM files and folders")],
    to: Annotated[str, typer.Option("--to", help="AE@HOST:PORT")],
    calling: Annotated[str, typer.Option("--calling", help="calling AE title")] = "DICOMFHIR-SEND",
    associations: Annotated[int, typer.Option("--associations", "-n", min=1, max=64)] = 1,
    retries: Annotated[int, typer.Option(help="new associations after one was lost")] = 3,
    timeout: Annotated[float, typer.Option(help="seconds to wait for the peer")] = 30.0,
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
    summary = send_with_progress(paths, address, options, _out)
    print_summary(summary, _out)
    raise typer.Exit(summary.exit_code)


@app.command()
@_reported
def fhir(
    paths: Annotated[list[Path] | None, typer.Argument(help="DICOM files and folders")] = None,
    profile: Annotated[str, typer.Option("--profile", "-p", help="what to make; --explain says more")] = "r5",
    study: Annotated[str, typer.Option(help="only of this Study Instance UID")] = "",
    explain: Annotated[bool, typer.Option("--explain", help="print where each element comes from")] = False,
    no_check: Annotated[bool, typer.Option("--no-check", help="print also what is not valid")] = False,
    config: ConfigFile = None,
) -> None:
    """Print what DICOM files would be published as, one resource a line; no node is needed, nothing is kept.

    Exit 1 if anything would not be published, or nothing was found.
    """
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
    options = _load(config).fhir.options()
    absent = [(*key.rpartition("."), message) for key, message in PROFILES[profile].missing(options)]
    if absent:
        raise ConfigError([f"[{table}] {key}: {message}" for table, _, key, message in absent])
    if not _preview(paths, PROFILES[profile], options, study, not no_check):
        raise typer.Exit(1)


def _preview(paths: list[Path], profile: Profile, options: FhirOptions, study: str, check: bool) -> bool:
    """Prints the resources, tells the rest on stderr; False when something was found wrong, or nothing found."""
    from node import preview
    from node.preview import view

    with view.reading(_err) as progress:
        gathered = preview.gather(paths, study, progress)
    view.tell_of_files(gathered, _err)
    printed, faults = 0, 0
    for one in preview.previews(gathered, profile, options, check):
        view.tell_of_study(one, _err)
        for resource in one.resources:
            _show(resource, False)
        printed += len(one.resources)
        faults += len(one.faults)
    if not printed and not faults:
        studies = "1 study" if len(gathered.studies) == 1 else f"{len(gathered.studies)} studies"
        nothing = f"nothing in {studies} for profile {profile.name}"
        _err.print(nothing if gathered.studies else "no DICOM objects found", markup=False)
    return bool(printed) and not faults


@app.command()
@_reported
def demo(
    to: Annotated[str, typer.Option("--to", help="AE@HOST:PORT of the running node")] = "",
    wait: Annotated[
        bool, typer.Option("--wait", help="wait out the quiet period instead of using `complete`")
    ] = False,
    url: Url = None,
    config: ConfigFile = None,
) -> None:
    """Send a small made-up study to the running node and show the event that comes out."""
    from node.demo import run_demo

    settings = _load(config)
    where = to or f"{settings.dicom.ae_title}@127.0.0.1:{settings.dicom.port}"
    if not run_demo(where, _client(url, config), _out, wait):
        raise typer.Exit(1)


@app.command()
@_reported
def studies(
    uid: Annotated[str | None, typer.Argument(help="Study Instance UID: show this one")] = None,
    state: Annotated[str | None, typer.Option(help="open, held, complete or quarantined")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    as_json: AsJson = False,
    url: Url = None,
    config: ConfigFile = None,
) -> None:
    """List studies with state, counts, deadline and version; with a UID show one."""
    client = _client(url, config)
    if uid is not None:
        _show(client.study(uid), as_json)
        return
    found = client.studies(state, limit)
    if as_json:
        for study in found:
            print(orjson.dumps(study).decode())
        return
    table = Table(box=None, pad_edge=False)
    for column in ("study", "state", "version", "series", "instances", "added", "deadline", "from"):
        table.add_column(column, no_wrap=True, justify="right" if column in _NUMBERS else "left")
    for study in found:
        table.add_row(
            study["uid"],
            study["state"],
            str(study["version"]),
            str(study["number_of_series"]),
            str(study["instances"]),
            str(study["added"]),
            study["deadline"] or "",
            ", ".join(study["calling_aes"]),
        )
    # A UID that is cut or folded can't be copied into the next command: a narrow terminal wraps whole lines.
    Console(width=_ANY_WIDTH, highlight=False).print(table)


_NUMBERS = ("version", "series", "instances", "added")
_ANY_WIDTH = 10_000


def _show(value: Any, as_json: bool) -> None:
    if as_json or not _out.is_terminal:
        print(orjson.dumps(value).decode())
    else:
        _out.print_json(orjson.dumps(value).decode())


@app.command()
@_reported
def complete(uid: StudyUid, url: Url = None, config: ConfigFile = None) -> None:
    """Publish a study now; releases one from quarantine."""
    _show(_client(url, config).command(uid, "complete"), False)


@app.command()
@_reported
def hold(uid: StudyUid, url: Url = None, config: ConfigFile = None) -> None:
    """Keep an open study from being published until it is reopened or completed."""
    _show(_client(url, config).command(uid, "hold"), False)


@app.command()
@_reported
def reopen(uid: StudyUid, url: Url = None, config: ConfigFile = None) -> None:
    """Wait for more: a held study goes on, a complete one will be published as another version."""
    _show(_client(url, config).command(uid, "reopen"), False)


@app.command()
@_reported
def events(
    study: Annotated[str | None, typer.Option(help="only of this Study Instance UID")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="go on as they come")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100)] = 20,
    url: Url = None,
    config: ConfigFile = None,
) -> None:
    """Print published events as CloudEvents, one a line; the newest last."""
    client = _client(url, config)
    found, after = client.events(study, None, limit)
    for row in found:
        _print_event(row)
    if follow:
        try:
            for row in client.follow(study, after):
                _print_event(row)
        except KeyboardInterrupt:
            raise typer.Exit from None


def _print_event(row: dict[str, Any]) -> None:
    """To stdout what goes out; what is parked does not, and is told on stderr."""
    if row["parked_reason"] is not None:
        _err.print(f"parked {row['event']['id']}: {row['parked_reason']}", markup=False)
        return
    print(orjson.dumps(row["event"]).decode(), flush=True)


@app.command()
@_reported
def replay(
    ids: Annotated[list[str], typer.Argument(help="event ids, as `events` prints them")],
    url: Url = None,
    config: ConfigFile = None,
) -> None:
    """Publish events again, byte for byte, with the same id."""
    answer = _client(url, config).replay(ids)
    for event_id in answer["replayed"]:
        _out.print(f"replayed {event_id}", markup=False)
    for event_id in answer["unknown"]:
        _err.print(f"unknown {event_id}", markup=False)
    if answer["unknown"]:
        raise typer.Exit(1)


def main() -> None:
    """The console script."""
    try:
        app()
    except BrokenPipeError:
        # The reader of a pipe has gone (`events | head`): nothing more to say, and no traceback at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
