"""The lines beside the tables: what they measure is there, and what goes wrong is not measured as a success."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from node import assemble
from node.index.engine import Engine
from node.index.outbox import Outbox
from node.index.studies import Studies
from tests.bench import associations
from tests.bench.__main__ import _orders, main
from tests.bench.figures import Figures, rate
from tests.bench.find import Asker, identifier, query
from tests.bench.large import KEYS, PER_STUDY, Entry, ask, fill
from tests.bench.loads import LOADS, association_request, record
from tests.bench.measure import growth
from tests.bench.receivers import NODE_NONE, RECEIVERS, Running, started, with_index
from tests.bench.replay import probe
from tests.bench.still import IDLE, idle
from tests.bench.verdicts import CT, HUGE, MR, WANTED, Bound, Ratio, verdicts
from tests.bench.watch import Watch, proportional

SMALL = next(load for load in LOADS if load.name == MR)
STUDIES = 12
MEGABYTES = 40
# A process whose child does what it is told: the first line makes it take memory, the second CPU.
PARENT = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', sys.argv[1]]))"
CHILD = f"""
import sys
print("up", flush=True)
sys.stdin.readline()
held = b"x" * {MEGABYTES}_000_000
print("held", flush=True)
sys.stdin.readline()
print("busy", flush=True)
while True:
    pass
"""


@contextmanager
def child() -> Iterator[subprocess.Popen[str]]:
    arguments = [sys.executable, "-c", PARENT, CHILD]
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0
    ) as process:
        try:
            yield process
        finally:
            subprocess.run(["kill", "-KILL", "--", f"-{process.pid}"], check=True)


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_memory_and_cpu_of_a_child_are_seen() -> None:
    with child() as process:
        assert heard(process) == "up"
        with Watch(process.pid, proportional, 0.02) as watch:
            before = watch.now(proportional)
            tell(process)
            assert heard(process) == "held"
            grown = (watch.now(proportional) - before) / 1e6
            still = watch.share_of_a_core(0.5)
            tell(process)
            assert heard(process) == "busy"
            busy = watch.share_of_a_core(0.5)
        assert MEGABYTES <= grown < MEGABYTES + 10
        assert watch.peak >= before + MEGABYTES * 1e6
        assert still < 1 < 10 < busy


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A node with an index that was filled before."""
    folder = tmp_path_factory.mktemp("bench")
    fill(folder / "index.db", STUDIES)
    with started(with_index(NODE_NONE, folder / "index.db"), folder) as running:
        yield running


@pytest.mark.parametrize("keyword", KEYS)
def test_a_filled_index_is_searched(node: Running, keyword: str) -> None:
    taken = ask(node, keyword, STUDIES, STUDIES)
    assert len(taken) == STUDIES
    assert min(taken) > 0


def test_a_study_that_is_not_found_is_not_measured(node: Running) -> None:
    with pytest.raises(RuntimeError, match="0 studies instead of 1"):
        ask(node, "StudyInstanceUID", STUDIES + 1, STUDIES + 1)


def test_a_name_is_asked_for_by_its_beginning(node: Running) -> None:
    assert Entry(0).wanted("PatientName").endswith("*")
    with closing(Asker(node.host, node.port, NODE_NONE.ae_title)) as asker:
        everybody = asker.ask(query(identifier({"PatientName": "*"})))[1]
        family = asker.ask(query(identifier({"PatientName": Entry(0).wanted("PatientName")})))[1]
    assert (everybody >= STUDIES, family) == (True, 2)


def test_a_query_that_fails_is_not_measured(node: Running) -> None:
    with (
        closing(Asker(node.host, node.port, NODE_NONE.ae_title)) as asker,
        pytest.raises(RuntimeError, match="C-FIND ended with 0xC000"),
    ):
        asker.ask(query(b"\x08\x00\x52\x00CS\xff\xff"))


@pytest.mark.parametrize("kind", ["store", "empty", "bare"])
def test_short_associations(node: Running, tmp_path: Path, kind: str) -> None:
    request = association_request(SMALL, NODE_NONE.ae_title)
    longest = probe(node.host, node.port, request)
    store = (str(record(SMALL, tmp_path)), SMALL.sop_class, "7", str(longest)) if kind == "store" else ()
    assert associations.run(node.host, node.port, request, kind, 5, *store) > 0


