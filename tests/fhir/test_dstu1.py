from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from node import assemble
from node.errors import ResourceInvalid
from node.fhir import dstu1
from node.fhir.names import human_names
from node.fhir.options import FhirOptions, ReferenceTemplates
from node.fhir.targets import PROFILES
from node.model import Study
from tests.fhir.golden_dstu1 import GOLDEN
from tests.fhir.validators import oracles
from tests.studies import STUDY, assembled, coded, ct, item, rows, rtstruct

DSTU1 = PROFILES["dstu1"]
OPTIONS = FhirOptions()
FULL = FhirOptions(
    default_timezone="Europe/Paris",
    study_id_system="https://dicom.example.org/study-id",
    wado_rs_base="https://pacs.example.org/dicomweb/",
    include_names=True,
    title_from_image_type=True,
    coding_schemes={"99DOC": "https://dicom.example.org/doctors"},
    availability="ONLINE",
    instance_urls=True,
    bodysite_display_only=True,
)
IMAGE = "1.2.840.10008.5.1.4.1.1."


def of(study: Study, options: FhirOptions = OPTIONS) -> dict[str, Any]:
    """The resource of a study, which passes its check."""
    resource = dstu1.build(study, options)
    DSTU1.check(resource)
    return resource


def built(*datasets: Dataset, options: FhirOptions = OPTIONS) -> dict[str, Any]:
    return of(assembled(datasets), options)


def patient(*datasets: Dataset, options: FhirOptions = OPTIONS) -> dict[str, Any]:
    resource = built(*datasets, options=options)
    (found,) = [one for one in resource["contained"] if one["resourceType"] == "Patient"]
    assert resource["subject"] == {"reference": f"#{found['id']}"}
    return dict(found)


def test_the_golden_study() -> None:
    resource = built(rtstruct(), ct(1), options=FULL)
    assert resource == GOLDEN
    assert orjson.dumps(resource) == orjson.dumps(GOLDEN), "the order of members is part of the bytes"


def test_twenty_orders_of_arrival_give_the_same_bytes() -> None:
    datasets = [
        ct(1, StudyDescription="a", NameOfPhysiciansReadingStudy=["One^A", "Two^B"]),
        ct(2, StudyDescription="b", BodyPartExamined="HEAD", PatientBirthDate="19710101"),
        ct(3, 2, AccessionNumber="X", SeriesNumber=None),
        ct(4, 2, AccessionNumber="Y", PatientName="Other^Name"),
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
def test_each_element_may_be_missing_or_empty(keyword: str) -> None:
    for options in (OPTIONS, FULL):
        missing, empty = ct(1), ct(1)
        delattr(missing, keyword)
        built(missing, options=options)
        empty[keyword].value = [] if empty[keyword].VR == "SQ" else None
        built(empty, options=options)


def test_the_barest_object() -> None:
    bare = item(**{name: ct()[name].value for name in IDENTIFYING})
    assert built(bare) == {
        "resourceType": "ImagingStudy",
        "subject": {"display": "unknown"},
        "uid": f"urn:oid:{STUDY}",
        "modality": ["CT"],
        "numberOfSeries": 1,
        "numberOfInstances": 1,
        "series": [
            {
                "modality": "CT",
                "uid": f"urn:oid:{STUDY}.1",
                "numberOfInstances": 1,
                "instance": [
                    {"uid": f"urn:oid:{STUDY}.1.1", "sopclass": f"urn:oid:{IMAGE}2", "type": "IMAGE"}
                ],
            }
        ],
    }


def test_no_names_unless_they_are_wanted() -> None:
    resource = built(ct(), rtstruct())
    text = orjson.dumps(resource).decode()
    for name in ("Müller", "Hippocrates", "Curie", "Röntgen", "Jörg"):
        assert name not in text
    assert resource["contained"][1] == {
        "resourceType": "Practitioner",
        "id": "prac1",
        "identifier": [{"value": "4711"}],
    }


# --- UIDs


@pytest.mark.parametrize("uid", ["1.02.3", "01.2", "1.2.", "1..2", "1.2.3A"])
@pytest.mark.parametrize("part", ["study", "series", "instance", "sop_class"])
def test_a_uid_that_is_no_oid_is_refused_with_the_reason(part: str, uid: str) -> None:
    study = assembled([ct(1)])
    (series,) = study.series
    (instance,) = series.instances
    wrong = {
        "study": replace(study, uid=uid),
        "series": replace(study, series=(replace(series, uid=uid),)),
        "instance": replace(study, series=(replace(series, instances=(replace(instance, uid=uid),)),)),
        "sop_class": replace(study, series=(replace(series, instances=(replace(instance, sop_class=uid),)),)),
    }
    with pytest.raises(ResourceInvalid, match=r"ImagingStudy\S*\.?(uid|sopclass): .* is no oid") as refused:
        dstu1.build(wrong[part], OPTIONS)
    assert uid in str(refused.value)


def test_long_uids_and_roots_that_nobody_gave_out_are_carried() -> None:
    longest = "1.2." + "3" * 60
    headers, instances = rows([ct(1, SOPInstanceUID=longest), ct(2)])
    instances[1] = replace(instances[1], uid="999.0.2")
    resource = of(assemble.study(STUDY, headers, instances))
    uids = {one["uid"] for one in resource["series"][0]["instance"]}
    assert uids == {f"urn:oid:{longest}", "urn:oid:999.0.2"}


# --- modalities


@pytest.mark.parametrize(
    ("modality", "study", "series"),
    [
        ("MR", ["MR"], "MR"),
        ("DMS", None, "OT"),
        ("OPR", ["OPR"], "OT"),
        ("SR", None, "SR"),
        ("KO", None, "KO"),
        ("NONSENSE", None, "OT"),
        ("", ["CT"], "CT"),
    ],
)
def test_modalities_are_of_the_two_lists(modality: str, study: list[str] | None, series: str) -> None:
    resource = built(ct(1, Modality=modality))
    assert resource.get("modality") == study
    assert resource["series"][0]["modality"] == series


# --- dates and numbers


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"StudyTime": None}, "2026-03-10"),
        ({"TimezoneOffsetFromUTC": None}, "2026-03-10"),
        ({"StudyTime": "0815"}, "2026-03-10T08:15:00+01:00"),
        ({"StudyTime": "081560"}, "2026-03-10"),  # XML Schema has no second 60
        ({"StudyDate": None}, None),
    ],
)
def test_the_study_s_date(changes: dict[str, Any], expected: str | None) -> None:
    assert built(ct(1, **changes)).get("dateTime") == expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("-1", -1),
        ("0", 0),
        ("2147483647", 2147483647),
        ("2147483648", None),
        ("-2147483648", -2147483648),
        ("-2147483649", None),
    ],
)
def test_numbers_are_integers_of_32_bits(number: str, expected: int | None) -> None:
    series = built(ct(1, SeriesNumber=number, InstanceNumber=number))["series"][0]
    assert series.get("number") == series["instance"][0].get("number") == expected


