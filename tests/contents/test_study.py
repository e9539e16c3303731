from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest
from pydicom.dataset import Dataset

from node.assemble import quality
from node.contents import ContentReader, Contents, slow
from node.contents import study as module
from node.documents import Document, Evidence, KeyObjects, Need, Report, Segmentation, StructureSet
from node.errors import ContentReaderUnavailable
from node.model import Finding, ObjectKey, Study
from node.objects.files import FileObjects
from tests.content.made import (
    SEGMENTATION,
    STORAGE,
    code,
    content,
    document,
    evidence,
    group,
    image,
    measured,
    sop,
    stored,
)
from tests.contents.processes import pid_of, standing_still
from tests.studies import STUDY, assembled, ct, item, rtstruct

DOCUMENTS: frozenset[Need] = frozenset({"documents"})
SETTINGS: frozenset[Need] = frozenset({"settings"})
REJECTIONS: frozenset[Need] = frozenset({"rejections"})
KOS_SERIES = f"{STUDY}.50"


class Store(FileObjects):
    """The node's own store, with objects put straight under their keys."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "objects", folder / "incoming", folder / "quarantine", durable=False)
        self.opened: list[str] = []

    def put(self, dataset: Dataset) -> Path:
        path = self.path(key_of(dataset))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stored(dataset))
        return path

    def open(self, key: ObjectKey) -> BinaryIO:
        self.opened.append(key.instance)
        return super().open(key)


def key_of(dataset: Dataset) -> ObjectKey:
    return ObjectKey(STUDY, str(dataset.SeriesInstanceUID), str(dataset.SOPInstanceUID))


def in_study(dataset: Dataset, series: int, number: int = 1) -> Dataset:
    """A document as an instance of the study at hand."""
    for element in ct(number, series, **dict.fromkeys(("Rows", "Columns", "ImageType"))):
        if element.tag not in dataset:
            dataset.add(element)
    return dataset


def kos(*instances: str, number: int = 1, listed: bool = True) -> Dataset:
    dataset = document(code("113000"), [image(instance=one) for one in instances], "88.59")
    if listed:
        dataset.CurrentRequestedProcedureEvidenceSequence = [evidence(*instances)]
    return in_study(dataset, 50, number)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture(scope="module")
def reader() -> Iterator[ContentReader]:
    with ContentReader() as found:
        yield found


@pytest.fixture
def study(store: Store) -> Callable[[Iterable[Dataset]], Study]:
    """Stores data sets and assembles them."""

    def make(datasets: Iterable[Dataset]) -> Study:
        made = list(datasets)
        for one in made:
            store.put(one)
        return assembled(made)

    return make


Make = Callable[[Iterable[Dataset]], Study]


def test_settings_of_each_series_representative(store: Store, reader: ContentReader, study: Make) -> None:
    given = study([ct(2, 1, KVP="100"), ct(1, 1, KVP="120"), ct(1, 2, KVP="80"), rtstruct()])
    filled = Contents(store, reader).fill(given, SETTINGS)
    assert [(one.settings or {}).get("KVP") for one in filled.series] == [("120",), ("80",), None]
    assert filled.series[2].settings == {}
    assert store.opened == [f"{STUDY}.1.1", f"{STUDY}.2.1"]
    assert filled.findings == given.findings
    assert filled.documents == ()
    assert [one.settings for one in given.series] == [None, None, None]


def test_settings_that_are_there_are_not_read_again(store: Store, reader: ContentReader, study: Make) -> None:
    given = study([ct()])
    contents = Contents(store, reader)
    once = contents.fill(given, SETTINGS)
    assert contents.fill(once, SETTINGS) == once
    assert len(store.opened) == 1


def test_documents_in_the_order_of_series_and_instances(
    store: Store, reader: ContentReader, study: Make
) -> None:
    given = study([rtstruct(), kos("1.2.3", number=2), kos("1.2.4", number=1), ct()])
    filled = Contents(store, reader).fill(given, DOCUMENTS)
    assert [type(one.content) for one in filled.documents] == [KeyObjects, KeyObjects, StructureSet]
    assert [one.instance for one in filled.documents] == [
        f"{KOS_SERIES}.1",
        f"{KOS_SERIES}.2",
        f"{STUDY}.900.1",
    ]
    assert {one.series for one in filled.documents[:2]} == {KOS_SERIES}
    assert filled.documents[0].sop_class == STORAGE + "88.59"
    assert [one.settings for one in filled.series] == [None] * 3


def test_rejections_are_key_objects_only(store: Store, reader: ContentReader, study: Make) -> None:
    given = study([rtstruct(), kos("1.2.3"), ct()])
    filled = Contents(store, reader).fill(given, REJECTIONS)
    assert [type(one.content) for one in filled.documents] == [KeyObjects]
    assert store.opened == [f"{KOS_SERIES}.1"]


def test_nothing_needed_nothing_read(store: Store, reader: ContentReader, study: Make) -> None:
    given = study([rtstruct(), kos("1.2.3"), ct()])
    assert Contents(store, reader).fill(given, frozenset()) == given
    assert store.opened == []


def test_what_cannot_be_read_is_said_and_the_rest_is_read(
    store: Store, reader: ContentReader, study: Make
) -> None:
    given = study([kos("1.2.3", number=number) for number in (1, 2, 3)] + [ct()])
    store.path(ObjectKey(STUDY, KOS_SERIES, f"{KOS_SERIES}.1")).write_bytes(b"not DICOM")
    store.path(ObjectKey(STUDY, KOS_SERIES, f"{KOS_SERIES}.2")).unlink()
    store.path(key_of(ct())).write_bytes(b"not DICOM")
    filled = Contents(store, reader).fill(given, DOCUMENTS | SETTINGS)
    first, second, third = filled.documents
    assert (first.content, bool(first.unread)) == (None, True)
    assert second == Document(f"{KOS_SERIES}.2", STORAGE + "88.59", KOS_SERIES, None, "its file is not there")
    assert (bool(third.content), third.unread) == (True, "")
    assert filled.series[0].settings == {}
    assert filled.findings == (
        *given.findings,
        Finding("settings-unreadable", "SOPInstanceUID", f"{STUDY}.1.1", 1),
        Finding("document-unreadable", "SOPInstanceUID", f"{KOS_SERIES}.1", 1),
        Finding("document-unreadable", "SOPInstanceUID", f"{KOS_SERIES}.2", 1),
    )


def test_a_missing_representative_is_a_finding(store: Store, reader: ContentReader, study: Make) -> None:
    given = study([ct()])
    store.path(key_of(ct())).unlink()
    filled = Contents(store, reader).fill(given, SETTINGS)
    assert [one.rule for one in filled.findings if one not in given.findings] == ["settings-unreadable"]


class FailingStore(Store):
    def open(self, key: ObjectKey) -> BinaryIO:
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_failing_store_is_raised(tmp_path: Path, reader: ContentReader) -> None:
    with pytest.raises(OSError, match="Input/output"):
        Contents(FailingStore(tmp_path), reader).fill(assembled([kos("1.2.3")]), DOCUMENTS)


def test_a_closed_reader_is_raised(store: Store, study: Make) -> None:
    reader = ContentReader()
    reader.close()
    with pytest.raises(ContentReaderUnavailable):
        Contents(store, reader).fill(study([kos("1.2.3")]), DOCUMENTS)


def test_over_the_limit_of_documents(
    store: Store, reader: ContentReader, study: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_DOCUMENTS", 2)
    given = study([kos("1.2.3", number=number) for number in (1, 2, 3, 4)])
    filled = Contents(store, reader).fill(given, DOCUMENTS)
    assert [one.unread for one in filled.documents] == ["", "", *["the study has more than 2 documents"] * 2]
    assert filled.findings[-1] == Finding("documents-over-limit", "SOPInstanceUID", KOS_SERIES, 2)
    assert len(store.opened) == 2


def test_over_the_limit_of_coordinates(
    store: Store, reader: ContentReader, study: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_COORDINATES", 3)
    region = content("SCOORD", "111030", GraphicData=[1.0, 2.0], GraphicType="POINT")
    reports = [in_study(measured([group([region])]), 60, number) for number in (1, 2, 3)]
    filled = Contents(store, reader).fill(study(reports), DOCUMENTS)
    assert [bool(one.content) for one in filled.documents] == [True, True, False]
    assert filled.documents[2].unread == "the study's regions have more than 3 values"


class Clock:
    """Moves on by ``step`` whenever it is looked at."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def test_over_the_limit_of_time(store: Store, reader: ContentReader, study: Make) -> None:
    given = study([ct(), *(kos("1.2.3", number=number) for number in (1, 2, 3, 4))])
    clock = Clock(module.STUDY_SECONDS / 3)
    filled = Contents(store, reader, monotonic=clock).fill(given, DOCUMENTS | SETTINGS)
    assert filled.series[0].settings
    assert [bool(one.content) for one in filled.documents] == [True, False, False, False]
    assert filled.documents[3].unread == "reading the study's documents took more than 60 s"
    assert filled.findings[-1] == Finding("documents-over-limit", "SOPInstanceUID", KOS_SERIES, 3)