def test_a_refused_association_is_not_measured(node: Running) -> None:
    request = association_request(SMALL, "NOBODY")
    with pytest.raises(RuntimeError, match="association not accepted"):
        associations.run(node.host, node.port, request, "empty", 2)


def test_idle_associations(node: Running) -> None:
    request = association_request(SMALL, NODE_NONE.ae_title)
    with Watch(node.process.pid) as watch:
        assert 0 <= idle(node, request, watch, 0.2) < 50
        assert IDLE == 100


def test_growth_needs_every_object_stored(tmp_path: Path) -> None:
    data_set = record(SMALL, tmp_path)
    assert -5 < growth(NODE_NONE, SMALL, data_set, 3) < 50
    unlike = replace(SMALL, sop_class="1.2.840.10008.5.1.4.1.1.7")
    with pytest.raises(RuntimeError, match="not every object was taken"):
        growth(NODE_NONE, unlike, data_set, 1)


def test_every_line_names_figures_that_exist() -> None:
    figures = Figures()
    for load in (CT, MR, HUGE):
        assert load in {each.name for each in LOADS}
        for receiver in RECEIVERS:
            for count in (1, 4):
                figures.add(rate(load, count, receiver), 10)
    reached = [one for one in verdicts(figures) if one.reached]
    assert len(reached) == 16
    assert [one.ok for one in reached if "reach for" in one.wanted] == [None] * 5
    assert len({(one.line, one.wanted) for one in verdicts(figures)}) == len(WANTED)


@pytest.mark.parametrize(("ours", "theirs", "ok"), [(13, 10, True), (12.9, 10, False), (13, 0, None)])
def test_a_ratio_is_of_medians(ours: float, theirs: float, ok: bool | None) -> None:
    figures = Figures()
    for value in (1, ours, 99):
        figures.add("ours", value)
    figures.add("theirs", theirs)
    verdict = Ratio("line", "ours", "peer", "theirs", 1.3).verdict(figures)
    assert (verdict.ok, verdict.reached is None) == (ok, ok is None)


@pytest.mark.parametrize(("worst", "ok"), [(False, True), (True, False)])
def test_a_bound_takes_the_median_or_the_worst(worst: bool, ok: bool) -> None:
    figures = Figures()
    for value in (1, 2, 30):
        figures.add("memory", value)
    assert Bound("line", "memory", 16, "MB", worst=worst).verdict(figures).ok is ok
    assert Bound("line", "other", 16, "MB").verdict(figures).ok is None


def test_no_receiver_goes_first_in_every_repeat() -> None:
    orders = _orders(list(RECEIVERS), 5)
    assert len({order[0].name for order in orders}) == 5
    assert all(sorted(one.name for one in order) == sorted(one.name for one in RECEIVERS) for order in orders)
    assert [order[0].name for order in _orders(list(RECEIVERS[:2]), 4)] == [
        RECEIVERS[place].name for place in (0, 0, 1, 1)
    ]
    assert _orders([], 2) == [[], []]


def test_only_what_is_asked_for_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = tmp_path / "bench.json"
    assert main(["--quick", "--only", "at rest", "--json", str(document)]) == 0
    found = json.loads(document.read_text())
    assert (found["runs"], found["failures"]) == ([], [])
    measured = {one["line"] for one in found["verdicts"] if one["reached"]}
    assert measured == {
        "at rest",
        "at rest: all processes",
        "short associations: growth",
        "bare connects: growth",
        "100 idle associations",
    }
    said = capsys.readouterr().out
    assert all(line in said for line in measured)
    assert found["machine"]["python"] in said
    assert found["machine"]["versions"]["dicom-fhir-node"]
    assert "not run" not in said


def test_a_filled_index_is_one_that_the_node_could_have_made(tmp_path: Path) -> None:
    fill(tmp_path / "index.db", 2)
    with closing(Engine(f"sqlite:///{tmp_path / 'index.db'}", "OFF")) as engine:
        engine.create()
        found = Studies(engine).load(Entry(1).uid)
        assert Studies(engine).next_deadline() is None
        assert Outbox(engine).backlog().pending == 0
    study = assemble.study(Entry(1).uid, found.headers, found.instances)
    assert (found.state.state, found.state.version) == ("complete", 1)
    assert sum(len(series.instances) for series in study.series) == len(found.instances) == PER_STUDY
    assert {row.header for row in found.instances} == {header.id for header in found.headers}
