from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import orjson
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes

from node.documents import Document as Read
from node.documents import KeyObjects, KeyReference, SopReference, When
from node.errors import ResourceInvalid
from node.fhir import imr
from node.fhir.modalities import ACQUISITION, DISPLAYS
from node.fhir.options import EndpointOptions, FhirOptions
from node.fhir.targets import PROFILES
from node.model import Study
from node.terms import Code
from tests.fhir import golden_r4
from tests.fhir.golden import DCM
from tests.fhir.golden_r4 import absent, coding
from tests.fhir.validators import oracles
from tests.studies import STUDY, assembled, coded, ct, item, rtstruct

IMR = PROFILES["imr"]
KOS = "1.2.840.10008.5.1.4.1.1.88.59"
BASE = "https://pacs.example.org/dicomweb"
OPTIONS = FhirOptions(wado_rs_base=BASE)
FULL = FhirOptions(
    default_timezone="Europe/Paris",
    study_id_system="https://dicom.example.org/study-id",
    wado_rs_base=f"{BASE}/",
    endpoint=EndpointOptions(name="Archive"),
    include_names=True,
    title_from_image_type=True,
    bodysite_display_only=True,
    admitting_dx_as_reason=True,
    protocol_as_description=True,
    coding_schemes={"99DOC": "https://dicom.example.org/doctors"},
    source="urn:example:node",
)
SR = "1.2.840.10008.5.1.4.1.1.88.33"
KEYWORDS = sorted(
    element.keyword
    for element in ct(1)
    if element.keyword not in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
)


def built(*datasets: Dataset, options: FhirOptions = OPTIONS) -> dict[str, Any]:
    """The resource of these data sets, which passes its check."""
    return of(assembled(datasets), options)


def of(study: Study, options: FhirOptions = OPTIONS) -> dict[str, Any]:
    (only,) = IMR.build(study, options)
    IMR.check(only.resource)
    return only.resource


def bare() -> Dataset:
    names = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
    return item(**{name: ct()[name].value for name in names})


def test_the_golden_study() -> None:
    reader = {"NameOfPhysiciansReadingStudy": "Roentgen^Bertha"}
    assert built(rtstruct(**reader), ct(1, **reader), options=FULL) == golden_r4.IMR


def test_twenty_orders_of_arrival_give_the_same_bytes() -> None:
    datasets = [
        ct(1, StudyDescription="a", StationName="S1", Modality="XX"),
        ct(2, StudyDescription="b", StationName="S2", BodyPartExamined="HEAD"),
        ct(3, 2, AccessionNumber="X", SeriesNumber=None, Modality="YY"),
        ct(4, 3, AccessionNumber="Y", Laterality="R", OperatorsName="Meitner^Lise"),
        rtstruct(),
    ]
    expected = orjson.dumps(built(*datasets, options=FULL))
    shuffled = random.Random(5)
    for _ in range(20):
        shuffled.shuffle(datasets)
        assert orjson.dumps(built(*datasets, options=FULL)) == expected


@pytest.mark.parametrize("keyword", KEYWORDS)
def test_each_element_may_be_missing_or_empty(keyword: str) -> None:
    built(ct(1, **{keyword: None}), options=FULL)
    empty = ct(1)
    empty[keyword].value = [] if empty[keyword].VR == "SQ" else None
    built(empty)


@pytest.mark.shared
def test_the_oracles_agree_when_an_element_is_missing() -> None:
    made = [
        built(ct(1, **{keyword: None}), options=options)
        for keyword in KEYWORDS
        for options in (OPTIONS, FULL)
    ]
    made += [built(bare()), built(ct(1), rtstruct(), options=FULL)]
    assert [faults for faults in oracles.faults("imr", made) if faults] == []