# --- persons


def test_other_ids_of_the_patient() -> None:
    others = Sequence(
        [
            item(PatientID="OLD-1", IssuerOfPatientID="ELSEWHERE"),
            item(
                PatientID="PAT-0042",
                IssuerOfPatientIDQualifiersSequence=Sequence(
                    [item(UniversalEntityID="1.2.250.1.999.1", UniversalEntityIDType="ISO")]
                ),
            ),
        ]
    )
    options = FhirOptions(issuers={"ELSEWHERE": "urn:example:elsewhere"})
    assert patient(ct(1, OtherPatientIDsSequence=others), options=options)["identifier"] == [
        {"use": "usual", "label": "MR", "system": "urn:oid:1.2.250.1.999.1", "value": "PAT-0042"},
        {"use": "secondary", "system": "urn:example:elsewhere", "value": "OLD-1"},
    ]


@pytest.mark.parametrize(("sex", "code"), [("F", "F"), ("O", "UN"), ("", None), ("X", None)])
def test_gender(sex: str, code: str | None) -> None:
    gender = patient(ct(1, PatientSex=sex)).get("gender")
    assert (gender and gender["coding"][0]["code"]) == code


def test_without_a_patient_id_the_rest_still_says_something() -> None:
    found = patient(ct(1, PatientID="", IssuerOfPatientID=None, IssuerOfPatientIDQualifiersSequence=None))
    assert "identifier" not in found
    assert found["birthDate"] == "1970-01-01"
    with pytest.raises(ResourceInvalid, match=r"Patient ID \(0010,0020\)"):
        dstu1.build(assembled([ct(1, PatientID="")]), FhirOptions(require_patient_id=True))


def test_a_literal_patient_is_not_contained() -> None:
    options = FhirOptions(references=ReferenceTemplates(patient="Patient/{patient_id}"))
    resource = built(ct(1, ReferringPhysicianIdentificationSequence=None), options=options)
    assert resource["subject"] == {"reference": "Patient/PAT-0042"}
    assert "contained" not in resource


def test_the_first_reader_interprets_and_is_contained_once() -> None:
    same = ct(1, NameOfPhysiciansReadingStudy=["Hippocrates^Kos", "Galen^Claudius"])
    same.ReferringPhysicianIdentificationSequence = None
    resource = built(same, options=FULL)
    assert resource["interpreter"] == resource["referrer"] == {"reference": "#prac1"}
    assert "Galen" not in orjson.dumps(resource).decode()


def test_nobody_is_contained_who_would_say_nothing() -> None:
    silent = ct(1, ReferringPhysicianIdentificationSequence=None, NameOfPhysiciansReadingStudy="Reader^A")
    resource = built(silent)
    assert "referrer" not in resource
    assert "interpreter" not in resource


