"""Whatever documents say, what comes out is valid."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.assemble import quality
from node.documents import (
    Content,
    Document,
    Evidence,
    GroupItem,
    KeyObjects,
    KeyReference,
    MeasurementGroup,
    Observer,
    PresentationState,
    Region,
    Report,
    Roi,
    Segment,
    Segmentation,
    SeriesReference,
    SopReference,
    StructureSet,
    When,
)
from node.fhir import imagingselection
from node.fhir.options import FhirOptions
from node.fhir.selections import reports
from node.model import Study
from node.terms import Code, Person
from tests.fhir.selections.made import (
    FULL,
    IMAGES,
    KOS,
    OTHER,
    OTHER_MODES,
    REPORT,
    RTSTRUCT,
    SEG,
    STATE,
    built,
    made,
)
from tests.studies import CT, STUDY

TEXT = st.sampled_from(["", "A", "\x00", "a/b", "  x ", "1.2.3", "é\x1b", "DCM", "SCT"]) | st.text(max_size=5)
UID = st.sampled_from(
    ["", "1.2.3", "1.2.4", f"{STUDY}.1.1", f"{STUDY}.1.2", IMAGES, STUDY, OTHER, "2." + "9" * 62]
)
CODE = st.builds(
    Code,
    st.sampled_from(["113000", "113030", "123037004", "T-D000A", ""]) | TEXT,
    st.sampled_from(["DCM", "SCT", "SRT", "99X", ""]),
    meaning=TEXT,
)
WHEN = st.builds(
    When,
    st.sampled_from(["", "20260310", "2026", "x"]),
    st.sampled_from(["", "0940", "094000.25", "x"]),
    st.sampled_from(["", "20260310093000+0000", "20260310", "x"]),
)
NUMBERS = st.lists(st.integers(-1, 2**31), max_size=3).map(tuple)
REFERENCE = st.builds(SopReference, st.sampled_from(["", CT, SEG, RTSTRUCT, "1.2.3"]), UID, NUMBERS, NUMBERS)
COORDINATES = st.lists(st.floats(width=32) | st.just(1.5), max_size=18).map(tuple)
GRAPHICS = st.sampled_from(
    ["POINT", "MULTIPOINT", "POLYLINE", "POLYGON", "CIRCLE", "ELLIPSE", "ELLIPSOID", ""]
)
REGION = st.builds(Region, st.sampled_from([2, 3]), GRAPHICS, COORDINATES, UID)
PATHS = st.sampled_from(["1.4", "1.4.1", "1.4.2", "1.5", "1." + "2." * 70 + "3"])
NAMES = st.sampled_from([rule.name for rule in reports.ITEMS]).map(lambda value: Code(value, "DCM"))
ITEM = st.builds(
    GroupItem,
    PATHS,
    NAMES | CODE,
    st.sampled_from(["SCOORD", "SCOORD3D", "IMAGE", "COMPOSITE", "UIDREF"]),
    st.none() | REFERENCE,
    st.none() | REGION,
    st.lists(TEXT, max_size=2).map(tuple),
    UID,
)
PERSON = st.builds(Person, TEXT, st.lists(CODE, max_size=1).map(tuple))
OBSERVER = st.builds(Observer, st.sampled_from(["person", "device"]), PERSON, UID, TEXT, TEXT, TEXT, TEXT)


def _some(strategy: st.SearchStrategy[Any], most: int = 2) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(strategy, max_size=most).map(tuple)


ANY_EVIDENCE = _some(st.builds(Evidence, UID, UID, UID))
OBSERVED = _some(OBSERVER)
KEY = st.builds(KeyReference, PATHS, st.just("IMAGE"), REFERENCE, st.none() | REFERENCE)
MAYBE = st.none() | CODE
GROUP = st.builds(MeasurementGroup, PATHS, UID, UID, TEXT, MAYBE, MAYBE, WHEN, _some(ITEM, 4))
SERIES = _some(st.builds(SeriesReference, UID, _some(REFERENCE)))
SEGMENT = st.builds(Segment, st.integers(-1, 3), TEXT, MAYBE, _some(CODE), MAYBE, MAYBE, UID)
ROI = st.builds(Roi, st.integers(-1, 3), TEXT, MAYBE)
CONTENTS: dict[str, st.SearchStrategy[Any]] = {
    KOS: st.builds(KeyObjects, MAYBE, TEXT, _some(CODE), _some(KEY, 4), OBSERVED, ANY_EVIDENCE, WHEN),
    REPORT: st.builds(Report, MAYBE, TEXT, _some(GROUP), OBSERVED, ANY_EVIDENCE, WHEN),
    RTSTRUCT: st.builds(StructureSet, TEXT, WHEN, UID, _some(ROI, 3)),
    SEG: st.builds(Segmentation, TEXT, UID, _some(SEGMENT, 3), SERIES, WHEN),
    STATE: st.builds(PresentationState, TEXT, TEXT, SERIES, WHEN),
}
BASE: Study = made(*((sop_class, None) for sop_class in CONTENTS))


@pytest.mark.parametrize("options", [FULL, OTHER_MODES, FhirOptions(max_coordinates=4, max_selections=2)])
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.tuples(*CONTENTS.values()))
def test_any_content_gives_valid_selections(options: FhirOptions, contents: tuple[Content, ...]) -> None:
    documents: list[Document] = [
        replace(document, content=content) for document, content in zip(BASE.documents, contents, strict=True)
    ]
    study = replace(BASE, documents=tuple(documents))
    found = built(study, options)
    ids = {one.resource["id"] for one in found}
    for one in found:
        for focus in one.resource.get("focus", ()):
            assert focus["reference"].removeprefix("ImagingSelection/") in ids - {one.resource["id"]}
        assert list(one.resource) == [
            "resourceType",
            *(n for n in imagingselection.ORDER if n in one.resource),
        ]
    assert {one.rule for one in imagingselection.findings(study, options)} <= set(quality.NAMES)