def test_what_was_too_slow_is_not_tried_again_until_it_changes(store: Store, study: Make) -> None:
    given = study([kos("1.2.3")])
    with ContentReader(seconds=1.0) as reader:
        contents = Contents(store, reader)
        assert contents.fill(given, DOCUMENTS).documents[0].content
        with standing_still(reader):
            (slow_one,) = contents.fill(given, DOCUMENTS).documents
        assert slow_one.unread == "reading it took more than 1 s"
        again = contents.fill(given, DOCUMENTS)
        assert again.documents == (slow_one,)
        assert again.findings[-1].rule == "document-unreadable"
        assert not reader._running
        os.utime(store.path(ObjectKey(STUDY, KOS_SERIES, f"{KOS_SERIES}.1")), ns=(1, 1))
        assert contents.fill(given, DOCUMENTS).documents[0].content


def test_a_study_out_of_time_does_not_blame_the_document(store: Store, study: Make) -> None:
    given = study([kos("1.2.3")])
    with ContentReader() as reader:
        contents = Contents(store, reader)
        contents.fill(given, DOCUMENTS)
        almost_over = Contents(store, reader, monotonic=Clock(module.STUDY_SECONDS - 0.05))
        with standing_still(reader):
            filled = almost_over.fill(given, DOCUMENTS)
        assert filled.findings[-1].rule == "documents-over-limit"
        later = replace(given)
        almost_over._monotonic = Clock(0)
        assert almost_over.fill(later, DOCUMENTS).documents[0].content
        assert pid_of(reader)


