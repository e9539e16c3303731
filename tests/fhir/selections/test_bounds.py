"""What a hostile document names without end is written a bounded number of times, and counted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from node.documents import Content, Evidence, Observer, SopReference
from node.fhir import imagingselection
from node.fhir.options import FhirOptions
from node.fhir.selections.base import MAX_REFERENCES
from node.terms import Code, Identifier, Person
from tests.fhir.selections.made import (
    EVIDENCE,
    KOS,
    LIVER,
    OTHER,
    REPORT,
    RTSTRUCT,
    SEG,
    SEG_AT,
    TARGET,
    built,
    dcm,
    group,
    image,
    key_objects,
    made,
    polyline,
    referring,
    report,
    scoord,
    structures,
)
from tests.studies import CT, STUDY

MANY = range(MAX_REFERENCES + 8)
FAR = tuple(Evidence(OTHER, f"{OTHER}.{at}", f"{OTHER}.{at}.1") for at in MANY)
SEVERAL = [referring(f"1.4.{at}", "121233", SopReference(CT, f"{OTHER}.{at}.1")) for at in MANY]
DEVICES = tuple(Observer("device", name=f"d{at}") for at in MANY)
SEGMENTS = [referring(f"1.5.{at}", "121191", SopReference(SEG, SEG_AT, (), (1,))) for at in (1, 2)]
BUSY: dict[str, tuple[str, Content]] = {
    "performer": (REPORT, report(group(scoord("1.4.1", polyline(1, 2), image(1))), observers=DEVICES)),
    "category": (KOS, key_objects(image(1), modifiers=tuple(dcm(f"1130{at}", "why") for at in MANY))),
    "focus": (REPORT, report(group(*SEGMENTS, *SEVERAL), evidence=(*EVIDENCE, *FAR))),
}  # fmt: skip


@pytest.mark.parametrize("element", BUSY)
def test_no_selection_refers_to_more_than_a_few(element: str) -> None:
    """What is written again in each selection must not make a document grow with its square."""
    study = made(BUSY[element])
    found = [one.resource for one in built(study)]
    assert max(len(one.get(element, ())) for one in found) == MAX_REFERENCES
    for resource in found:
        TARGET.check(resource)
    (finding,) = imagingselection.findings(study, FhirOptions())
    assert finding.rule == "selection-references-over-maximum"
    assert finding.instances == sum(len(one.get(element, ())) == MAX_REFERENCES for one in found)


def test_a_report_of_a_series_with_many_people_names_a_few() -> None:
    people = tuple(Person("", (Code(str(at), "DCM"),)) for at in MANY)
    study = made((RTSTRUCT, structures(LIVER)))
    *others, last = study.series
    crowd = replace(study, series=(*others, replace(last, operators=people)))
    (one,) = built(crowd)
    assert len(one.resource["performer"]) == MAX_REFERENCES + len(last.devices)
    assert [one.rule for one in imagingselection.findings(crowd, FhirOptions())] == [
        "selection-references-over-maximum"
    ]


def test_a_study_of_many_requests_names_a_few_and_a_profile_one() -> None:
    numbers = tuple(Identifier(f"A{at}") for at in MANY)
    study = replace(made((KOS, key_objects(image(1))), (RTSTRUCT, structures(LIVER))), accessions=numbers)
    plain, profiled = (one.resource for one in built(study))
    assert [len(one["basedOn"]) for one in (plain, profiled)] == [MAX_REFERENCES, 1]
    (finding,) = imagingselection.findings(study, FhirOptions())
    assert (finding.rule, finding.uid) == ("selection-references-over-maximum", f"{STUDY}.900.1")
