"""Every real document and image beside the checkout; the values are what DCMTK's dcmdump and dsrdump print."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from node.content import Kind, document_kind, parse
from node.documents import (
    Evidence,
    KeyObjects,
    Observer,
    PresentationState,
    Report,
    Roi,
    Segmentation,
    SopReference,
    StructureSet,
    When,
)
from node.errors import ContentUnreadable
from node.terms import Code, Person
from tests import tools

pytestmark = pytest.mark.shared

CORPUS = tools.SHARED / "corpus"
CT, MR, PT = (f"1.2.840.10008.5.1.4.1.1.{tail}" for tail in ("2", "4", "128"))


@contextmanager
def opened(name: str | Path) -> Iterator[BinaryIO]:
    """A file of the corpus; pydicom may warn, as it may in the process that reads."""
    with (CORPUS / name).open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield file


def read(name: str, kind: Kind) -> Any:
    with opened(name) as file:
        return parse(file, kind)


def sop_classes() -> dict[str, str]:
    """File -> SOP class, as the oracle has it."""
    lines = (CORPUS / "oracle.jsonl").read_text().splitlines()
    rows = {row["file"]: row["pydicom"] for row in map(json.loads, lines)}
    # Where pydicom could not read a file its error stands there.
    return {name: row["SOPClassUID"] or "" for name, row in rows.items() if isinstance(row, dict)}


def test_every_document_parses() -> None:
    seen: Counter[Kind] = Counter()
    for name, sop_class in sop_classes().items():
        kind = document_kind(sop_class)
        if kind is not None:
            seen[kind] += 1
            assert read(name, kind) is not None, name
    assert seen == {
        "report": 12,
        "segmentation": 6,
        "structure-set": 2,
        "key-objects": 2,
        "presentation-state": 1,
    }


def test_every_file_has_settings_or_a_reason() -> None:
    reasons: dict[str, str] = {}
    for path in sorted(CORPUS.rglob("*.dcm")):
        with opened(path) as file:
            try:
                parse(file, "settings")
            except ContentUnreadable as error:
                reasons[str(path.relative_to(CORPUS))] = str(error)
    assert len(reasons) < 25
    assert set(reasons.values()) <= {
        "no DICOM file: no SOP Class UID (0008,0016)",
        "the file ends inside an element",
        "a sequence without an end",
    }
    assert not any(name.startswith(("study_", "sr/", "seg/", "enhanced", "modalities")) for name in reasons)


def test_circles_of_a_measurement_report() -> None:
    report: Report = read("sr/sr-circle.dcm", "report")
    assert report.title == Code("126000", "DCM", meaning="Imaging Measurement Report")
    assert (report.template, len(report.groups)) == ("1500", 3)
    image = SopReference(MR, "1.2.826.0.1.3680043.9.7278.1.83798073110115.20240516075655.3.6")
    second = report.groups[1]
    assert (second.path, second.tracking_id) == ("1.1.2", "pmwgna7g09q")
    (item,) = second.items
    assert (item.path, item.reference) == ("1.1.2.1", image)
    assert item.region is not None
    assert item.region.graphic_type == "CIRCLE"
    # dsrdump prints nine digits: 18.03797531, 5.84810114, 20.03797531.
    assert item.region.coordinates == pytest.approx(
        (18.0379753, 5.84810114, 20.0379753, 5.84810114), rel=1e-7
    )
    assert "00000" not in str(item.region.coordinates)
    assert [one.instance for one in report.evidence] == [image.instance]


def test_measurement_groups_of_each_kind() -> None:
    report: Report = read("sr/sr_document_with_multiple_groups.dcm", "report")
    ids = [group.tracking_id for group in report.groups]
    assert ids == ["Image0001", "LungNodule0001", "Aorta0001", "Vertebra0001"]
    whole, nodule, aorta, vertebra = report.groups
    assert whole.items == ()
    assert nodule.finding_site == Code("39607008", "SCT", meaning="Lung")
    assert nodule.items[0].reference == SopReference(CT, "1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322")
    assert aorta.items[0].region is not None
    assert aorta.items[0].region.coordinates == (25.0, 45.0, 45.0, 45.0, 45.0, 65.0, 25.0, 65.0)
    surface, source = vertebra.items
    assert surface.region is not None
    assert surface.region.coordinates == (123.5, 234.1, -23.7)
    assert surface.region.frame_of_reference == "1.3.6.1.4.1.5962.1.4.1.1.20040119072730.12322"
    assert (source.concept.value, source.path) == ("121233", "1.7.4.7")
    assert report.observers == (
        Observer("person", Person("Doe^John")),
        Observer("device", uid="1.2.826.0.1.3680043.10.511.3.29899283304937342586225207155834162"),
    )
    assert report.content.date == "20230501"


def test_a_report_with_codes_of_srt() -> None:
    report: Report = read("sr/sr_document.dcm", "report")
    (group,) = report.groups
    assert group.path == "1.8.1"
    assert group.finding_site == Code("T-D00F7", "SRT", meaning="Cervico-thoracic spine")
    assert group.items[0].region is not None
    assert group.items[0].region.coordinates == (58.0, 52.0, 58.0, 41.0)
    assert report.observers[0] == Observer("person", Person("Foo"))


def test_reports_without_measurements() -> None:
    report: Report = read("sr/test-SR.dcm", "report")
    assert report.title == Code("1111", "TEST", meaning="Diagnosis")
    assert (report.groups, report.content) == ((), When("20010213", "184746"))
    other: Report = read("sr/reportsi.dcm", "report")
    assert other.title is not None
    assert (other.title.value, other.title.scheme_uid) == ("IHE.01", "1.2.276.0.7230010.3.0.0.1")


@pytest.mark.parametrize(("name", "first_path"), [("kos_kos.dcm", "1.1"), ("kos_kos-selftest.dcm", "1.2")])
def test_key_objects(name: str, first_path: str) -> None:
    found: KeyObjects = read(f"study_pt_kos/{name}", "key-objects")
    assert found.title == Code("113030", "DCM", meaning="Manifest")
    root = "1.3.6.1.4.1.21367.201599"
    order = (9, 3, 4, 2, 5, 1, 6, 10, 7, 8)
    instances = [f"{root}.3.201604020956016.{number}" for number in order]
    assert sorted(one.reference.instance for one in found.references) == sorted(instances)
    assert found.references[0].path == first_path
    assert found.references[0].reference == SopReference(PT, instances[0])
    place = Evidence(f"{root}.1.201604020956016", f"{root}.2.201604020956016", instances[0])
    assert place in found.evidence
    assert len(found.evidence) == 10


def test_structure_sets() -> None:
    found: StructureSet = read("rt/rtstruct.dcm", "structure-set")
    assert (found.label, found.created) == ("sep30", When("20091223", "122507"))
    assert [(one.number, one.name) for one in found.rois] == [
        (1, "patient"),
        (2, "Isocenter 1"),
        (3, "Isocenter 2"),
    ]
    other: StructureSet = read("study_rt/rtss.dcm", "structure-set")
    assert len(other.rois) == 10
    assert other.rois[0] == Roi(1, "BODY", Code("C44.9", "ICD-O-2", meaning="Skin, NOS"))
    assert other.rois[9] == Roi(10, "Tumor Bed Block", None)


def test_segmentations() -> None:
    found: Segmentation = read("seg/seg_image_ct_binary.dcm", "segmentation")
    root = "1.3.6.1.4.1.5962.1.1.0.0.0.1196530851.28319.0"
    assert found.frame_of_reference == f"{root}.4"
    (segment,) = found.segments
    assert (segment.number, segment.label) == (1, "first segment")
    assert segment.property_type == Code("272673000", "SCT", meaning="Bone")
    assert segment.tracking_uid == "1.2.826.0.1.3680043.10.511.3.10019350872562748248892382642075888"
    (source,) = found.sources
    assert source.series == f"{root}.2"
    assert [one.instance for one in source.instances] == [f"{root}.{number}" for number in (93, 94, 95, 96)]
    liver: Segmentation = read("enhanced_multiframe/label.seg.dcm", "segmentation")
    assert [(one.label, one.property_category) for one in liver.segments] == [
        ("Liver", Code("T-D0050", "SRT", meaning="Tissue"))
    ]


def test_presentation_state() -> None:
    found: PresentationState = read("presentation_state/Issue168.dcm", "presentation-state")
    assert found.label == "LUNIT"
    (series,) = found.references
    assert series.series == "1.2.840.113564.192168200113.20170404142225485580"
    assert [one.instance for one in series.instances] == [
        "1.2.840.113564.192168200113.20170404142225485590.1203801020003"
    ]


SETTINGS = {
    "enhanced_multiframe/mf.dcm": {
        "SliceThickness": ("2.5",),
        "PixelSpacing": ("0.7", "0.7"),
        "Rows": ("38",),
        "Columns": ("23",),
    },
    "enhanced_multiframe/label.seg.dcm": {
        "SliceThickness": ("2.500000e+00",),
        "PixelSpacing": ("7.000000e-01", "7.000000e-01"),
        "Rows": ("38",),
        "Columns": ("23",),
    },
    "enhanced_multiframe/emri_small.dcm": {
        "PulseSequenceName": ("T1TFE",),
        "MagneticFieldStrength": ("3",),
        "MRAcquisitionType": ("3D",),
        "Rows": ("64",),
        "Columns": ("64",),
    },
    "study_pt_kos/images_000000.dcm": {
        "SliceThickness": ("3.2700",),
        "PixelSpacing": ("4.6875", "4.6875"),
        "ReconstructionDiameter": ("600",),
        "Rows": ("128",),
        "Columns": ("128",),
        "AttenuationCorrectionMethod": ("measured,, 0.096000 cm-1,",),
        "ReconstructionMethod": ("OSEM",),
        "ScatterCorrectionMethod": ("Convolution subtraction",),
    },
    "modalities/dx_image.dcm": {
        "PixelSpacing": ("1.2", "1.201199999999"),
        "ImagerPixelSpacing": ("1.2", "1.201199999999"),
        "Rows": ("169",),
        "Columns": ("211",),
        "ImageLaterality": ("L",),
        "PatientOrientation": ("L", "F"),
    },
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings(name: str) -> None:
    assert read(name, "settings") == SETTINGS[name]
