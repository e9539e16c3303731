"""docs/first-hour.md and README.md, typed: every command, in order, with what it shows; every table, against the code.

What the pages write stands for something else here; ``substitutions`` is the whole list. The rest is as written.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from node import config, errors, health, holding, metrics
from node.association import negotiation
from node.client import Client
from node.index import intake
from node.services import dimse
from tests.guide.blocks import Block, blocks
from tests.guide.reader import Reader
from tests.kafka_broker import KafkaBroker
from tests.orthanc import Orthanc
from tests.ports import free_port
from tests.scenarios.sender import instance, new_uid
from tests.tools import ROOT

PAGE: Final = ROOT / "docs" / "first-hour.md"
README: Final = ROOT / "README.md"
BLOCKS: Final = tuple(blocks(PAGE))
README_BLOCKS: Final = tuple(blocks(README))

# Of the README: first words of a command that no test types here, and who does
ELSEWHERE: Final = {
    "make run": "it installs what the tests run in; CI begins with the same",
    "make demo": "`dicom-fhir-node demo` on the first hour's page is what it calls",
    "make check": "CI calls it",
    "make test": "CI calls it: it is what runs this",
    "make docs": "tests/fhir/test_pages.py holds the pages equal",
    "make pictures": "what it calls is tests/scenarios/test_pictures.py",
    "make bench": "tests/bench has tests of its own",
    "make torture": "takes an hour",
    "make fuzz": "tests/fuzz has tests of its own",
    "make soak": "tests/soak has tests of its own",
}

needs_programs = [
    pytest.mark.dcmtk, pytest.mark.orthanc, pytest.mark.openssl, pytest.mark.kafka, pytest.mark.clients,
    pytest.mark.slow,
]  # fmt: skip


class Desk:
    """A folder with a reader's files, and what is around it: ports, a broker, an Orthanc."""

    def __init__(self, folder: Path, bootstrap: str) -> None:
        self.folder = folder
        self.port, self.http_port = free_port(), free_port()
        self.bootstrap = bootstrap
        self.uid = new_uid()
        self.orthanc: Orthanc | None = None
        images = folder / "images"
        images.mkdir(parents=True)
        for number in (1, 2, 3):
            self._write(images / f"{number}.dcm", instance(self.uid, number))
        self._write(folder / "IMAGE.dcm", instance(self.uid, 1))
        self._write(folder / "LATE.dcm", instance(self.uid, 4))
        self._write(folder / "ANOTHER.dcm", instance(new_uid(), 1))
        environ = {
            "NODE_DICOM__PORT": str(self.port),
            "NODE_HTTP__PORT": str(self.http_port),
            "NODE_OBJECTS__MIN_FREE_BYTES": "0",  # the disk under the tests is what it is
        }
        self.client = Client(f"127.0.0.1:{self.http_port}")
        self.reader = Reader(folder, environ, self.substitutions())

    def substitutions(self) -> dict[str, Callable[[], str]]:
        """What the pages write, as regular expressions, and what it is here."""
        return {
            r"\borthanc:8042\b": lambda: f"127.0.0.1:{self.orthanc.http_port if self.orthanc else 0}",
            r"\b11112\b": lambda: str(self.port),
            r"\b8042\b": lambda: str(self.http_port),
            r"\bbroker:9092\b": lambda: self.bootstrap,
            r"\b10\.0\.0\.0/8\b": lambda: "127.0.0.0/8",
            r"\bnode-1\b": lambda: "first-hour-node",  # the broker is shared
            r"\bFOLDER\b": lambda: "images",
            r"\bUID\b": lambda: self.uid,
            r"\bID\b": lambda: f"r5/{self.uid}/1",
            r"\bFILE\b": lambda: "node.toml",
            r"\bNUMBER\b": self.newest_in_quarantine,
            r"\bPID\b": lambda: str(self.reader.node.pid if self.reader.node else 0),
        }

    def newest_in_quarantine(self) -> str:
        rows = self.client.quarantine()
        return str(rows[0]["id"]) if rows else "NUMBER"

    @staticmethod
    def _write(path: Path, dataset: Any) -> None:
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.save_as(path, enforce_file_format=True)

    def start_orthanc(self, written: str, script: str) -> None:
        """As the page's ``orthanc.json`` and ``forward.lua`` have it, on ports of its own."""
        given = json.loads(written)
        (name, node), *others = given.pop("DicomModalities").items()
        assert not others
        assert (node["Host"], node["Port"], given.pop("LuaScripts")) == ("localhost", 11112, ["forward.lua"])
        folder = self.folder / "orthanc"
        folder.mkdir()
        (folder / "forward.lua").write_text(script)
        more = {**given, "LuaScripts": [str(folder / "forward.lua")]}
        self.orthanc = Orthanc(folder, {name: (node["AET"], self.port)}, more)

    def stop(self) -> None:
        self.reader.stop()
        if self.orthanc is not None:
            self.orthanc.stop()


@pytest.fixture
def desk(tmp_path: Path, kafka_broker: KafkaBroker) -> Iterator[Desk]:
    kafka_broker.ensure_running()
    made = Desk(tmp_path / "scratch", kafka_broker.bootstrap)
    try:
        yield made
    finally:
        made.stop()


def block(language: str) -> Block:
    """The page's only one of a language."""
    (found,) = (one for one in BLOCKS if one.language == language)
    return found


# --- what is typed