def test_the_barest_object() -> None:
    resource = built(bare())
    assert resource["_started"] == absent("started")["_started"]
    assert "started" not in resource
    assert resource["modality"] == [coding(DCM, "CT", "Computed Tomography")]
    assert set(resource) == {
        "resourceType", "id", "meta", "identifier", "status", "modality", "subject", "_started", "endpoint",
        "numberOfSeries", "numberOfInstances", "series", "contained",
    }  # fmt: skip


def test_the_start_falls_back_to_the_earliest_series() -> None:
    resource = built(ct(1, StudyDate="", SeriesTime="0900"), ct(1, 2, StudyDate="", SeriesTime="0830"))
    assert resource["started"] == "2026-03-10T08:30:00+01:00"


def test_a_missing_patient_id_is_refused_where_one_is_required() -> None:
    with pytest.raises(ResourceInvalid, match=r"Patient ID \(0010,0020\)"):
        imr.build(assembled([ct(PatientID="")]), replace(OPTIONS, require_patient_id=True))


def test_no_names_unless_they_are_wanted() -> None:
    text = orjson.dumps(built(ct(NameOfPhysiciansReadingStudy="Roentgen^Bertha"), rtstruct())).decode()
    for name in ("Müller", "Hippocrates", "Curie", "Röntgen", "Jörg", "Bertha"):
        assert name not in text


def test_only_the_study_uid_has_its_system() -> None:
    issuer = Sequence([item(UniversalEntityID="urn:dicom:uid", UniversalEntityIDType="URI")])
    options = replace(OPTIONS, study_id_system="urn:dicom:uid")
    resource = built(ct(IssuerOfAccessionNumberSequence=issuer), options=options)
    values = [(one.get("system"), one["value"]) for one in resource["identifier"]]
    assert values == [("urn:dicom:uid", f"urn:oid:{STUDY}"), (None, "A20260042"), (None, "S42")]


# --- endpoint


def test_the_endpoint_must_be_configured() -> None:
    assert [key for key, _ in imr.missing(FhirOptions())] == ["fhir.wado_rs_base"]
    assert [key for key, _ in imr.missing(FhirOptions(wado_rs_base="not a URL"))] == ["fhir.wado_rs_base"]
    wrong = replace(OPTIONS, imr_endpoint_address_template="studies/{study_uid}")
    assert [key for key, _ in imr.missing(wrong)] == ["fhir.imr_endpoint_address_template"]
    assert list(imr.missing(OPTIONS)) == []
    assert list(imr.missing(FhirOptions(endpoint=EndpointOptions(address=BASE)))) == []
    assert list(imr.missing(replace(OPTIONS, imr_endpoint_address_template="/studies/{study_uid}"))) == []


@pytest.mark.parametrize(
    ("template", "address"),
    [
        ("", BASE),
        ("/studies/{study_uid}", f"{BASE}/studies/{STUDY}"),
        ("https://viewer.example.org/?s={study_uid}", f"https://viewer.example.org/?s={STUDY}"),
    ],
)
def test_the_address_by_template(template: str, address: str) -> None:
    resource = built(ct(), options=replace(OPTIONS, imr_endpoint_address_template=template))
    endpoints = [one for one in resource["contained"] if one["resourceType"] == "Endpoint"]
    assert [one["address"] for one in endpoints] == [address]


def test_a_viewer_is_an_endpoint_too() -> None:
    options = FhirOptions(endpoint=EndpointOptions("ihe-iid", address="https://viewer.example.org/"))
    endpoint = built(ct(), options=options)["contained"][-1]
    assert endpoint["connectionType"]["code"] == "ihe-iid"
    assert endpoint["address"] == "https://viewer.example.org"
    assert endpoint["payloadType"] == golden_r4.endpoint("")["payloadType"]


# --- modality and body site


