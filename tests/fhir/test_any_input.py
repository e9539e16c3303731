"""Whatever stands in a data set, every output is valid: bad values are left out, not parked."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, Final

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from node import assemble
from node.documents import Content, Document, Evidence
from node.elements import ELEMENTS, OWN, SHARED
from node.errors import ResourceInvalid
from node.fhir.options import EndpointOptions, FhirOptions, OsirisOptions, ReasonReference
from node.fhir.osiris_settings import KEYWORDS
from node.fhir.targets import PROFILES
from node.model import HeaderSet, InstanceRow, Study
from tests.fhir.selections.made import (
    IMAGES,
    KIDNEY,
    KOS,
    LIVER,
    LUNG,
    OBSERVERS,
    REPORT,
    RTSTRUCT,
    SEG,
    group,
    image,
    key_objects,
    polyline,
    report,
    scoord,
    segmentation,
    structures,
)
from tests.studies import CT, STUDY, assembled, ct, rtstruct

PLAIN = FhirOptions(
    wado_rs_base="https://pacs.example.org/dicomweb",
    endpoint=EndpointOptions(name="Archive"),
    osiris=OsirisOptions(ReasonReference(system="https://ris.example.org/accession")),
)
FULL = replace(
    PLAIN,
    default_timezone="America/St_Johns",
    include_names=True,
    title_from_image_type=True,
    generate_narrative=True,
    admitting_dx_as_reason=True,
    protocol_as_description=True,
    bodysite_display_only=True,
    instance_urls=True,
    sr_document_selection=True,
    availability="ONLINE",
    osiris=OsirisOptions(ReasonReference("contained"), "sentinel"),
)
NUMERIC = ("US", "UL", "FD")

# Values that parsers meet: anything, and things that almost are what they should be.
VALUES = st.one_of(
    st.text(max_size=12),
    st.from_regex(r"[0-9]{0,8}(\.[0-9]{0,6})?", fullmatch=True),
    st.sampled_from(
        [
            "20260310",
            "081530.25",
            "+0100",
            "1.2.3",
            "SCT",
            "SRT",
            "LN",
            "DCMUID",
            "URN",
            "99X",
            "ISO",
            "URI",
            "UUID",
            "A\x1b$B",
        ]
    ),
)
SETTINGS = st.dictionaries(st.sampled_from(sorted(KEYWORDS)), st.lists(VALUES, max_size=3), max_size=12)
LISTS = st.lists(VALUES, max_size=3)
ITEM_KEYWORDS = (
    "CodeValue", "LongCodeValue", "URNCodeValue", "CodingSchemeDesignator", "CodingSchemeVersion", "CodeMeaning",
    "CodingSchemeUID", "PatientID", "IssuerOfPatientID", "LocalNamespaceEntityID", "UniversalEntityID",
    "UniversalEntityIDType", "AccessionNumber", "RequestedProcedureID", "RequestedProcedureDescription",
    "ReasonForTheRequestedProcedure", "SpecimenIdentifier",
)  # fmt: skip
NESTED_KEYWORDS = (
    "PersonIdentificationCodeSequence", "AnatomicRegionModifierSequence", "IssuerOfAccessionNumberSequence",
    "RequestedProcedureCodeSequence", "ReasonForRequestedProcedureCodeSequence",
    "IssuerOfPatientIDQualifiersSequence", "IssuerOfTheSpecimenIdentifierSequence",
)  # fmt: skip
PLAIN_ITEMS = st.dictionaries(st.sampled_from(ITEM_KEYWORDS), LISTS, max_size=6)
ITEMS = st.builds(
    lambda plain, nested: {**plain, **nested},
    PLAIN_ITEMS,
    st.dictionaries(st.sampled_from(NESTED_KEYWORDS), st.lists(PLAIN_ITEMS, max_size=2), max_size=2),
)


def attributes(kept: str) -> st.SearchStrategy[dict[str, Any]]:
    rows = [row for row in ELEMENTS.values() if row.kept == kept]
    sequences = [row.keyword for row in rows if row.vr == "SQ"]
    texts = [row.keyword for row in rows if row.vr != "SQ" and row.vr not in NUMERIC]
    return st.builds(
        lambda plain, nested: {**plain, **nested},
        st.dictionaries(st.sampled_from(texts), LISTS, max_size=12),
        st.dictionaries(st.sampled_from(sequences), st.lists(ITEMS, max_size=2), max_size=4),
    )


def with_documents(study: Study, values: Mapping[str, Sequence[str]] | None = None) -> Study:
    """The study with imaging settings, and with documents in places of its own instances."""
    places = [(one.uid, series.uid) for series in study.series for one in series.instances]
    evidence = tuple(Evidence(study.uid, IMAGES, f"{IMAGES}.{number}") for number in (1, 2))
    contents: tuple[tuple[str, Content], ...] = (
        (RTSTRUCT, structures(LIVER, LUNG)),
        (KOS, key_objects(image(1), image(2), evidence=evidence, observers=OBSERVERS)),
        (REPORT, report(group(scoord("1.4.1", polyline(1, 2, 3, 4), image(1))), evidence=evidence)),
        (SEG, segmentation(KIDNEY)),
    )
    documents = tuple(
        Document(instance, sop_class, series, content)
        for (sop_class, content), (instance, series) in zip(contents, places, strict=False)
    )
    series = tuple(replace(one, settings=values) if one.representative else one for one in study.series)
    return replace(study, series=series, documents=documents)


def resources(study: Study, options: FhirOptions) -> dict[str, list[dict[str, Any]]]:
    """The resources of every output, by its name; each passes its check."""
    found = {}
    for name, profile in PROFILES.items():
        found[name] = [dict(one.resource) for one in profile.build(study, options)]
        for resource in found[name]:
            profile.check(resource)
    return found


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is neither object nor list, with the name of its member."""
    if isinstance(value, dict | list):
        for key, member in value.items() if isinstance(value, dict) else ((name, one) for one in value):
            yield from leaves(member, key)
    else:
        yield name, value


