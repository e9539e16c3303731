"""Every output of every study of the shared corpus, as configured in three ways, through validators that nobody
here wrote: the profile checker, JSON Schema, DSTU1's XML Schema, and HAPI with the profiles.

Nothing is sampled: the corpus has some sixty studies, and HAPI takes 25 to 60 ms for one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, cast

import pytest

from node.contents import ContentReader, Contents
from node.documents import Need
from node.errors import ResourceInvalid
from node.fhir.options import (
    EndpointOptions,
    FhirOptions,
    OsirisOptions,
    ReasonReference,
    ReferenceTemplates,
    SelectionOptions,
)
from node.fhir.targets import PROFILES
from node.model import ObjectKey, Patient, Study
from node.objects.base import ObjectStore
from node.terms import Person
from tests.fhir.test_corpus import CORPUS, objects, studies
from tests.fhir.validators import oracles
from tests.fhir.validators.hapi import Hapi

pytestmark = pytest.mark.shared

BASE: Final = "https://pacs.example.org/dicomweb"
ARCHIVE: Final = EndpointOptions(name="Archive")

# What the outputs can't do without; everything that can be said; the other way of everything that has one.
CONFIGURED: Final[dict[str, FhirOptions]] = {
    "plain": FhirOptions(
        wado_rs_base=BASE,
        endpoint=ARCHIVE,
        osiris=OsirisOptions(ReasonReference(system="https://ris.example.org/accession")),
    ),
    "full": FhirOptions(
        default_timezone="Europe/Paris",
        default_patient_id_system="https://hospital.example.org/patient",
        default_accession_system="https://ris.example.org/accession",
        study_id_system="https://ris.example.org/study",
        wado_rs_base=BASE,
        include_names=True,
        title_from_image_type=True,
        generate_narrative=True,
        admitting_dx_as_reason=True,
        protocol_as_description=True,
        source="https://node.example.org",
        availability="ONLINE",
        bodysite_display_only=True,
        instance_urls=True,
        sr_document_selection=True,
        kos_skip_titles=(),
        endpoint=ARCHIVE,
        osiris=OsirisOptions(ReasonReference("contained")),
        sel=SelectionOptions(identifier_system="https://node.example.org/selection"),
    ),
    "other": FhirOptions(
        default_timezone="America/New_York",
        wado_rs_base=BASE,
        include_instances=False,
        rtstruct_mode="roi",
        seg_mode="instance",
        max_coordinates=4,
        imr_endpoint_address_template="/studies/{study_uid}",
        endpoint=EndpointOptions("ihe-iid", "Archive", "https://viewer.example.org/"),
        references=ReferenceTemplates("Patient/{patient_id}", "ServiceRequest/{accession}"),
        osiris=OsirisOptions(ReasonReference("literal", value="Observation/{study_uid}"), "sentinel"),
        sel=SelectionOptions("dicom"),
    ),
}

_CONTROL = re.compile("[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f]")
_NAME = re.compile("zeisig|quendel|\u6731|\u304a", re.IGNORECASE)
_OID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*")


def _not_an_oid(study: Study) -> bool:
    """A UID of the study has a component with a leading zero: DSTU1's datatype can't have it."""
    uids = {study.uid}
    for series in study.series:
        uids |= {series.uid} | {uid for one in series.instances for uid in (one.uid, one.sop_class)}
    return not all(_OID.fullmatch(uid) for uid in uids)


def _nothing(_: Study) -> bool:
    return False


# Output -> which studies it may refuse; any other must be published.
MAY_REFUSE: Final[dict[str, Callable[[Study], bool]]] = {"dstu1": _not_an_oid}


class CorpusFiles:
    """The corpus as far as an object store is read: the first file of an object, as in ``studies``."""

    def __init__(self) -> None:
        self._paths: dict[ObjectKey, Path] = {}
        for one in objects():
            _, instance, study, series = one.uids.values()
            self._paths.setdefault(ObjectKey(study, series, instance), CORPUS / one.file)

    def open(self, key: ObjectKey) -> BinaryIO:
        return self._paths[key].open("rb")


@cache
def _completed() -> tuple[Study, ...]:
    """The studies with what their stored files hold: imaging settings and documents."""
    with ContentReader() as reader:
        contents = Contents(cast(ObjectStore, CorpusFiles()), reader)
        needs: frozenset[Need] = frozenset({"settings", "documents"})
        return tuple(contents.fill(study, needs) for _, study in sorted(studies().items()))


class Output(NamedTuple):
    """The resources of all studies, and the studies that were refused, with the reason."""

    resources: list[dict[str, Any]]
    refused: list[tuple[Study, str]]


@cache
def _output(profile: str, options: str) -> Output:
    target = PROFILES[profile]
    made = Output([], [])
    for study in _completed():
        try:
            built = target.build(study, CONFIGURED[options])
        except ResourceInvalid as error:
            made.refused.append((study, str(error)))
            continue
        made.resources.extend(one.resource for one in built)
    return made


def leaves(value: Any) -> Iterator[str]:
    """Every string in a resource."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for member in value.values() if isinstance(value, dict) else value:
            yield from leaves(member)


