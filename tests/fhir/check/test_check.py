"""Each fault that a resource may have is refused: a checker that passes everything fails here."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from node.errors import ResourceInvalid
from node.fhir import check, r5
from node.fhir.options import FhirOptions
from tests.studies import assembled, ct, rtstruct

Resource = dict[str, Any]
OPTIONS = FhirOptions(
    include_names=True, wado_rs_base="https://pacs.example.org/dicomweb", generate_narrative=True
)


@pytest.fixture(scope="module")
def whole() -> Resource:
    return r5.build(assembled([ct(1), ct(2), rtstruct()]), OPTIONS)


@pytest.fixture
def resource(whole: Resource) -> Resource:
    return copy.deepcopy(whole)


def put(*path: Any) -> Callable[[Resource], None]:
    """Sets the last of ``path`` at the place that the others name."""

    def change(resource: Resource) -> None:
        place: Any = resource
        for step in path[:-2]:
            place = place[step]
        place[path[-2]] = path[-1]

    return change


def drop(*path: Any) -> Callable[[Resource], None]:
    def change(resource: Resource) -> None:
        place: Any = resource
        for step in path[:-1]:
            place = place[step]
        del place[path[-1]]

    return change


def test_what_is_built_passes(resource: Resource) -> None:
    check.check("r5", resource)


FAULTS = {
    "status": (put("status", "complete"), "ImagingStudy.status"),
    "no status": (drop("status"), "status"),
    "no subject": (drop("subject"), "subject"),
    "no modality": (drop("series", 0, "modality"), "modality"),
    "no SOP class": (drop("series", 0, "instance", 1, "sopClass"), "sopClass"),
    "no series uid": (drop("series", 0, "uid"), "uid"),
    "uid too long": (put("series", 0, "uid", "1" * 65), "series[0].uid"),
    "uid with blanks": (put("series", 1, "instance", 0, "uid", "1 2"), "series[1].instance[0].uid"),
    "id too long": (put("id", "a" * 65), "ImagingStudy.id"),
    "null": (put("description", None), "description"),
    "empty string": (put("description", ""), "description"),
    "blank": (put("description", "  "), "description"),
    "empty list": (put("note", []), "note"),
    "empty object": (put("series", 0, "bodySite", {}), "bodySite"),
    "control character": (put("description", "a\x1bb"), "description"),
    "NUL": (put("series", 0, "description", "a\0"), "series[0].description"),
    "number as string": (put("series", 0, "number", "3"), "series[0].number"),
    "count as float": (put("numberOfSeries", 2.0), "numberOfSeries"),
    "count as bool": (put("numberOfSeries", True), "numberOfSeries"),
    "negative": (put("series", 0, "instance", 0, "number", -1), "instance[0].number"),
    "too large": (put("series", 0, "number", 2147483648), "series[0].number"),
    "string as number": (put("description", 7), "description"),
    "time without offset": (put("started", "2026-03-10T08:15:30"), "started"),
    "time without seconds": (put("started", "2026-03-10T08:15+01:00"), "started"),
    "DICOM date": (put("series", 0, "started", "20260310"), "series[0].started"),
    "offset out of range": (put("started", "2026-03-10T08:15:30+14:30"), "started"),
    "unknown member": (put("interpreter", [{"display": "x"}]), "interpreter"),
    "Coding for a concept": (put("modality", [{"system": "urn:x", "code": "CT"}]), "modality"),
    "coding without system": (drop("modality", 0, "coding", 0, "system"), "modality[0].coding[0]"),
    "code with blanks": (put("modality", 0, "coding", 0, "code", " CT"), "code"),
    "subject type": (put("subject", "type", "Practitioner"), "subject.type"),
    "subject reference": (put("subject", {"reference": "Practitioner/1"}), "subject.reference"),
    "empty reference": (put("referrer", {"type": "Practitioner"}), "referrer"),
    "dangling": (put("endpoint", 0, "reference", "#nope"), "not there"),
    "endpoint to device": (put("endpoint", 0, "reference", "#dev1"), "refers to a Device"),
    "unreferenced": (drop("endpoint"), "contained[1]: nothing refers to it"),
    "same id twice": (put("contained", 1, "id", "dev1"), "used twice"),
    "nested contained": (
        put("contained", 0, "contained", [{"resourceType": "Device", "id": "x"}]),
        "contained[0].contained",
    ),
    "contained meta": (put("contained", 0, "meta", {"versionId": "1"}), "meta"),
    "endpoint status": (put("contained", 1, "status", "on"), "status"),
    "device name type": (put("contained", 0, "name", 0, "type", "other"), "type"),
    "no contained type": (drop("contained", 0, "resourceType"), "contained[0].resourceType: missing"),
    "identifier use": (put("identifier", 0, "use", "temporary"), "use"),
    "narrative status": (put("text", "status", "made"), "text.status"),
    "series count": (put("numberOfSeries", 3), "numberOfSeries"),
    "instance count": (put("numberOfInstances", 4), "numberOfInstances"),
    "series' instance count": (put("series", 0, "numberOfInstances", 3), "numberOfInstances"),
    "series twice": (lambda one: one["series"].append(copy.deepcopy(one["series"][0])), "listed twice"),
    "instance twice": (
        lambda one: one["series"][0]["instance"].append(one["series"][0]["instance"][0]),
        "listed twice",
    ),
    "other resource": (put("resourceType", "Patient"), "ImagingStudy.resourceType"),
    "no resource": (drop("resourceType"), "resourceType"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_refused(resource: Resource, fault: str) -> None:
    change, named = FAULTS[fault]
    change(resource)
    with pytest.raises(ResourceInvalid) as caught:
        check.check("r5", resource)
    assert named in str(caught.value)


def test_reasons_do_not_quote_values(resource: Resource) -> None:
    resource["series"][0]["uid"] = "Müller Jörg"
    resource["basedOn"] = "PAT-0042"
    with pytest.raises(ResourceInvalid) as caught:
        check.check("r5", resource)
    assert "Jörg" not in str(caught.value)
    assert "PAT-0042" not in str(caught.value)


def test_a_fault_in_one_of_many_instances_is_found(resource: Resource) -> None:
    series = resource["series"][0]
    series["instance"] = [{**series["instance"][0], "uid": f"1.2.{n}"} for n in range(500)]
    series["numberOfInstances"], resource["numberOfInstances"] = 500, 501
    check.check("r5", resource)
    faults: list[Resource] = [
        {"uid": "1.2.x y"},
        {"number": "7"},
        {"title": "\x02"},
        {"colour": "red"},
        {"sopClass": {}},
    ]
    for fault in faults:
        spoilt = copy.deepcopy(resource)
        spoilt["series"][0]["instance"][333].update(fault)
        with pytest.raises(ResourceInvalid):
            check.check("r5", spoilt)


def test_only_a_few_reasons_are_listed(resource: Resource) -> None:
    resource["series"][0]["instance"] = [{"uid": "", "sopClass": {}}] * 1000
    with pytest.raises(ResourceInvalid) as caught:
        check.check("r5", resource)
    assert len(str(caught.value)) < 1000


def test_the_data_absent_reason_passes(resource: Resource) -> None:
    del resource["started"]
    url = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
    resource["_started"] = {"extension": [{"url": url, "valueCode": "unknown"}]}
    check.check("r5", resource)


def test_profiles_without_rules_are_an_error() -> None:
    with pytest.raises(KeyError):
        check.check("r9", {})
