"""FHIR's datatypes from the study model: strings, dateTime, names, numbers, identifiers, references.

Everything here gives plain dicts, lists, strings and integers, or None for what must be left out: FHIR has no
null, no empty string, no empty array (https://hl7.org/fhir/R5/json.html). R4, R4B and R5 spell these alike.
"""

from __future__ import annotations

import re
import uuid
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

import orjson

from node.assemble.values import Time, parse_unsigned, resolve
from node.fhir.options import FhirOptions
from node.terms import Identifier, Issuer, Moment, Person

Json = dict[str, Any]

DICOM_UID: Final = "urn:dicom:uid"
RFC3986: Final = "urn:ietf:rfc:3986"
V2_0203: Final = "http://terminology.hl7.org/CodeSystem/v2-0203"
DATA_ABSENT: Final = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"

# Identifier types by code, with the displays of HL7 v2 table 0203.
IDENTIFIER_TYPES: Final = {
    "ACSN": "Accession ID",
    "FILL": "Filler Identifier",
    "MR": "Medical record number",
    "VN": "Visit number",
}

# Ids of resources are UUIDv5 in this namespace, so that they are the same wherever the study is built again.
NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "urn:dicom-fhir-node")

# C0 without tab, LF and CR, DEL, C1, and the non-characters of the BMP: FHIR forbids or warns of them.
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]")
_OID = re.compile(r"[0-2](\.(0|[1-9][0-9]*))+\Z")
_UID = re.compile(r"[0-9.]{1,64}\Z")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_FARTHEST: Final = timedelta(hours=14)  # from UTC, in FHIR's dateTime
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:[^\s]+\Z")


def compact(**members: Any) -> Json:
    """The members that have a value: None, empty strings, lists and dicts are left out; 0 and False stay."""
    return {
        name: value for name, value in members.items() if value is not None and value not in ("", [], {}, ())
    }


def string(raw: str) -> str | None:
    """A FHIR string: no control characters, no padding; None when nothing is left."""
    return _CONTROLS.sub("", raw).strip() or None


def code(raw: str) -> str | None:
    """A FHIR code: no blanks at its ends, single ones inside."""
    return " ".join(_CONTROLS.sub("", raw).split()) or None


def uri(raw: str) -> str | None:
    """An absolute URI without white space, else None."""
    text = string(raw)
    return text if text and _URI.match(text) else None


def oid(raw: str) -> str | None:
    """``urn:oid:`` for a legal OID, else None."""
    return f"urn:oid:{raw}" if _OID.match(raw) else None


def uid(raw: str) -> str | None:
    """A UID that FHIR can carry as id: up to 64 digits and dots (PS3.5 9.1), else None."""
    return raw if _UID.match(raw) else None


def unsigned(raw: str) -> int | None:
    """unsignedInt from IS; negative, too large or no integer is None."""
    return parse_unsigned(raw)


def resource_id(target: str, *parts: str) -> str:
    """The id of a resource: UUIDv5 of ``target|part|…``, lower case."""
    return str(uuid.uuid5(NAMESPACE, "|".join((target, *parts))))


def date_time(moment: Moment | None, default_timezone: str) -> str | None:
    """A FHIR dateTime, as precise as DICOM was and no more.

    The time is kept when its offset is known: (0008,0201) or a DT's suffix, else from the sender's time zone,
    else from ``default_timezone`` (IANA name, empty: none). Otherwise the date alone is left, because a
    dateTime with a time must have an offset. The fraction keeps the digits that were sent.
    """
    parts = resolve(moment) if moment else None
    if moment is None or parts is None:
        return None
    (year, month, day), time, offset = parts
    if not month:
        return f"{year:04d}"
    if not day:
        return f"{year:04d}-{month:02d}"
    date = f"{year:04d}-{month:02d}-{day:02d}"
    if time is None:
        return date
    if offset is None:
        offset = _zone_offset(moment.timezone or default_timezone, (year, month, day), time)
    if offset is None:
        return date
    fraction = f".{time.fraction}" if time.fraction else ""
    sign, minutes = ("-", -offset) if offset < 0 else ("+", offset)
    clock = f"{time.hour:02d}:{time.minute:02d}:{time.second:02d}{fraction}"
    return f"{date}T{clock}{sign}{minutes // 60:02d}:{minutes % 60:02d}"


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    # The time zone database is a table like the others here, only that it lies in files.
    return ZoneInfo(name)