# What FHIR itself says of its primitive types (https://hl7.org/fhir/R5/datatypes.html), by the members that have them.
_DAY = r"([0-9]([0-9]([0-9][1-9]|[1-9]0)|[1-9]00)|[1-9]000)(-(0[1-9]|1[0-2])(-(0[1-9]|[1-2][0-9]|3[0-1])"
_CLOCK = (
    r"T([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]{1,9})?"
    r"(Z|(\+|-)((0[0-9]|1[0-3]):[0-5][0-9]|14:00))"
)
DATE_TIME = re.compile(f"{_DAY}({_CLOCK})?)?)?")
PUBLISHED: Final[dict[str, re.Pattern[str]]] = {
    "started": DATE_TIME,
    "dateTime": DATE_TIME,
    "birthDate": DATE_TIME,
    "effectiveDateTime": DATE_TIME,
    "issued": re.compile(f"{_DAY}{_CLOCK}))"),
    "id": re.compile(r"[A-Za-z0-9\-.]{1,64}"),
    "code": re.compile(r"[^\s]+( [^\s]+)*"),
    "system": re.compile(r"\S+"),
    "url": re.compile(r"\S+"),
    "seriesUid": re.compile(r"[A-Za-z0-9\-.]{1,64}"),
    "uid": re.compile(r"(urn:oid:)?[A-Za-z0-9\-.]{1,64}"),
}
UNSIGNED = {"numberOfSeries", "numberOfInstances", "seriesNumber"}
_UNWANTED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]")