@pytest.mark.timeout(240)
@pytest.mark.usefixtures("desk")
class TestTyped:
    pytestmark = needs_programs

    def test_the_first_hour(self, desk: Desk) -> None:
        for one in BLOCKS:
            if one.language == "toml" and one.text.startswith("# node.toml\n"):
                desk.reader.write("node.toml", one.text)
            elif one.language == "lua":
                desk.start_orthanc(block("json").text, one.text)
            elif one.language == "console" and not one.why:
                desk.reader.follow(one)
        assert not desk.reader.faults, "\n\n".join(desk.reader.faults)

    def test_the_readme(self, desk: Desk) -> None:
        osiris = next(one for one in BLOCKS if one.language == "toml" and "reason_reference" in one.text)
        desk.reader.write("node.toml", osiris.text)
        desk.reader.follow(Block("before", 0, "console", "$ dicom-fhir-node serve\n", ""))
        for one in README_BLOCKS:
            if one.language == "console" and not _elsewhere(one):
                desk.reader.follow(one)
        assert not desk.reader.faults, "\n\n".join(desk.reader.faults)


def _elsewhere(one: Block) -> bool:
    typed = [line.removeprefix("$ ") for line in one.text.splitlines() if line.startswith("$ ")]
    return all(line.startswith(tuple(ELSEWHERE)) for line in typed)


# --- what is only looked at


def test_what_is_not_typed_says_why() -> None:
    untyped = {one.text.splitlines()[0].removeprefix("$ "): one.why for one in BLOCKS if one.why}
    assert set(untyped) == {
        "make run",
        "python3 -m venv /opt/dicom-fhir-node",
        "systemctl enable --now dicom-fhir-node",
    }
    for page in (BLOCKS, README_BLOCKS):
        for one in page:
            assert one.language in {"console", "toml", "json", "lua", "promql", "python"}, one.place


def test_each_make_target_of_the_readme_is_known_to_be_run_elsewhere() -> None:
    assert set(re.findall(r"^\$ (make [a-z]+)", README.read_text(), re.MULTILINE)) <= set(ELSEWHERE)


@pytest.mark.parametrize(
    "one",
    [one for one in (*BLOCKS, *README_BLOCKS) if one.language == "toml"],
    ids=lambda one: one.place,
)
def test_each_configuration_loads_by_itself(
    one: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in re.findall(r'"(\w+\.(?:crt|key))"', one.text):
        Path(name).touch()
    Path("node.toml").write_text(one.text)
    config.load(Path("node.toml"), {})


@pytest.mark.promtool
def test_each_question_to_prometheus_is_one(tmp_path: Path) -> None:
    rules = [
        {"record": f"asked:{number}", "expr": one.text}
        for number, one in enumerate(BLOCKS)
        if one.language == "promql"
    ]
    assert len(rules) >= 2
    (tmp_path / "rules.json").write_text(json.dumps({"groups": [{"name": "guide", "rules": rules}]}))
    command = ["promtool", "check", "rules", str(tmp_path / "rules.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_metric_that_is_named_is_one() -> None:
    known = {*metrics.COUNTERS, *metrics.GAUGES}
    known |= {f"{name}{end}" for name in metrics.HISTOGRAMS for end in ("", "_bucket", "_count", "_sum")}
    named = set(re.findall(rf"\b{metrics.NAMESPACE}_(\w+)", PAGE.read_text()))
    assert {"late_instances_total", "study_quiet_seconds_bucket"} <= named <= known


def rows(heading: str) -> list[list[str]]:
    """Cells of the first table below a heading, without its head."""
    section = PAGE.read_text().split(f"# {heading}\n", 1)[1]
    table = re.search(r"^\|.*?\n\|(?:-+\|)+\n(?P<rows>(?:\|.*\n)+)", section, re.MULTILINE)
    assert table, heading
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table["rows"].splitlines()]


def first(heading: str) -> list[str]:
    return [cells[0].strip("`| ") for cells in rows(heading)]


def every(kind: type[errors.NodeError]) -> Iterator[type[errors.NodeError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from every(below)


def test_the_rejections_are_the_negotiators() -> None:
    codes = [getattr(negotiation, name) for name in dir(negotiation) if name.startswith("REJECT_")]
    assert sorted(first("What a device shows when its association is rejected")) == sorted(
        "/".join(map(str, code)) for code in codes
    )


def test_the_statuses_are_the_codes() -> None:
    raised = {kind.status for kind in every(errors.NodeError) if kind.__module__ == errors.__name__}
    answered = {
        dimse.SOP_CLASS_NOT_SUPPORTED, dimse.NOT_AUTHORIZED, dimse.UNRECOGNIZED_OPERATION, dimse.CANCELLED,
    }  # fmt: skip
    assert first("What a device shows when an object is not taken") == [
        f"0x{status:04X}" for status in sorted(raised | answered)
    ]


def test_the_reasons_of_quarantine_are_the_codes() -> None:
    objects = [kind.__name__ for kind in every(errors.DataSetError)]
    wanted = [
        intake.DUPLICATE,
        "duplicate-rejected",
        *objects,
        holding.PATIENT_CONFLICT,
        holding.NO_PATIENT_ID,
    ]
    assert '"duplicate-rejected"' in (ROOT / "node" / "services" / "store.py").read_text()
    assert first("Quarantine") == wanted


def test_the_reasons_of_readyz_are_its_checks() -> None:
    checks = re.findall(r'health\.Check\("([a-z-]+)"', (ROOT / "node" / "parts.py").read_text())
    assert first("What /readyz says") == [*checks, health.SILENT]


def _anchors(text: str) -> set[str]:
    """Of the headings, as the forges make them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_somewhere() -> None:
    text = PAGE.read_text()
    anchors = _anchors(text)
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif "://" not in target:
            name, _, heading = target.partition("#")
            assert (PAGE.parent / name).exists(), target
            assert not heading or heading in _anchors((PAGE.parent / name).read_text()), target
