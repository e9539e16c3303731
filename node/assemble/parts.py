"""Typed parts of the study model, each read from the attributes of one header or item (PS3.3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from node.model import Attributes, Device, Labels, Organization, Request
from node.terms import Code, Identifier, Issuer, Moment, Person, Zone

_T = TypeVar("_T")

TIMEZONE = "_timezone"  # reserved key: the IANA name configured for the peer that sent the header

Schemes = Mapping[str, str]  # coding scheme designator -> coding scheme UID, (0008,0110)


def text(attributes: Attributes, keyword: str) -> str:
    """A single-valued string; a backslash in it split it, so it is joined again."""
    values = attributes.get(keyword)
    if not values:
        return ""
    return values[0] if len(values) == 1 and isinstance(values[0], str) else "\\".join(map(str, values))


def texts(attributes: Attributes, keyword: str) -> tuple[str, ...]:
    """The values of a multi-valued string, empty ones too: they keep their place."""
    return tuple(str(value) for value in attributes.get(keyword) or ())


def sequence(attributes: Attributes, keyword: str) -> list[Mapping[str, Any]]:
    """The items of a sequence."""
    return [item for item in attributes.get(keyword) or () if isinstance(item, Mapping)]


def schemes(attributes: Attributes) -> Schemes:
    """What Coding Scheme Identification Sequence (0008,0110) says of this header's designators."""
    found: dict[str, str] = {}
    for item in sequence(attributes, "CodingSchemeIdentificationSequence"):
        designator, uid = text(item, "CodingSchemeDesignator"), text(item, "CodingSchemeUID")
        if designator and uid:
            found.setdefault(designator, uid)
    return found


def code(item: Attributes, known: Schemes) -> Code | None:
    """A code sequence item (PS3.3 8.8); None when it has neither code nor meaning."""
    scheme = text(item, "CodingSchemeDesignator")
    value = text(item, "CodeValue") or text(item, "LongCodeValue")
    if not value and (value := text(item, "URNCodeValue")):
        scheme = "URN"
    meaning = text(item, "CodeMeaning")
    if not value and not meaning:
        return None
    return Code(value, scheme, text(item, "CodingSchemeVersion"), meaning, known.get(scheme, ""))


def codes(attributes: Attributes, keyword: str, known: Schemes) -> tuple[Code, ...]:
    """The coded entries of a sequence, in its order."""
    found = (code(item, known) for item in sequence(attributes, keyword))
    return tuple(entry for entry in found if entry is not None)


def issuer(attributes: Attributes, keyword: str, local: str = "") -> Issuer:
    """From an HL7v2 hierarchic designator item (PS3.3 10.14), or only the local name."""
    for item in sequence(attributes, keyword):
        return Issuer(
            local or text(item, "LocalNamespaceEntityID"),
            text(item, "UniversalEntityID"),
            text(item, "UniversalEntityIDType"),
        )
    return Issuer(local)


def identifier(attributes: Attributes, keyword: str, issuer_keyword: str) -> Identifier | None:
    """An identifier with the issuer beside it; None when it is empty."""
    value = text(attributes, keyword)
    return Identifier(value, issuer(attributes, issuer_keyword)) if value else None


def patient_identifier(attributes: Attributes) -> Identifier | None:
    """Patient ID with its issuer (0010,0021) and its qualifiers (0010,0024), of the root or an item."""
    value = text(attributes, "PatientID")
    if not value:
        return None
    local = text(attributes, "IssuerOfPatientID")
    return Identifier(value, issuer(attributes, "IssuerOfPatientIDQualifiersSequence", local))


def other_ids(attributes: Attributes) -> tuple[Identifier, ...]:
    """(0010,1002), and the retired (0010,1000) of older objects."""
    items = (patient_identifier(item) for item in sequence(attributes, "OtherPatientIDsSequence"))
    found = tuple(entry for entry in items if entry)
    return found or tuple(Identifier(value) for value in texts(attributes, "OtherPatientIDs") if value)


def zone(attributes: Attributes) -> Zone:
    """The zone of all times of the instances that share this header."""
    value = attributes.get(TIMEZONE) or ""
    name = value if isinstance(value, str) else str(value[0])
    return Zone(text(attributes, "TimezoneOffsetFromUTC"), name)


def moment(attributes: Attributes, date: str, time: str, at: Zone, datetime: str = "") -> Moment | None:
    """Date and time of one instance, in the zone of its header. None without a date."""
    whole = text(attributes, datetime) if datetime else ""
    day = text(attributes, date)
    if not whole and not day:
        return None
    return Moment(day, text(attributes, time), whole, *at)


