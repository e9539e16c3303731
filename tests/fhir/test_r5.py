from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import orjson
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from node import assemble
from node.errors import ResourceInvalid
from node.fhir import r5
from node.fhir.options import FhirOptions
from node.fhir.targets import PROFILES
from node.model import Study
from tests.fhir.golden import DCM, GOLDEN, V2, concept
from tests.studies import STUDY, assembled, coded, ct, item, rows, rtstruct

R5 = PROFILES["r5"]
OPTIONS = FhirOptions()
FULL = FhirOptions(
    default_timezone="Europe/Paris",
    study_id_system="https://dicom.example.org/study-id",
    wado_rs_base="https://pacs.example.org/dicomweb/",
    include_names=True,
    title_from_image_type=True,
    generate_narrative=True,
    admitting_dx_as_reason=True,
    protocol_as_description=True,
    coding_schemes={"99DOC": "https://dicom.example.org/doctors"},
    source="urn:example:node",
)


def built(*datasets: Dataset, options: FhirOptions = OPTIONS) -> dict[str, Any]:
    """The resource of these data sets, which passes its check."""
    return of(assembled(datasets), options)


def of(study: Study, options: FhirOptions = OPTIONS) -> dict[str, Any]:
    resource = r5.build(study, options)
    R5.check(resource)
    return resource


def test_the_golden_study() -> None:
    resource = built(rtstruct(), ct(1), options=FULL)
    assert resource == GOLDEN
    assert orjson.dumps(resource) == orjson.dumps(GOLDEN), "the order of members is part of the bytes"


def test_twenty_orders_of_arrival_give_the_same_bytes() -> None:
    datasets = [
        ct(1, StudyDescription="a", StationName="S1"),
        ct(2, StudyDescription="b", StationName="S2", BodyPartExamined="HEAD"),
        ct(3, 2, AccessionNumber="X", SeriesNumber=None),
        ct(4, 2, AccessionNumber="Y", Laterality="R", OperatorsName="Meitner^Lise"),
        ct(5, 3, StudyDate="20260309", InstanceNumber=None),
        rtstruct(),
    ]
    expected = orjson.dumps(built(*datasets, options=FULL))
    shuffled = random.Random(3)
    for _ in range(20):
        shuffled.shuffle(datasets)
        assert orjson.dumps(built(*datasets, options=FULL)) == expected


IDENTIFYING = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
ELEMENTS = sorted(element.keyword for element in ct(1) if element.keyword not in IDENTIFYING)


@pytest.mark.parametrize("keyword", ELEMENTS)
@pytest.mark.parametrize("options", [OPTIONS, FULL], ids=["plain", "full"])
def test_each_element_may_be_missing_or_empty(keyword: str, options: FhirOptions) -> None:
    built(ct(1, **{keyword: None}), options=options)
    empty = ct(1)
    empty[keyword].value = [] if empty[keyword].VR == "SQ" else None
    built(empty, options=options)