def test_remembered_are_bounded() -> None:
    remembered = module._Remembered(2)
    versions = [module._Version(ObjectKey("1", "2", str(number)), 1, 1) for number in range(3)]
    for one in versions:
        remembered.add(one)
    assert [one in remembered for one in versions] == [False, True, True]


Found = Mapping[str, tuple[str, str]]


class Index:
    """Where instances are; counts what it was asked."""

    def __init__(self, found: Found) -> None:
        self._found = found
        self.asked: list[Sequence[str]] = []

    def __call__(self, instances: Sequence[str]) -> Found:
        self.asked.append(instances)
        return {one: self._found[one] for one in instances if one in self._found}


def test_references_that_the_evidence_lacks_are_located(
    store: Store, reader: ContentReader, study: Make
) -> None:
    here = f"{STUDY}.1.1"
    report = measured([group([image("121191", instance="1.2.9")])])
    given = study(
        [ct(), kos("1.2.3", here, "1.2.4", listed=False), in_study(report, 60), kos("1.2.5", number=2)]
    )
    index = Index({"1.2.3": ("1.8", "1.8.1"), "1.2.9": ("1.7", "1.7.1"), "1.2.5": ("9", "9")})
    filled = Contents(store, reader, locate=index).fill(given, DOCUMENTS)
    first, second, third = (one.content for one in filled.documents)
    assert isinstance(first, KeyObjects)
    assert first.evidence == (Evidence("1.8", "1.8.1", "1.2.3"), Evidence(STUDY, f"{STUDY}.1", here))
    assert isinstance(second, KeyObjects)
    assert [one.study for one in second.evidence] == ["1.2.826.0.1.1"]
    assert isinstance(third, Report)
    assert third.evidence == (Evidence("1.7", "1.7.1", "1.2.9"),)
    assert index.asked == [["1.2.3", "1.2.4", "1.2.9"]]


def test_sources_without_series_are_located(store: Store, reader: ContentReader, study: Make) -> None:
    here = f"{STUDY}.1.1"
    sources = [sop(here), sop("1.2.3"), sop("1.2.4"), sop("1.2.5")]
    dataset = in_study(item(SOPClassUID=SEGMENTATION, SourceImageSequence=sources), 60)
    index = Index({"1.2.3": ("1.8", "1.8.1"), "1.2.5": (STUDY, f"{STUDY}.1")})
    filled = Contents(store, reader, locate=index).fill(study([ct(), dataset]), DOCUMENTS)
    (found,) = (one.content for one in filled.documents)
    assert isinstance(found, Segmentation)
    by_series = {one.series: [instance.instance for instance in one.instances] for one in found.sources}
    assert by_series == {f"{STUDY}.1": [here, "1.2.5"], "1.8.1": ["1.2.3"]}


CT, KOS, SR, PLAN = (STORAGE + tail for tail in ("2", "88.59", "88.33", "481.5"))


@pytest.mark.parametrize(
    ("sop_class", "needs", "expected"),
    [
        (CT, SETTINGS, True),
        (CT, DOCUMENTS | REJECTIONS, False),
        (KOS, SETTINGS, False),
        (KOS, DOCUMENTS, True),
        (KOS, REJECTIONS, True),
        (SR, REJECTIONS, False),
        (SR, DOCUMENTS, True),
        (SEGMENTATION, SETTINGS, True),
        (PLAN, DOCUMENTS, False),
        (KOS, frozenset(), False),
    ],
)
def test_slow(sop_class: str, needs: frozenset[Need], expected: bool) -> None:
    assert slow(frozenset({sop_class}), needs) is expected
    assert slow(frozenset(), needs) is False


def test_rules_are_labels_of_the_metric() -> None:
    assert {module._UNREADABLE, module._SETTINGS_UNREADABLE, module._OVER_LIMIT} <= set(quality.NAMES)