def _distinct(texts: Iterable[str]) -> list[str]:
    """The texts, those once that differ in positions only."""
    return list({re.sub(r"\[\d+\]", "[]", text): text for text in texts}.values())


@pytest.fixture(params=CONFIGURED)
def options(request: pytest.FixtureRequest) -> str:
    """A key of CONFIGURED."""
    return str(request.param)


def test_every_output_has_its_validators() -> None:
    assert set(PROFILES) <= set(oracles.TARGETS)
    assert {name: row.fhir_version for name, row in PROFILES.items()} == {
        name: oracles.TARGETS[name].version for name in PROFILES
    }


@pytest.mark.parametrize("profile", PROFILES)
def test_what_is_configured_is_enough(profile: str, options: str) -> None:
    assert list(PROFILES[profile].missing(CONFIGURED[options])) == []


@pytest.mark.parametrize("profile", PROFILES)
def test_every_study_is_published(profile: str, options: str) -> None:
    made = _output(profile, options)
    may_refuse = MAY_REFUSE.get(profile, _nothing)
    assert [reason for study, reason in made.refused if not may_refuse(study)] == []
    if PROFILES[profile].kind == "imagingstudy":
        assert len(made.resources) + len(made.refused) == len(_completed())
    assert made.resources


def test_documents_are_read() -> None:
    documents = [one for study in _completed() for one in study.documents]
    assert len(documents) > 20
    assert [one.unread for one in documents if one.content is None] == []


@pytest.mark.parametrize("profile", PROFILES)
def test_the_profile_is_claimed(profile: str, options: str) -> None:
    required = oracles.TARGETS[profile].profile
    if required is not None:
        claimed = [one.get("meta", {}).get("profile") for one in _output(profile, options).resources]
        assert all(one == [required] for one in claimed)


@pytest.mark.parametrize("profile", PROFILES)
def test_the_node_accepts_what_it_makes(profile: str, options: str) -> None:
    for resource in _output(profile, options).resources:
        PROFILES[profile].check(resource)


@pytest.mark.parametrize("profile", PROFILES)
def test_the_oracles_agree(profile: str, options: str) -> None:
    found = oracles.faults(profile, _output(profile, options).resources)
    assert _distinct(text for faults in found for text in faults) == []


@pytest.mark.parametrize("modality", ["CT", "MR", "DX", "PT", "NM", "RTSTRUCT", "SR", "CR", "DMS", "XYZ", ""])
@pytest.mark.parametrize("profile", PROFILES)
def test_the_oracles_agree_whatever_the_modality(profile: str, modality: str) -> None:
    """Real studies, a few, under another modality: what belongs to it is missing or comes from elsewhere."""
    target = PROFILES[profile]
    for study in [one for one in _completed() if not _not_an_oid(one)][::20]:
        series = tuple(replace(one, modality=modality) for one in study.series)
        built = target.build(replace(study, series=series), CONFIGURED["plain"])
        found = oracles.faults(profile, [one.resource for one in built])
        assert _distinct(text for faults in found for text in faults) == []


@pytest.mark.parametrize("profile", PROFILES)
def test_no_string_holds_padding_or_control_characters(profile: str, options: str) -> None:
    texts = {text for one in _output(profile, options).resources for text in leaves(one)}
    assert [text for text in texts if text != text.strip() or _CONTROL.search(text)] == []


def _renamed(value: Any) -> Any:
    """The model with one name for all its people: one that no test object has anywhere."""
    if isinstance(value, tuple):
        renamed = map(_renamed, value)
        return type(value)(*renamed) if hasattr(value, "_fields") else tuple(renamed)
    if not is_dataclass(value) or isinstance(value, type):
        return value
    changed = {field.name: _renamed(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Patient | Person):
        changed["name"] = "Zeisig^Quendel=\u6731\u96c0=\u304a\u304a\u304a"
    return replace(value, **changed)


@pytest.mark.parametrize("profile", PROFILES)
def test_no_name_leaves_unless_it_may(profile: str, options: str) -> None:
    told = set()
    for study in _completed():
        try:
            built = PROFILES[profile].build(_renamed(study), CONFIGURED[options])
        except ResourceInvalid:
            continue  # as in test_every_study_is_published
        told |= {text for one in built for text in leaves(one.resource) if _NAME.search(text)}
    assert bool(told) == CONFIGURED[options].include_names, told


# R4 first: R5 takes HAPI a while to load.
_BY_HAPI: Final = sorted(
    (name for name, row in PROFILES.items() if row.fhir_version != "0.0"),
    key=lambda name: PROFILES[name].fhir_version,
)


@pytest.mark.hapi
@pytest.mark.timeout(600)  # the first one may fetch the jars
@pytest.mark.parametrize("profile", _BY_HAPI)
def test_hapi_agrees(hapi: Hapi, profile: str, options: str) -> None:
    target = oracles.TARGETS[profile]
    resources = _output(profile, options).resources
    found = (text for one in resources for text in hapi.errors(one, target.version, target.profile))
    assert _distinct(found) == []