def test_the_barest_object() -> None:
    bare = item(
        **{
            name: ct()[name].value
            for name in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
        }
    )
    resource = built(bare)
    absent = {"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}
    assert resource["subject"] == {"extension": [absent], "type": "Patient", "display": "unknown"}
    assert resource["modality"] == [concept(DCM, "CT", "Computed Tomography")]
    assert set(resource) == {
        "resourceType", "id", "identifier", "status", "modality", "subject", "numberOfSeries", "numberOfInstances",
        "series",
    }  # fmt: skip


def test_a_missing_patient_id_is_refused_where_one_is_required() -> None:
    with pytest.raises(ResourceInvalid, match=r"Patient ID \(0010,0020\)"):
        r5.build(assembled([ct(PatientID="")]), FhirOptions(require_patient_id=True))


def test_no_names_unless_they_are_wanted() -> None:
    text = orjson.dumps(built(ct(), rtstruct())).decode()
    for name in ("Müller", "Hippocrates", "Curie", "Röntgen", "Jörg"):
        assert name not in text
    referrer = built(ct())["referrer"]
    assert referrer == {"type": "Practitioner", "identifier": {"value": "4711"}}


def test_no_endpoint_and_no_instances_where_configuration_says_so() -> None:
    resource = built(ct(), options=FhirOptions(include_instances=False))
    assert "endpoint" not in resource
    assert "instance" not in resource["series"][0]
    assert resource["series"][0]["numberOfInstances"] == resource["numberOfInstances"] == 1


def test_the_start_falls_back_to_the_earliest_series() -> None:
    resource = built(ct(1, StudyDate="", SeriesTime="0900"), ct(1, 2, StudyDate="", SeriesTime="0830"))
    assert resource["started"] == "2026-03-10T08:30:00+01:00"


@pytest.mark.parametrize(
    ("removed", "added", "started"),
    [
        ((), {}, "2026-03-10T08:17:02+01:00"),
        (
            ("SeriesDate",),
            {"PerformedProcedureStepStartDate": "20260310", "PerformedProcedureStepStartTime": "0816"},
            "2026-03-10T08:16:00+01:00",
        ),
        (("SeriesDate",), {}, "2026-03-10T08:18:01+01:00"),
        (("SeriesDate",), {"AcquisitionDateTime": "20260310081830-0500"}, "2026-03-10T08:18:30-05:00"),
        (("SeriesDate", "AcquisitionDate"), {}, None),
        (("SeriesDate", "AcquisitionDate", "Rows"), {}, "2026-03-10T08:20:00+01:00"),
    ],
)
def test_where_a_series_start_comes_from(
    removed: tuple[str, ...], added: dict[str, str], started: str | None
) -> None:
    resource = built(ct(1, **dict.fromkeys(removed), **added))
    assert resource["series"][0].get("started") == started


def test_times_without_an_offset() -> None:
    plain = ct(TimezoneOffsetFromUTC=None)
    assert built(plain)["started"] == "2026-03-10"
    assert built(plain, options=FULL)["started"] == "2026-03-10T08:15:30.25+01:00"
    headers, instances = rows([plain])
    zoned = [replace(one, attributes={**one.attributes, "_timezone": ["Asia/Tokyo"]}) for one in headers]
    assert of(assemble.study(STUDY, zoned, instances), FULL)["started"] == "2026-03-10T08:15:30.25+09:00"


def test_one_request_for_each_accession_number() -> None:
    request = item(AccessionNumber="R1", RequestedProcedureID="RP9")
    resource = built(ct(1), ct(2), ct(3, AccessionNumber="B", RequestAttributesSequence=Sequence([request])))
    assert [one["identifier"]["value"] for one in resource["basedOn"]] == ["A20260042", "B", "R1"]


def test_an_accession_number_repeated_without_its_issuer_is_one_request() -> None:
    repeated = item(AccessionNumber="A20260042")
    based_on = built(ct(1, RequestAttributesSequence=Sequence([repeated])))["basedOn"]
    assert [one["identifier"]["system"] for one in based_on] == ["urn:oid:1.2.250.1.999.2"]


def test_the_requested_procedure_stands_in_for_an_accession_number() -> None:
    resource = built(ct(AccessionNumber=""))
    assert resource["basedOn"] == [
        {
            "type": "ServiceRequest",
            "identifier": {"type": concept(V2, "FILL", "Filler Identifier"), "value": "RP1"},
        }
    ]


def test_default_systems_for_identifiers_without_an_issuer() -> None:
    options = FhirOptions(
        default_patient_id_system="urn:example:mrn", default_accession_system="urn:example:an"
    )
    bare = ct(
        IssuerOfPatientID=None, IssuerOfPatientIDQualifiersSequence=None, IssuerOfAccessionNumberSequence=None
    )
    resource = built(bare, options=options)
    assert resource["subject"]["identifier"]["system"] == "urn:example:mrn"
    assert resource["basedOn"][0]["identifier"]["system"] == "urn:example:an"


@pytest.mark.parametrize(
    ("changes", "procedure"),
    [
        ({}, ["CT Chest"]),
        (
            {
                "ProcedureCodeSequence": None,
                "RequestedProcedureCodeSequence": Sequence([coded("1", "LN", "Requested")]),
            },
            ["Requested"],
        ),
        ({"ProcedureCodeSequence": None}, ["Chest"]),
        ({"ProcedureCodeSequence": None, "RequestedProcedureDescription": None}, None),
    ],
)
def test_procedures(changes: dict[str, Any], procedure: list[str] | None) -> None:
    found = built(ct(**changes)).get("procedure")
    assert (found and [one["concept"]["text"] for one in found]) == procedure


def test_admitting_diagnoses_only_without_a_reason_and_where_configured() -> None:
    bare = ct(ReasonForTheRequestedProcedure="", RequestAttributesSequence=None)
    assert "reason" not in built(bare)
    options = FhirOptions(admitting_dx_as_reason=True)
    assert built(bare, options=options)["reason"] == [{"concept": {"text": "Cough"}}]
    assert {"concept": {"text": "Cough"}} not in built(ct(), options=options)["reason"]


def test_descriptions_fall_back() -> None:
    bare = ct(StudyDescription="", SeriesDescription="")
    assert built(bare)["description"] == "Chest"
    assert "description" not in built(bare)["series"][0]
    assert built(bare, options=FULL)["series"][0]["description"] == "Thorax"
    bare.SeriesDescriptionCodeSequence = Sequence([coded("1", "99X", "Coded")])
    assert built(bare, options=FULL)["series"][0]["description"] == "Coded"


def test_a_backslash_in_a_description_is_joined_again() -> None:
    wrong = ct()
    wrong["StudyDescription"].value = ["A", "B"]
    assert built(wrong)["description"] == "A\\B"


def test_the_institution_performs_where_nobody_else_is_known() -> None:
    alone = dict.fromkeys(
        (
            "Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions", "StationName",
            "OperatorsName", "PerformingPhysicianName",
        )
    )  # fmt: skip
    performer = built(ct(**alone))["series"][0]["performer"]
    assert performer == [{"actor": {"type": "Organization", "display": "Hospital A"}}]
    assert "contained" not in built(ct(**alone))


def test_devices_are_shared_between_series() -> None:
    resource = built(ct(1), ct(1, 2), ct(1, 3, StationName="Other", DeviceUID="1.2.3"))
    assert [one["id"] for one in resource["contained"]] == ["dev1", "dev2"]
    assert resource["contained"][1]["identifier"] == [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}]
    actors = [series["performer"][0]["actor"]["reference"] for series in resource["series"]]
    assert actors == ["#dev1", "#dev1", "#dev2"]