def _zone_offset(name: str, date: tuple[int, int, int], time: Time) -> int | None:
    """Minutes east of UTC in the zone at that local time; the first of two in the ambiguous hour.

    Before a zone had whole minutes (its local mean time), or was within 14 hours of UTC (Guam before 1845), FHIR
    can't write its offset: None.
    """
    if not name:
        return None
    local = datetime(*date, time.hour, time.minute, min(time.second, 59), tzinfo=_zone(name), fold=0)
    offset = local.utcoffset()
    if offset is None or offset.total_seconds() % 60 or abs(offset) > _FARTHEST:
        return None
    return int(offset.total_seconds()) // 60


def name_components(raw: str) -> tuple[list[str], ...]:
    """The component groups of a PN (PS3.5 6.2.1): alphabetic, ideographic, phonetic, five each."""
    groups = []
    for group in raw.split("=")[:3]:
        found = [string(component) or "" for component in group.split("^")[:5]]
        groups.append(found + [""] * (5 - len(found)))
    return tuple(groups)


def display_name(raw: str) -> str | None:
    """``family, given middle`` of the first component group that says anything."""
    for family, given, middle, _, _ in name_components(raw):
        first = " ".join(part for part in (given, middle) if part)
        found = ", ".join(part for part in (family, first) if part)
        if found:
            return found
    return None


def issuer_system(issuer: Issuer, options: FhirOptions, default: str) -> str | None:
    """Identifier.system of an issuer: its universal id, else its configured local name, else ``default``."""
    universal = {
        "ISO": lambda: oid(issuer.universal),
        "UUID": lambda: _uuid(issuer.universal),
        "URI": lambda: uri(issuer.universal),
    }.get(issuer.universal_type.upper())
    found = universal() if universal else None
    return found or options.issuers.get(issuer.local.strip()) or default or None


def _uuid(raw: str) -> str | None:
    lower = raw.strip().lower()
    return f"urn:uuid:{lower}" if _UUID.match(lower) else None


def identifier(
    found: Identifier | None, options: FhirOptions, kind: str | None = None, default_system: str = ""
) -> Json | None:
    """An Identifier of type ``kind`` (a key of IDENTIFIER_TYPES).

    Without a system the local issuer name is its assigner's display: then it is only unique there.
    """
    value = string(found.value) if found else None
    if found is None or value is None:
        return None
    system = issuer_system(found.issuer, options, default_system)
    local = string(found.issuer.local)
    types = (
        {"coding": [{"system": V2_0203, "code": kind, "display": IDENTIFIER_TYPES[kind]}]} if kind else None
    )
    return compact(
        type=types, system=system, value=value, assigner={"display": local} if local and not system else None
    )


def uid_identifier(uid: str, use: str | None = None) -> Json:
    """A DICOM UID as Identifier (https://hl7.org/fhir/R5/imagingstudy.html#notes)."""
    return compact(use=use, system=DICOM_UID, value=f"urn:oid:{uid}")


def reference(kind: str, identified: Json | None = None, display: str | None = None) -> Json | None:
    """A logical Reference; None when it would say nothing (ref-2)."""
    if not identified and not display:
        return None
    return compact(type=kind, identifier=identified, display=display)


def practitioner(person: Person, identified: Json | None, options: FhirOptions) -> Json | None:
    """A logical reference to a person; names only where ``include_names`` allows them."""
    return reference("Practitioner", identified, display_name(person.name) if options.include_names else None)


def distinct(values: list[Json]) -> list[Json]:
    """Each value once, at its first place. By its JSON: a series may have as many operators as instances."""
    found: dict[bytes, Json] = {}
    for value in values:
        found.setdefault(orjson.dumps(value, option=orjson.OPT_SORT_KEYS), value)
    return list(found.values())