def assert_published(found: Mapping[str, list[dict[str, Any]]]) -> None:
    """Every value is as FHIR has it: no controls, no escapes, no padding, nothing empty."""
    for name, value in leaves(list(found.values())):
        if isinstance(value, str):
            assert value == value.strip() != ""
            assert not _UNWANTED.search(value)
            if name in PUBLISHED:
                assert PUBLISHED[name].fullmatch(value), name
        else:
            assert isinstance(value, int | float), name
            if name in UNSIGNED:
                assert type(value) is int
                assert 0 <= value < 2**31


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.lists(attributes(SHARED), min_size=1, max_size=3),
    st.lists(attributes(OWN), min_size=4, max_size=4),
    SETTINGS,
    st.sampled_from([PLAIN, FULL]),
)
def test_any_attributes_give_valid_resources(
    shared: list[dict[str, Any]], own: list[dict[str, Any]], values: dict[str, Any], options: FhirOptions
) -> None:
    headers = [HeaderSet(at, "1.2.3", found) for at, found in enumerate(shared)]
    instances = [
        InstanceRow("1.2.3", f"1.2.{at}", CT, "", at % len(headers), found, "X")
        for at, found in enumerate(own)
    ]
    study = with_documents(assemble.study(STUDY, headers, instances), values)
    found = resources(study, options)
    assert_published(found)
    backwards = with_documents(assemble.study(STUDY, headers[::-1], instances[::-1]), values)
    assert orjson.dumps(resources(backwards, options)) == orjson.dumps(found)


DATES = st.one_of(
    st.from_regex(r"[0-9]{0,9}", fullmatch=True),
    st.dates().map("{:%Y%m%d}".format),
    st.sampled_from(["2026", "202603", "2026.03.10", "20260230", "00000101", "20260310 ", "tomorrow"]),
)
TIMES = st.one_of(
    st.from_regex(r"[0-2]?[0-9]{0,5}(\.[0-9]{0,7})?", fullmatch=True),
    st.times().map("{:%H%M%S.%f}".format),
    st.sampled_from(["08:15:30", "235960", "240000", "0815", "08", "081530.", "noon"]),
)
OFFSETS = st.one_of(
    st.from_regex(r"[+-][0-9]{4}", fullmatch=True),
    st.sampled_from(["", "+0000", "-0000", "+1400", "+1500", "Z"]),
)
NUMBERS = st.one_of(
    st.integers().map(str), st.floats().map(str), st.sampled_from(["", "1.0", " 7 ", "7\\8", "1e3"])
)
NAMED: Final = tuple(row.keyword for row in ELEMENTS.values() if row.vr == "PN")
_DATED: Final = ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "PatientBirthDate")
_TIMED: Final = ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime")


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(DATES, TIMES, OFFSETS, NUMBERS, st.text(max_size=20))
def test_any_date_time_offset_number_and_name(
    date: str, time: str, offset: str, number: str, name: str
) -> None:
    shared: dict[str, Sequence[Any]] = {
        **{key: [number] for key in ("SeriesNumber", "PatientSize", "PatientWeight")},
        **{keyword: [name] for keyword in NAMED},
        **{key: [date] for key in _DATED},
        **{key: [time] for key in _TIMED},
        "TimezoneOffsetFromUTC": [offset],
        "Modality": ["PT"],
    }
    own: dict[str, Sequence[Any]] = {
        "InstanceNumber": [number],
        "Rows": [512],
        "AcquisitionDateTime": [date + time + offset],
    }
    rows = [InstanceRow("1.2.3", f"1.2.{at}", CT, "", 1, {**shared, **own}, "X") for at in range(4)]
    study = assemble.study(STUDY, [HeaderSet(1, "1.2.3", shared)], rows)
    values = {key: [number] for key in KEYWORDS}
    for options in (PLAIN, FULL):
        assert_published(resources(with_documents(study, values), options))


# --- Names.

COMPONENT = st.text(st.characters(categories=("Lu", "Ll", "Lo")), min_size=1, max_size=8).map("Qzx{}".format)
GROUPS = st.lists(COMPONENT, min_size=1, max_size=5).map("^".join)
NAMES = st.lists(GROUPS, min_size=1, max_size=3).map("=".join)


@cache
def _named(spelt: tuple[str, ...]) -> Study:
    """A study whose every person has a name of its own, observers too."""
    names = {keyword: spelt[at % len(spelt)] for at, keyword in enumerate(NAMED)}
    return with_documents(assembled([ct(1, **names), ct(2, **names), ct(3, **names), rtstruct()]))


def _components(spelt: Sequence[str]) -> set[str]:
    return {part for name in spelt for part in re.split(r"[\^=]", name) if part}