@pytest.mark.parametrize(
    ("sop_class", "changes", "title"),
    [
        (
            "88.11",
            {"ConceptNameCodeSequence": Sequence([coded("18748-4", "LN", "Imaging Report")])},
            "Imaging Report",
        ),
        ("104.1", {"DocumentTitle": "Letter"}, "Letter"),
        ("104.1", {"ConceptNameCodeSequence": Sequence([coded("1", "LN", "Document")])}, "Document"),
        ("11.1", {"ContentLabel": "LABEL", "ContentDescription": "words"}, "LABEL"),
        ("66.4", {"ContentDescription": "words"}, "words"),
        ("481.5", {"RTPlanLabel": "Plan A"}, "Plan A"),
        ("481.2", {"DoseSummationType": "PLAN"}, "PLAN"),
        ("481.3", {}, None),
        ("2", {"ContentLabel": "LABEL"}, None),
    ],
)
def test_titles(sop_class: str, changes: dict[str, Any], title: str | None) -> None:
    dataset = ct(SOPClassUID=f"1.2.840.10008.5.1.4.1.1.{sop_class}", **changes)
    assert built(dataset)["series"][0]["instance"][0].get("title") == title


@pytest.mark.parametrize(
    ("number", "expected"), [("-1", None), ("2147483648", None), ("0", 0), ("2147483647", 2147483647)]
)
def test_numbers_out_of_range_are_left_out(number: str, expected: int | None) -> None:
    resource = built(ct(SeriesNumber=number, InstanceNumber=number))
    assert resource["series"][0].get("number") == expected
    assert resource["series"][0]["instance"][0].get("number") == expected


def test_uids_of_64_characters_and_with_leading_zeros() -> None:
    longest = "1.2." + "3" * 60
    headers, instances = rows([ct(1, SOPInstanceUID=longest), ct(2)])
    instances[1] = replace(instances[1], uid="1.02.3")
    resource = of(assemble.study(STUDY, headers, instances))
    assert {one["uid"] for one in resource["series"][0]["instance"]} == {longest, "1.02.3"}


def test_control_characters_and_escapes_never_come_out() -> None:
    wild = ct(SpecificCharacterSet="ISO_IR 100")
    for keyword in (
        "StudyDescription",
        "SeriesDescription",
        "StationName",
        "PatientID",
        "AccessionNumber",
        "StudyID",
    ):
        wild[keyword].value = "A\x1b$BB\x07\x85C"
    text = orjson.dumps(built(wild, options=FULL)).decode()
    assert not any(char < " " or "\x7f" <= char <= "\x9f" for char in text)
    assert "\\u00" not in text


def test_the_narrative_is_escaped() -> None:
    resource = built(ct(StudyDescription="<b>&"), options=FULL)
    assert "<p>&lt;b&gt;&amp;</p>" in resource["text"]["div"]
