from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from node.errors import ResourceInvalid
from node.fhir import osiris
from node.fhir.options import EndpointOptions, FhirOptions, OsirisOptions, ReasonReference
from node.fhir.osiris_settings import BLOCKS, KEYWORDS
from node.fhir.targets import PROFILES
from node.model import Study
from tests.fhir import golden_r4
from tests.fhir.golden_r4 import ARKHN, CT_SETTINGS, MEDICAL_DICOM, OSIRIS_URL, absent, coding
from tests.fhir.validators import oracles
from tests.studies import STUDY, assembled, ct, item, rtstruct

OSIRIS = PROFILES["osiris"]
REASON = ReasonReference(system="https://osiris.example.org/analysis")
OPTIONS = FhirOptions(
    wado_rs_base="https://pacs.example.org/dicomweb",
    endpoint=EndpointOptions(name="Archive"),
    osiris=OsirisOptions(REASON),
)
FULL = replace(
    OPTIONS,
    default_timezone="Europe/Paris",
    include_names=True,
    title_from_image_type=True,
    coding_schemes={"99DOC": "https://dicom.example.org/doctors"},
    source="urn:example:node",
)
SENTINEL = replace(FULL, osiris=OsirisOptions(REASON, "sentinel"))
CONTAINED = replace(OPTIONS, osiris=OsirisOptions(ReasonReference("contained")))
STORAGE = "1.2.840.10008.5.1.4.1.1."
SR = {"SOPClassUID": f"{STORAGE}88.33", "Modality": "SR", "Rows": None, "Columns": None}
UNKNOWN = coding("http://terminology.hl7.org/CodeSystem/umls", "C0439673", "Unknown")
KEPT = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
ELEMENTS = sorted(element.keyword for element in ct(1) if element.keyword not in KEPT)


def study_of(*datasets: Dataset, values: Mapping[str, Any] | None = None) -> Study:
    """A study whose image series have these imaging settings."""
    found = assembled(datasets)
    read = (replace(one, settings=values) if one.representative else one for one in found.series)
    return replace(found, series=tuple(read))