@settings(max_examples=25, deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=4).map(tuple))
def test_no_names_unless_they_are_wanted(spelt: tuple[str, ...]) -> None:
    written = orjson.dumps(resources(_named(spelt), replace(FULL, include_names=False))).decode()
    shown = [*_components(spelt), "Curie", "Marie", "Röntgen", "Hippocrates", "Müller", "Jörg"]
    assert [part for part in shown if part in written] == []


def test_names_where_they_are_wanted() -> None:
    """So that the test above can fail: each output has names to leave out."""
    for name, found in resources(_named(("Qzxa^Qzxb",)), FULL).items():
        assert "Qzxa" in orjson.dumps(found).decode(), name


# --- Order, and what is missing.


@pytest.mark.parametrize("name", PROFILES)
def test_twenty_orders_of_arrival_give_the_same_bytes(name: str) -> None:
    datasets = [
        ct(1, StudyDescription="a", StationName="S1"),
        ct(2, StudyDescription="b", StationName="S2", BodyPartExamined="HEAD"),
        ct(3, 2, AccessionNumber="X", SeriesNumber=None),
        ct(4, 2, AccessionNumber="Y", Laterality="R", OperatorsName="Meitner^Lise"),
        ct(5, 3, StudyDate="20260309", InstanceNumber=None, Modality="MR"),
        rtstruct(),
    ]

    def written() -> bytes:
        study = with_documents(assembled(datasets), {"Rows": ["512"]})
        return orjson.dumps([one.resource for one in PROFILES[name].build(study, FULL)])

    expected = written()
    assert len(expected) > 100
    shuffled = random.Random(7)
    for _ in range(20):
        shuffled.shuffle(datasets)
        assert written() == expected


IDENTIFYING: Final = {"SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"}
SENT: Final = sorted({element.keyword for element in ct(1)} - IDENTIFYING)


def _without(*keywords: str) -> list[Dataset]:
    datasets = [ct(1), ct(2), ct(3, 2), rtstruct()]
    for dataset in datasets:
        for keyword in keywords:
            if keyword in dataset:
                delattr(dataset, keyword)
    return datasets


@pytest.mark.parametrize("keyword", SENT)
def test_each_source_attribute_may_be_missing_or_empty(keyword: str) -> None:
    emptied = [ct(1), ct(2), ct(3, 2), rtstruct()]
    for dataset in emptied:
        if keyword in dataset:
            dataset[keyword].value = [] if dataset[keyword].VR == "SQ" else None
    for datasets in (_without(keyword), emptied):
        for options in (PLAIN, FULL):
            assert_published(resources(with_documents(assembled(datasets)), options))


def test_all_source_attributes_may_be_missing() -> None:
    for options in (PLAIN, FULL):
        assert_published(resources(with_documents(assembled(_without(*SENT))), options))


@pytest.mark.parametrize("name", PROFILES)
def test_a_required_patient_id_is_the_only_refusal(name: str) -> None:
    study = with_documents(assembled(_without("PatientID")))
    with pytest.raises(ResourceInvalid):
        list(PROFILES[name].build(study, replace(PLAIN, require_patient_id=True)))


# --- The check itself.

WHOLE: Final = {
    name: orjson.dumps(found[0])
    for name, found in resources(
        with_documents(assembled([ct(1), ct(2), rtstruct(), ct(1, 3)])), FULL
    ).items()
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=150, deadline=None)
@given(st.data(), JSON, st.sampled_from(list(PROFILES)))
def test_the_check_refuses_with_its_own_error_only(data: st.DataObject, instead: Any, name: str) -> None:
    """Any member replaced by any JSON value: valid, or refused with a reason."""
    resource = orjson.loads(WHOLE[name])
    place: Any = resource
    while True:
        steps = list(place) if isinstance(place, dict) else list(range(len(place)))
        step = data.draw(st.sampled_from(steps))
        if not isinstance(place[step], dict | list) or not place[step] or data.draw(st.booleans()):
            break
        place = place[step]
    place[step] = instead
    try:
        PROFILES[name].check(resource)
    except ResourceInvalid as error:
        assert str(error).startswith(f"{name} ")
