"""Codes: coding schemes, modality, body part, laterality, SOP class, performer function.

The tables are in ``modalities``, ``bodyparts``, ``schemes`` and ``sopclasses``, each with its source.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final

from pydicom.uid import UID

from node.fhir.bodyparts import SNOMED_CT
from node.fhir.datatypes import RFC3986, Json, code, compact, oid, string, uri
from node.fhir.modalities import DISPLAYS
from node.fhir.options import FhirOptions
from node.fhir.schemes import SYSTEMS
from node.fhir.sopclasses import MODALITIES
from node.model import BodyPart, Series
from node.terms import Code

DCM: Final = "http://dicom.nema.org/resources/ontology/DCM"
SCT: Final = "http://snomed.info/sct"

# Designators of SNOMED-RT style codes (PS3.16 8.1.1), which SNOMED CT replaced.
_RETIRED_SNOMED: Final = frozenset({"SRT", "SNM3", "99SDM"})

# PS3.16 CID 244. U means "unpaired" in Image and Frame Laterality: it names no side, so it is left out.
_LATERALITY: Final = {
    "R": {"system": SCT, "code": "24028007", "display": "Right"},
    "L": {"system": SCT, "code": "7771000", "display": "Left"},
    "B": {"system": SCT, "code": "51440002", "display": "Bilateral"},
}

PERFORMER: Final[Json] = {
    "coding": [
        {
            "system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType",
            "code": "PRF",
            "display": "performer",
        }
    ]
}


@lru_cache(maxsize=1)
def _snomed_rt() -> Mapping[str, str]:
    """PS3.16's table of retired SNOMED-RT codes, in a private module of pydicom: without it they stay as sent.

    Read when the first such code comes: it takes a quarter of a second, which every command would pay.
    """
    try:
        from pydicom.sr._snomed_dict import mapping

        found: Mapping[str, str] = mapping["SRT"]
    except (ImportError, KeyError):  # pragma: no cover
        return {}
    return found


def coding(entry: Code, options: FhirOptions) -> Json | None:
    """A Coding with a system, or None: a Coding without one names nothing outside its sender."""
    value = code(entry.value)
    if value is None:
        return None
    scheme = entry.scheme.strip()
    display, version = string(entry.meaning), string(entry.version)
    if scheme in _RETIRED_SNOMED and scheme not in options.coding_schemes and value in _snomed_rt():
        # The version is SNOMED-RT's; it says nothing about the SNOMED CT code.
        return compact(system=SCT, code=_snomed_rt()[value], display=display)
    if scheme == "DCMUID" and oid(value):
        return compact(system=RFC3986, code=oid(value), display=display)
    system = options.coding_schemes.get(scheme) or SYSTEMS.get(scheme) or oid(entry.scheme_uid.strip())
    if not system or (system == RFC3986 and not uri(value)):
        return None
    return compact(system=system, version=version, code=value, display=display)


def concept(entry: Code, options: FhirOptions) -> Json | None:
    """A CodeableConcept: the coding where its scheme is known, the meaning as text."""
    found = coding(entry, options)
    text = string(entry.meaning) or (None if found else string(entry.value))
    return compact(coding=[found] if found else [], text=text) or None


def concepts(entries: Sequence[Code], options: FhirOptions) -> list[Json]:
    """The concepts of ``entries``, each (system, code) or text once."""
    found: dict[object, Json] = {}
    for entry in entries:
        one = concept(entry, options)
        if one:
            found.setdefault(_key(one), one)
    return list(found.values())


def _key(one: Json) -> object:
    """What a concept is, however it is worded."""
    first = one["coding"][0] if one.get("coding") else None
    return (first["system"], first["code"]) if first else one.get("text", "").casefold()


def modality_code(series: Series) -> str:
    """Modality as published: upper case; where it is missing the SOP class says it, else OT."""
    raw = string(series.modality)
    if raw:
        return raw.upper()
    classes = Counter(instance.sop_class for instance in series.instances)
    return next((MODALITIES[uid] for uid, _ in classes.most_common() if uid in MODALITIES), "OT")


def modality(value: str) -> Json:
    """CodeableConcept of a modality code; one that DCM does not have is text, never a made-up coding."""
    if value in DISPLAYS:
        return {"coding": [{"system": DCM, "code": value, "display": DISPLAYS[value]}]}
    return {"text": value}


def body_part(part: BodyPart, options: FhirOptions) -> Json | None:
    """Anatomic Region Sequence wins over Body Part Examined; the text is the latter as sent."""
    text = string(part.examined)
    region = coding(part.region, options) if part.region else None
    if region is None:
        region = body_part_coding(part.examined)
    if text is None and part.region:
        text = string(part.region.meaning) or (None if region else string(part.region.value))
    return compact(coding=[region] if region else [], text=text) or None


def body_site(
    series: Series,
    options: FhirOptions,
    of: Callable[[BodyPart, FhirOptions], Json | None] = body_part,
) -> Json | None:
    """CodeableConcept of what the series shows; ``of`` spells one body part.

    Where instances disagree: the same code is one body part; else the most frequent, unless its share of
    the instances is below half: then no single one would be true.
    """
    shares: dict[object, int] = {}
    found: dict[object, Json] = {}
    for part in series.body_parts:
        one = of(part, options)
        if one:
            shares[_key(one)] = shares.get(_key(one), 0) + part.instances
            found.setdefault(_key(one), one)
    if not shares:
        return None
    winner = max(shares, key=lambda key: shares[key])  # of equals the first, as the model has them in order
    return found[winner] if 2 * shares[winner] >= sum(shares.values()) else None


def body_part_coding(examined: str) -> Json | None:
    """SNOMED CT for Body Part Examined; blanks and signs are ignored, nothing is guessed."""
    found = SNOMED_CT.get(re.sub(r"[^A-Z0-9]", "", examined.upper()))
    return {"system": SCT, "code": found[0], "display": found[1]} if found else None


def laterality(values: Sequence[str]) -> Json | None:
    """CodeableConcept of a series' side: both sides, or B, is bilateral."""
    sides = {side for value in values if (side := value.strip().upper()) in _LATERALITY}
    if not sides:
        return None
    return {"coding": [_LATERALITY[sides.pop() if len(sides) == 1 else "B"]]}


@lru_cache(maxsize=1024)
def sop_class(uid: str) -> Json:
    """Coding of a SOP class; the display is its registered name, private classes have none.

    One dict for all instances of a class: thousands of them share it, nobody changes it.
    """
    name = UID(uid).name
    return compact(system=RFC3986, code=f"urn:oid:{uid}", display=name if name != uid else None)