def test_the_modalities_that_acquire() -> None:
    """Size and members of CID 29, as pydicom has it."""
    listed = {getattr(codes.cid29, name) for name in codes.cid29.dir()}
    assert {one.value for one in listed} == ACQUISITION
    assert len(ACQUISITION) == 51
    assert {"CT", "DX", "RTIMAGE", "XC"} <= ACQUISITION
    assert not {"SR", "KO", "SEG", "OT", "DOC"} & ACQUISITION
    assert set(DISPLAYS) >= ACQUISITION


def test_the_study_lists_only_what_acquires() -> None:
    sr = {"SOPClassUID": SR, "Modality": "SR", "Rows": None, "Columns": None}
    resource = built(ct(1), ct(1, 2, **sr), ct(1, 3, Modality="MR"), ct(1, 4))
    assert [one["code"] for one in resource["modality"]] == ["CT", "MR"]
    assert [one["modality"]["code"] for one in resource["series"]] == ["CT", "SR", "MR", "CT"]
    alone = built(ct(1, **sr), ct(1, 2, Modality="KO"))
    assert [one["code"] for one in alone["modality"]] == ["SR", "KO"]


def test_an_unknown_modality_is_other_with_its_text() -> None:
    resource = built(ct(1, Modality="WEIRD"), ct(1, 2, Modality="CT"))
    text = {"url": "http://hl7.org/fhir/StructureDefinition/originalText", "valueString": "WEIRD"}
    other = {**coding(DCM, "OT", "Other Modality"), "extension": [text]}
    assert resource["series"][0]["modality"] == other
    assert resource["modality"] == [coding(DCM, "CT", "Computed Tomography")]
    assert built(ct(1, Modality="WEIRD"))["modality"] == [other]


def test_a_body_part_without_a_code() -> None:
    unknown = ct(BodyPartExamined="FETALARM", Laterality=None)
    assert "bodySite" not in built(unknown)["series"][0]
    assert built(unknown, options=FULL)["series"][0]["bodySite"] == {"display": "FETALARM"}
    assert "bodySite" not in built(ct(BodyPartExamined=None), options=FULL)["series"][0]


def test_the_coded_region_wins() -> None:
    region = Sequence([coded("69536005", "SCT", "Head")])
    resource = built(ct(AnatomicRegionSequence=region))
    assert resource["series"][0]["bodySite"] == coding("http://snomed.info/sct", "69536005", "Head")


# --- the rest


def taken_back(title: Code, *images: Dataset) -> str:
    """The status of a study with a note that takes back the first image of series 1."""
    datasets = [*images, ct(1, 2, SOPClassUID=KOS, Modality="KO")]
    reference = KeyReference("1.1", "IMAGE", SopReference("1.2", f"{STUDY}.1.1"))
    note = KeyObjects(title, "", (), (reference,), (), (), When())
    found = replace(assembled(datasets), documents=(Read(f"{STUDY}.2.1", KOS, f"{STUDY}.2", note),))
    return str(of(found)["status"])


def test_a_study_that_was_taken_back() -> None:
    rejected, expired = Code("113001", "DCM"), Code("113039", "DCM")
    assert taken_back(rejected, ct(1)) == "entered-in-error"
    assert taken_back(expired, ct(1)) == "cancelled"
    assert taken_back(rejected, ct(1), ct(2)) == "available", "one image is left"
    assert taken_back(Code("113000", "DCM"), ct(1)) == "available"
    assert taken_back(Code("113001", "99ACME"), ct(1)) == "available", (
        "another scheme's code means something else"
    )
    assert taken_back(rejected) == "available", "a note on images elsewhere says nothing of its own study"
    assert IMR.needs == {"rejections"}


def test_the_page_has_every_element() -> None:
    resource = built(ct(1, Modality="XX"), rtstruct(), options=replace(FULL, generate_narrative=True))
    study, series, instance = ({row.element for row in section.rows} for section in imr.PAGE.sections)
    assert set(resource) - {"resourceType"} <= study
    assert set(resource["series"][0]) <= series
    assert set(resource["series"][0]["instance"][0]) <= instance