def built(
    *datasets: Dataset, options: FhirOptions = OPTIONS, values: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The resource of these data sets, which passes its check."""
    return of(study_of(*datasets, values=values), options)


def of(study: Study, options: FhirOptions = OPTIONS) -> dict[str, Any]:
    (only,) = OSIRIS.build(study, options)
    OSIRIS.check(only.resource)
    return only.resource


def bare() -> Dataset:
    return item(**{name: ct()[name].value for name in KEPT})


def first(*datasets: Dataset, options: FhirOptions = OPTIONS) -> dict[str, Any]:
    """The first series."""
    found: dict[str, Any] = built(*datasets, options=options)["series"][0]
    return found


def unknown(text: str) -> dict[str, Any]:
    url = "http://hl7.org/fhir/StructureDefinition/originalText"
    return {**UNKNOWN, "extension": [{"url": url, "valueString": text}]}


def test_the_golden_study() -> None:
    reader = {"NameOfPhysiciansReadingStudy": "Roentgen^Bertha"}
    found = built(rtstruct(**reader), ct(1, **reader), options=FULL, values=CT_SETTINGS)
    assert found == golden_r4.OSIRIS


def test_twenty_orders_of_arrival_give_the_same_bytes() -> None:
    datasets = [
        ct(1, StudyDescription="a", StationName="S1", Modality="US"),
        ct(2, StudyDescription="b", ManufacturerModelName="S2", BodyPartExamined="HEAD"),
        ct(3, 2, AccessionNumber="X", SeriesNumber=None, Modality="CR"),
        ct(4, 2, AccessionNumber="Y", Laterality="R", PatientWeight="81"),
        ct(5, 3, StudyDate="20260309", InstanceNumber=None, Modality="PT", PatientSize=None),
        rtstruct(),
    ]
    expected = orjson.dumps(built(*datasets, options=FULL, values=CT_SETTINGS))
    shuffled = random.Random(7)
    for _ in range(20):
        shuffled.shuffle(datasets)
        assert orjson.dumps(built(*datasets, options=FULL, values=CT_SETTINGS)) == expected


def without_each() -> list[dict[str, Any]]:
    """A resource for each element of the data set and each setting that is missing, by both policies."""
    made = []
    for options in (FULL, SENTINEL):
        made += [built(ct(1, **{keyword: None}), options=options, values=CT_SETTINGS) for keyword in ELEMENTS]
        for key in CT_SETTINGS:
            values = {name: sent for name, sent in CT_SETTINGS.items() if name != key}
            made.append(built(ct(1), options=options, values=values))
        made.append(built(bare(), options=options))
    return made


def test_each_element_may_be_missing() -> None:
    assert len(without_each()) == 2 * (len(ELEMENTS) + len(CT_SETTINGS) + 1)


@pytest.mark.parametrize("keyword", ELEMENTS)
def test_each_element_may_be_empty(keyword: str) -> None:
    empty = ct(1)
    empty[keyword].value = [] if empty[keyword].VR == "SQ" else None
    built(empty)


@pytest.mark.shared
def test_the_oracles_agree() -> None:
    made = without_each()
    made += [built(ct(1), rtstruct(), options=FULL, values=CT_SETTINGS), built(ct(1, **SR))]
    made += [built(ct(1, Modality=modality), options=options) for modality in (*BLOCKS, "CR", "XX")
             for options in (OPTIONS, SENTINEL, CONTAINED)]  # fmt: skip
    assert [faults for faults in oracles.faults("osiris", made) if faults] == []


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.sampled_from([*BLOCKS, "CR"]),
    st.dictionaries(
        st.sampled_from([*sorted(KEYWORDS), osiris.PRIVATE_DESCRIPTION]),
        st.lists(
            st.one_of(
                st.text(max_size=8),
                st.from_regex(r"-?[0-9]{0,12}\.?[0-9]{0,9}(e-?[0-9]{1,3})?", fullmatch=True),
            ),
            max_size=3,
        ).map(tuple),
    ),
    st.text(max_size=6),
)
def test_any_settings_give_a_valid_resource(modality: str, values: dict[str, Any], measure: str) -> None:
    study = study_of(ct(1, Modality=modality), values=values)
    odd = replace(study.series[0], patient_weight=measure, patient_size=measure, description=measure)
    of(replace(study, series=(odd,)))


# --- configuration


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        (
            FhirOptions(),
            ["fhir.wado_rs_base", "fhir.endpoint.name", "fhir.osiris.reason_reference.system"],
        ),
        (OPTIONS, []),
        (CONTAINED, []),
        (
            replace(
                OPTIONS, wado_rs_base="", endpoint=EndpointOptions(name="A", address="https://a.example")
            ),
            [],
        ),
        (replace(OPTIONS, endpoint=EndpointOptions(name=" ")), ["fhir.endpoint.name"]),
        (
            replace(OPTIONS, osiris=OsirisOptions(ReasonReference("literal"))),
            ["fhir.osiris.reason_reference.value"],
        ),
        (replace(OPTIONS, osiris=OsirisOptions(ReasonReference("literal", value="Observation/1"))), []),
    ],
)
def test_what_must_be_configured(options: FhirOptions, keys: list[str]) -> None:
    assert [key for key, _ in osiris.missing(options)] == keys


def test_what_it_needs_of_the_files() -> None:
    assert OSIRIS.needs == {"settings", "rejections"}


@pytest.mark.parametrize(
    ("reason", "accession", "expected"),
    [
        (REASON, "A1", {"identifier": {"system": REASON.system, "value": "A1"}}),
        (REASON, "", {"identifier": {"system": REASON.system, "value": STUDY}}),
        (
            replace(REASON, value="an-{accession}-{study_uid}"),
            "A1",
            {"identifier": {"system": REASON.system, "value": f"an-A1-{STUDY}"}},
        ),
        (
            ReasonReference("literal", value="Observation/{accession}"),
            "A 1/2",
            {"reference": "Observation/A-1-2"},
        ),
        (
            ReasonReference("literal", value="Observation/{accession}"),
            "",
            {"reference": f"Observation/{STUDY}"},
        ),
    ],
)
def test_the_reason(reason: ReasonReference, accession: str, expected: dict[str, Any]) -> None:
    options = replace(OPTIONS, osiris=OsirisOptions(reason))
    resource = built(ct(AccessionNumber=accession), options=options)
    (found,) = resource["reasonReference"]
    assert found == {"type": "Observation", **expected}


def test_the_reason_contained() -> None:
    resource = built(ct(), options=CONTAINED)
    assert resource["reasonReference"] == [{"reference": "#analysis1"}]
    assert resource["contained"][0] == {
        "resourceType": "Observation",
        "id": "analysis1",
        "meta": {"profile": [f"{OSIRIS_URL}analysis"]},
        "status": "unknown",
        "category": [{"text": "A20260042"}],
        "code": {"coding": [coding("https://github.com/siric-osiris/OSIRIS", "C37-2", "Imaging")]},
        "subject": resource["subject"],
        "effectiveDateTime": resource["started"],
    }
    analysis = built(bare(), options=CONTAINED)["contained"][0]
    assert "category" not in analysis
    assert analysis["_effectiveDateTime"] == absent("x")["_x"]


def test_a_missing_patient_id_is_refused_where_one_is_required() -> None:
    with pytest.raises(ResourceInvalid, match=r"Patient ID \(0010,0020\)"):
        osiris.build(assembled([ct(PatientID="")]), replace(OPTIONS, require_patient_id=True))


def test_no_names_unless_they_are_wanted() -> None:
    reader = {"NameOfPhysiciansReadingStudy": "Roentgen^Bertha"}
    text = orjson.dumps(built(ct(**reader), rtstruct(), options=CONTAINED)).decode()
    for name in ("Müller", "Hippocrates", "Curie", "Röntgen", "Jörg", "Bertha"):
        assert name not in text


# --- study


def test_one_identifier_and_the_accession_number_in_based_on() -> None:
    resource = built(ct())
    assert [one["value"] for one in resource["identifier"]] == [f"urn:oid:{STUDY}"]
    assert [one["identifier"]["value"] for one in resource["basedOn"]] == ["A20260042"]


@pytest.mark.parametrize(
    ("changes", "study", "series"),
    [
        ({}, "2026-03-10T08:18:01+01:00", "2026-03-10T08:18:01+01:00"),
        (
            {"AcquisitionDateTime": "20260310081830-0500"},
            "2026-03-10T08:18:30-05:00",
            "2026-03-10T08:18:30-05:00",
        ),
        ({"AcquisitionDate": None}, "2026-03-10T08:17:02+01:00", "2026-03-10T08:17:02+01:00"),
        (
            {"AcquisitionDate": None, "SeriesDate": ""},
            "2026-03-10T08:20:00+01:00",
            "2026-03-10T08:20:00+01:00",
        ),
        (
            {"AcquisitionDate": None, "SeriesDate": None, "ContentDate": None},
            "2026-03-10T08:15:30.25+01:00",
            "2026-03-10T08:15:30.25+01:00",
        ),
        ({"AcquisitionDate": None, "SeriesDate": None, "ContentDate": None, "StudyDate": ""}, None, None),
        ({"TimezoneOffsetFromUTC": None}, "2026-03-10", "2026-03-10"),
    ],
)
def test_where_the_start_comes_from(changes: dict[str, Any], study: str | None, series: str | None) -> None:
    resource = built(ct(1, **changes))
    assert resource.get("started") == study
    assert resource["series"][0].get("started") == series
    assert ("_started" in resource) == (study is None)


def test_the_start_of_the_study_is_the_earliest_acquisition() -> None:
    resource = built(
        ct(1, AcquisitionTime="0900"), ct(1, 2, AcquisitionTime="0850"), ct(1, 3, AcquisitionDate=None)
    )
    assert resource["started"] == "2026-03-10T08:50:00+01:00"


def test_the_modalities() -> None:
    resource = built(ct(1, 1, Modality="CR"), ct(1, 2), ct(1, 3, Modality="US"), rtstruct())
    assert resource["modality"] == [
        unknown("CR\\US"),
        coding(MEDICAL_DICOM, "CT", "Computed Tomography Scanner"),
        coding(ARKHN, "RTSTRUCT", "Radiotherapy Structure Set"),
    ]
    assert resource["series"][0]["modality"] == unknown("CR")


@pytest.mark.parametrize(
    ("changes", "description"),
    [
        ({}, "CT THORAX"),
        ({"StudyDescription": ""}, "Chest"),
        ({"StudyDescription": "", "RequestedProcedureDescription": None}, "B"),
        ({"StudyDescription": "", "RequestedProcedureDescription": None, "SeriesDescription": ""}, None),
    ],
)
def test_the_description(changes: dict[str, Any], description: str | None) -> None:
    datasets = [ct(1, at, **{"SeriesDescription": name, **changes}) for at, name in enumerate("ABB", 1)]
    resource = built(*datasets)
    assert resource.get("description") == description
    assert ("_description" in resource) == (description is None)
    if description is None:
        assert built(*datasets, options=SENTINEL)["description"] == "Unknown"


def test_no_location_without_an_institution() -> None:
    resource = built(ct(InstitutionName=None), options=FULL)
    assert "location" not in resource
    assert {one["resourceType"] for one in resource["contained"]} == {"Device", "Endpoint"}


# --- whole studies


def urls(series: dict[str, Any]) -> list[str]:
    """Of the extensions, and of what imaging-settings has inside."""
    inside = [part["url"] for part in series["extension"][-1]["extension"]]
    return [one["url"].removeprefix(OSIRIS_URL) for one in series["extension"]] + inside


GEOMETRY = ["slice_thickness", "pixel_spacing", "rows", "columns"]


@pytest.mark.parametrize("modality", ["SR", "KO", "RTSTRUCT", "PR"])
def test_a_study_of_documents(modality: str) -> None:
    resource = built(ct(1, **{**SR, "Modality": modality, "PatientWeight": None, "PatientSize": None}))
    (series,) = resource["series"]
    assert urls(series) == ["imaging-settings", *GEOMETRY]
    assert orjson.dumps(series["extension"]).count(b"not-applicable") == 4


def test_a_study_of_radiographs() -> None:
    values = {"ImagerPixelSpacing": ("0.15", "0.15"), "Rows": ("2022",), "Columns": ("2022",)}
    resource = built(ct(1, Modality="CR"), options=SENTINEL, values=values)
    (series,) = resource["series"]
    assert resource["modality"] == [series["modality"]] == [unknown("CR")]
    assert urls(series) == ["series-weightheigt", "imaging-settings", *GEOMETRY]
    assert series["extension"][1]["extension"] == [
        {"url": "slice_thickness", "valueString": "Unknown"},
        {"url": "pixel_spacing", "valueString": "[0.15, 0.15]"},
        {"url": "rows", "valueInteger": 2022},
        {"url": "columns", "valueInteger": 2022},
    ]


def test_the_policies_are_never_mixed() -> None:
    datasets = [ct(1, SoftwareVersions=None), ct(1, 2, Modality="PT", PatientSize=None), rtstruct()]
    plain, sentinel = (orjson.dumps(built(*datasets, options=options)) for options in (OPTIONS, SENTINEL))
    assert b"999999" not in plain
    assert b'"Unknown"' not in plain
    assert b"data-absent-reason" not in sentinel
    assert b"999999" in sentinel


def test_the_page_has_every_element() -> None:
    resource = built(
        ct(1), rtstruct(), options=replace(CONTAINED, generate_narrative=True), values=CT_SETTINGS
    )
    study, series, *extensions, instance = (
        {row.element for row in section.rows} for section in osiris.PAGE.sections
    )
    assert set(resource) - {"resourceType"} <= study
    assert set(resource["series"][0]) <= series
    assert set(resource["series"][0]["instance"][0]) <= instance
    inside = {part["url"] for one in resource["series"][0]["extension"] for part in one["extension"]}
    assert inside - {"ct_image"} <= set().union(*extensions)