def test_human_names() -> None:
    assert human_names("Yamada^Tarou Jiro^X^Dr^MD=山田^太郎=やまだ^たろう") == [
        {
            "use": "official",
            "text": "Yamada, Tarou Jiro X",
            "family": ["Yamada"],
            "given": ["Tarou", "Jiro", "X"],
            "prefix": ["Dr"],
            "suffix": ["MD"],
        },
        {"text": "山田, 太郎", "family": ["山田"], "given": ["太郎"]},
        {"text": "やまだ, たろう", "family": ["やまだ"], "given": ["たろう"]},
    ]
    assert human_names("") == human_names("^^^^") == human_names("=") == []
    assert human_names("Mononym") == [{"use": "official", "text": "Mononym", "family": ["Mononym"]}]


# --- the rest


def test_further_accession_numbers_are_identifiers() -> None:
    request = item(AccessionNumber="R1")
    resource = built(ct(1), ct(2), ct(3, AccessionNumber="B", RequestAttributesSequence=Sequence([request])))
    assert resource["accessionNo"]["value"] == "A20260042"
    assert [(one["label"], one["value"]) for one in resource["identifier"]] == [
        ("Study ID", "S42"),
        ("Accession Number", "B"),
        ("Accession Number", "R1"),
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "Suspected pulmonary nodule"),
        ({"ReasonForTheRequestedProcedure": None}, "Cough"),
        (
            {"ReasonForTheRequestedProcedure": None, "AdmittingDiagnosesDescription": ["Cough", "Fever"]},
            "Cough; Fever",
        ),
        ({"ReasonForTheRequestedProcedure": None, "AdmittingDiagnosesDescription": None}, None),
    ],
)
def test_clinical_information(changes: dict[str, Any], expected: str | None) -> None:
    assert built(ct(1, **changes)).get("clinicalInformation") == expected


def test_a_procedure_of_an_unknown_scheme_is_its_words() -> None:
    codes = Sequence([coded("24627-2", "LN", "CT Chest"), coded("X1", "99HERE", "House procedure")])
    assert built(ct(1, ProcedureCodeSequence=codes))["procedure"] == [
        {"system": "http://loinc.org", "code": "24627-2", "display": "CT Chest"},
        {"display": "House procedure"},
    ]


def test_a_body_part_without_code_only_where_configured() -> None:
    assert "bodySite" not in built(ct(1, BodyPartExamined="TENTACLE"))["series"][0]
    assert built(ct(1, BodyPartExamined="TENTACLE"), options=FULL)["series"][0]["bodySite"] == {
        "display": "TENTACLE"
    }


def test_nothing_about_where_it_lies_unless_configured() -> None:
    resource = built(ct(1))
    for one in (resource, resource["series"][0], resource["series"][0]["instance"][0]):
        assert not {"url", "availability"} & set(one)
    without = built(ct(1), options=replace(FULL, instance_urls=False))
    assert "url" in without["series"][0]
    assert "url" not in without["series"][0]["instance"][0]


def test_series_are_left_out_with_their_instances() -> None:
    resource = built(ct(1), rtstruct(), options=FhirOptions(include_instances=False))
    assert "series" not in resource
    assert (resource["numberOfSeries"], resource["numberOfInstances"]) == (2, 2)


@pytest.mark.shared
def test_the_xml_schema_agrees() -> None:
    datasets = [ct(1), ct(2, 2, Modality="DMS", StudyTime="081560"), rtstruct()]
    for options in (OPTIONS, FULL, FhirOptions(include_instances=False)):
        assert oracles.xml_schema(built(*datasets, options=options)) == []
    assert oracles.xml_schema({**GOLDEN, "modality": ["DMS"]}), "and does refuse"


TEXTS = st.text(max_size=10) | st.sampled_from(
    ["1.0", "-7", "A\x1b$B", "\x00", "]]>", "<b>&", "\ufffe", "\t"]
)
DATES = st.sampled_from(["20260310", "20240230", "2026", "202613", "00010101", "", "2026.03.10"])
TIMES = st.sampled_from(["081530.25", "23", "240000", "235960", "08:15:30", "", "0860"])
OFFSETS = st.sampled_from(["+0100", "-0000", "+1400", "-1200", "+1500", "", "x"])


@pytest.mark.shared
@settings(max_examples=80, deadline=None)
@given(st.lists(TEXTS, min_size=9, max_size=9), DATES, TIMES, OFFSETS)
def test_the_xml_schema_agrees_whatever_stands_in_the_data(
    texts: list[str], date: str, time: str, offset: str
) -> None:
    keywords = (
        "PatientID", "PatientName", "StudyID", "AccessionNumber", "StudyDescription", "SeriesDescription",
        "BodyPartExamined", "SeriesNumber", "AdmittingDiagnosesDescription",
    )  # fmt: skip
    headers, instances = rows([ct(1)])
    values = {keyword: [text] for keyword, text in zip(keywords, texts, strict=True)}
    moments = {"StudyDate": [date], "StudyTime": [time], "TimezoneOffsetFromUTC": [offset]}
    wild = [replace(one, attributes={**one.attributes, **values, **moments}) for one in headers]
    resource = of(assemble.study(STUDY, wild, instances), FULL)
    assert oracles.xml_schema(resource) == []