def people(attributes: Attributes, names: str, identification: str, known: Schemes) -> tuple[Person, ...]:
    """Persons by name and by identification item; the two lists run in parallel (PS3.3 10.1)."""
    named = texts(attributes, names)
    items = sequence(attributes, identification)
    found = []
    for at in range(max(len(named), len(items))):
        name = named[at] if at < len(named) else ""
        entries = codes(items[at], "PersonIdentificationCodeSequence", known) if at < len(items) else ()
        if name.strip("^= ") or entries:
            found.append(Person(name, entries))
    return tuple(found)


def organization(
    attributes: Attributes, name: str, coded: str, known: Schemes, address: str = ""
) -> Organization:
    """An institution or department."""
    entries = codes(attributes, coded, known)
    return Organization(text(attributes, name), entries, text(attributes, address) if address else "")


def device(attributes: Attributes) -> Device:
    """General Equipment Module (PS3.3 C.7.5.1)."""
    return Device(
        manufacturer=text(attributes, "Manufacturer"),
        model=text(attributes, "ManufacturerModelName"),
        serial=text(attributes, "DeviceSerialNumber"),
        software=tuple(value for value in texts(attributes, "SoftwareVersions") if value),
        station=text(attributes, "StationName"),
        uid=text(attributes, "DeviceUID"),
    )


def requests(attributes: Attributes, known: Schemes) -> tuple[Request, ...]:
    """The items of Request Attributes Sequence (PS3.3 10.6) that say anything."""
    found = (
        Request(
            accession=identifier(item, "AccessionNumber", "IssuerOfAccessionNumberSequence"),
            study_uid=text(item, "StudyInstanceUID"),
            procedure_id=text(item, "RequestedProcedureID"),
            procedure=text(item, "RequestedProcedureDescription"),
            procedure_codes=codes(item, "RequestedProcedureCodeSequence", known),
            reason=text(item, "ReasonForTheRequestedProcedure"),
            reason_codes=codes(item, "ReasonForRequestedProcedureCodeSequence", known),
        )
        for item in sequence(attributes, "RequestAttributesSequence")
    )
    return tuple(entry for entry in found if entry != Request())


def specimens(attributes: Attributes) -> tuple[Identifier, ...]:
    """Specimen identifiers (PS3.3 C.7.6.22), else the identifier of their container."""
    items = sequence(attributes, "SpecimenDescriptionSequence")
    found = (
        identifier(item, "SpecimenIdentifier", "IssuerOfTheSpecimenIdentifierSequence") for item in items
    )
    entries = tuple(entry for entry in found if entry)
    container = text(attributes, "ContainerIdentifier")
    return entries or ((Identifier(container),) if container else ())


_LABELS = {
    "document_title": "DocumentTitle",
    "content_label": "ContentLabel",
    "content_description": "ContentDescription",
    "structure_set_label": "StructureSetLabel",
    "structure_set_name": "StructureSetName",
    "plan_label": "RTPlanLabel",
    "dose_summation": "DoseSummationType",
}
_LABEL_KEYWORDS = frozenset(_LABELS.values()) | {"ConceptNameCodeSequence"}


def labels(attributes: Attributes, known: Schemes) -> Labels | None:
    """What the instance is called; None for plain images, which are most."""
    if _LABEL_KEYWORDS.isdisjoint(attributes):
        return None
    concept = next(iter(codes(attributes, "ConceptNameCodeSequence", known)), None)
    found = Labels(concept, **{field: text(attributes, keyword) for field, keyword in _LABELS.items()})
    return None if found == Labels() else found


def distinct(values: Iterable[_T]) -> tuple[_T, ...]:
    """Each value once, at its first place."""
    return tuple(dict.fromkeys(values))


def joined(found: Sequence[Identifier]) -> tuple[Identifier, ...]:
    """Identifiers without those that only say less than another one of the same value.

    Those with the fullest issuers go first, so that the result does not hang on which is met first.
    """
    ranked = sorted(range(len(found)), key=lambda at: (_gaps(found[at].issuer), at))
    kept: list[int] = []
    said: set[tuple[str, str, str]] = set()  # what the kept ones say, and every lesser way to say it
    halves: set[tuple[str, bool]] = (
        set()
    )  # values kept with one half of an issuer, and whether it is the local
    for at in ranked:
        value, local, universal = found[at].value, found[at].issuer.local, found[at].issuer.universal
        half = bool(local) != bool(universal)
        # Two different halves contradict each other in nothing.
        if (value, local, universal) in said or (half and (value, not local) in halves):
            continue
        kept.append(at)
        said |= {(value, a, b) for a in (local, "") for b in (universal, "")}
        if half:
            halves.add((value, bool(local)))
    return tuple(found[at] for at in sorted(kept))


def _gaps(issuer: Issuer) -> int:
    return (not issuer.local) + (not issuer.universal)
