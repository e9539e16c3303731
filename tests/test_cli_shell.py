"""Shell completion, by a real bash with the script that the command installs; zsh and fish by what they call."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import LocalNode, Nodes, eventually
from tests.scenarios.sender import instance, new_uid, send

HERE = str(Path(sys.executable).parent)
PRESS_TAB = """
. "$HOME/.bashrc"
COMP_WORDS=(%s)
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_dicom_fhir_node_completion dicom-fhir-node
printf '%%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which completion was installed, as a user does it."""
    folder = tmp_path_factory.mktemp("home")
    # Two commands: with one alone bash would become it, and there would be no shell to be found.
    said = _bash(folder, "dicom-fhir-node --install-completion; echo $?")
    assert said.endswith("\n0\n"), said
    assert (folder / ".bashrc").exists()
    return folder


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalNode, str, str]]:
    """A node with a study that is open and one that is held."""
    nodes = Nodes(tmp_path_factory.mktemp("node"))
    try:
        started = nodes.start(completion__quiet_seconds="3600")
        uids = new_uid(), new_uid()
        for uid in uids:
            send(started, instance(uid, 1))
        eventually(lambda: len(started.get("/api/studies")["studies"]) == 2)
        started.post(f"/api/studies/{uids[1]}/hold")
        yield started, *uids
    finally:
        nodes.stop_all()


def _bash(home: Path, script: str, **environ: str) -> str:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("NODE_")}
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env={**inherited, "HOME": str(home), "PATH": f"{HERE}:{os.environ['PATH']}", **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == "", "what a completion says on stderr lands in the user's line"
    return done.stdout


def completed(home: Path, words: str, **environ: str) -> list[str]:
    return _bash(home, PRESS_TAB % words, **environ).split()


def test_commands_and_options(home: Path) -> None:
    assert completed(home, 'dicom-fhir-node "re"') == ["reopen", "replay", "release", "reindex"]
    assert "--follow" in completed(home, 'dicom-fhir-node events "--"')
    assert completed(home, 'dicom-fhir-node studies --state "h"') == ["held"]
    assert completed(home, 'dicom-fhir-node fhir --profile "i"') == ["imr", "imagingselection"]


def test_studies_of_the_running_node(home: Path, node: tuple[LocalNode, str, str]) -> None:
    running, open_one, held = node
    port = {"NODE_HTTP__PORT": str(running.http_port)}
    assert sorted(completed(home, 'dicom-fhir-node complete ""', **port)) == sorted([open_one, held])
    assert completed(home, 'dicom-fhir-node hold ""', **port) == [open_one], "the other is held already"
    beginning = f'dicom-fhir-node studies --url http://127.0.0.1:{running.http_port} "{held}"'
    assert completed(home, beginning) == [held], "a node named on the line is the one asked"


def test_no_node_is_no_message(home: Path) -> None:
    assert completed(home, 'dicom-fhir-node hold ""', NODE_HTTP__PORT="1") == []
    assert completed(home, 'dicom-fhir-node hold ""', NODE_HTTP__PROT="1") == [], (
        "nor is a wrong configuration"
    )


@pytest.mark.parametrize(
    ("shell", "environ"),
    [
        ("zsh", {"_TYPER_COMPLETE_ARGS": "dicom-fhir-node hold "}),
        (
            "fish",
            {"_TYPER_COMPLETE_ARGS": "dicom-fhir-node hold ", "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
        ),
    ],
)
def test_shells_that_show_more_are_told_what_a_study_is(
    home: Path, node: tuple[LocalNode, str, str], shell: str, environ: dict[str, str]
) -> None:
    running, open_one, _ = node
    said = _bash(
        home,
        "dicom-fhir-node",
        NODE_HTTP__PORT=str(running.http_port),
        _DICOM_FHIR_NODE_COMPLETE=f"complete_{shell}",
        **environ,
    )
    assert open_one in said
    assert "open, 1 object from CT1" in said
