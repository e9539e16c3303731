"""Events of the demo study, and of key objects that select some of it: the same bytes each time.

Nothing here is written by hand: the study is the one that ``demo`` sends, with fixed UIDs and times, and its way into
an event is the node's own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID, KeyObjectSelectionDocumentStorage

from node import assemble, preview, wiring
from node.config import Config
from node.contents import ContentReader, Contents
from node.demo import make_study
from node.documents import Need
from node.envelope import Completion, Item, Output, Wrapped, wrap
from node.fhir.targets import PROFILES
from node.model import Study

_ROOT: Final = "1.2.826.0.1.3680043.8.498.1"
STUDY: Final = f"{_ROOT}.1"
_MADE: Final = datetime(2026, 3, 10, 8, 15, 30)
_AT: Final = datetime(2026, 3, 10, 7, 17, 4, tzinfo=UTC).timestamp()
_KEPT: Final = 2  # images of each series: enough to see what is listed
_SMALL: Final = 100  # bytes; a resource above it goes without its instances


class Example(NamedTuple):
    """An event, and in which words to introduce it."""

    name: str
    wrapped: Wrapped


def examples(config: Config) -> Iterator[Example]:
    """Completed, amended and shortened events of the study, and an event of what its key objects select.

    Those of the study are of the first output that is an ImagingStudy.
    """
    with tempfile.TemporaryDirectory(prefix="example-") as folder, ContentReader() as reader:
        images, document = study_files(Path(folder))
        first = Completion(
            study=STUDY,
            version=1,
            reason="quiet",
            at=_AT,
            instances=len(images) - 1,
            series=2,
            added=len(images) - 1,
            senders=("DEMO",),
        )
        second = replace(
            first, version=2, reason="forced", at=_AT + 600, instances=len(images) + 1, series=3, added=2
        )
        study, selection = (
            next(one for one in wiring.outputs(config) if one.kind == kind)
            for kind in ("imagingstudy", "imagingselection")
        )
        begun = _gathered(images[:-1], reader)
        whole = _gathered([*images, document], reader)
        yield Example("completed", _event(config, study, first, begun))
        yield Example("amended", _event(config, study, second, whole))
        yield Example("shortened", _event(config, study, first, begun, _SMALL))
        yield Example("selection", _event(config, selection, second, whole))


def _event(
    config: Config, output: Output, completion: Completion, study: Study, most: int = 1_000_000
) -> Wrapped:
    (built,) = PROFILES[output.profile].build(study, config.fhir.options())
    return wrap(
        output,
        completion,
        built.resource,
        Item(built.source, built.item),
        ae_title=config.dicom.ae_title,
        max_event_bytes=most,
        dataref=f"http://{config.http.host}:{config.http.port}/api/events/{{id}}/data",
    )


def _gathered(files: Sequence[Path], reader: ContentReader) -> Study:
    """The study that the files are, with what its documents contain."""
    gathered = preview.gather(files, STUDY, lambda _done, _total: None)
    found = gathered.studies[STUDY]
    study = assemble.study(STUDY, found.headers, found.rows())
    needs: frozenset[Need] = frozenset({"documents", "rejections", "settings"})
    return Contents(gathered, reader, gathered.locate).fill(study, needs)


def study_files(folder: Path) -> tuple[list[Path], Path]:
    """The study as files, written into ``folder``: its images, and the key object document that comes later."""
    images = _images(folder)
    return images, _key_objects(folder, images[1])


def _images(folder: Path) -> list[Path]:
    """The first images of each of the demo study's series, under UIDs that are the same each time."""
    make_study(folder, _MADE)
    kept = []
    for path in sorted(folder.iterdir()):
        data = dcmread(path)
        if data.InstanceNumber > _KEPT:
            continue
        series = f"{STUDY}.{data.SeriesNumber}"
        _identify(data, f"{series}.{data.InstanceNumber}", series)
        data.FrameOfReferenceUID = f"{STUDY}.9"
        data.TimezoneOffsetFromUTC = "+0100"
        data.save_as(path)
        kept.append(path)
    return kept


def _identify(data: Dataset, instance: str, series: str) -> None:
    data.StudyInstanceUID, data.SeriesInstanceUID = UID(STUDY), UID(series)
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = UID(instance)


def _key_objects(folder: Path, of: Path) -> Path:
    """A Key Object Selection document (PS3.3 A.35.4) that marks one image as of interest."""
    image = dcmread(of, stop_before_pixels=True)
    data = Dataset()
    data.file_meta = image.file_meta
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = KeyObjectSelectionDocumentStorage
    for keyword in (
        "PatientID",
        "PatientName",
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "TimezoneOffsetFromUTC",
    ):
        setattr(data, keyword, image[keyword].value)
    data.Modality, data.SeriesNumber, data.InstanceNumber = "KO", 3, 1
    data.ContentDate, data.ContentTime = "20260310", "082500"
    title = _item(CodeValue="113000", CodingSchemeDesignator="DCM", CodeMeaning="Of Interest")
    data.ConceptNameCodeSequence = [title]
    data.ValueType, data.ContinuityOfContent = "CONTAINER", "SEPARATE"
    reference = _item(ReferencedSOPClassUID=image.SOPClassUID, ReferencedSOPInstanceUID=image.SOPInstanceUID)
    series = _item(SeriesInstanceUID=image.SeriesInstanceUID, ReferencedSOPSequence=[reference])
    evidence = _item(StudyInstanceUID=STUDY, ReferencedSeriesSequence=[series])
    data.CurrentRequestedProcedureEvidenceSequence = [evidence]
    data.ContentSequence = [
        _item(RelationshipType="CONTAINS", ValueType="IMAGE", ReferencedSOPSequence=[reference])
    ]
    _identify(data, f"{STUDY}.3.1", f"{STUDY}.3")
    path = folder / "key.dcm"
    data.save_as(path, enforce_file_format=True)
    return path


def _item(**elements: Any) -> Dataset:
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made
