"""What the quarantine pages show: a row, why it is there, both sides of a collision. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from node.web.pages import actions, words
from node.web.services import Json

# reason -> what happened, and what can be done
_REASONS: Final = {
    "duplicate": (
        "Same SOP Instance UID, other bytes",
        "A modality that sends an image again after a change is the usual cause; two devices that make the same "
        "UIDs have a fault. Compare the two, then release or discard this one.",
    ),
    "duplicate-rejected": (
        "Same SOP Instance UID, other bytes: refused",
        "The sender was told (objects.on_duplicate = reject). Compare the two, then release or discard this one.",
    ),
    "patient-conflict": (
        "The study has objects of two patients",
        "It is not published as one patient's. Correct it at its source and send it again, or publish it as it is.",
    ),
    "no-patient-id": (
        "The study has no Patient ID",
        "It is held back because fhir.require_patient_id is set. Correct it at its source, or publish it as it is.",
    ),
}
_OTHERS: Final = {
    "object": (
        "The object could not be taken in",
        "Its bytes are kept as they came. Releasing it takes it in again, if it can be read by now.",
    ),
    "study": ("The study is held back", "Look at the detail, then publish it as it is."),
}
_LABELS: Final = {
    "instance": "SOP Instance UID",
    "sop_instance": "SOP Instance UID",
    "series": "Series Instance UID",
    "study": "Study Instance UID",
    "sop_class": "SOP class",
    "transfer_syntax": "Transfer syntax",
    "calling_ae": "Sent by",
    "called_ae": "Called AE",
    "at": "Received",
    "received_at": "Received",
    "size": "Size",
    "digest": "Digest",
    "sha256": "SHA-256",
    "patient_id": "Patient ID",
    "patient_name": "Patient",
    "accession": "Accession",
}
_KINDS: Final = {"object": "object", "study": "study"}
_STATES: Final = {"waiting": "waiting", "released": "released", "discarded": "discarded"}


class Row(NamedTuple):
    """A line of the list, and the head of the page of one."""

    id: int
    href: str
    kind: str
    reason: str
    title: str
    advice: str
    detail: str
    study: str
    study_href: str
    calling_ae: str
    at: str
    state: str
    state_tells: str
    settled_at: str


class Side(NamedTuple):
    """One line of the comparison; ``instant`` when both are times."""

    label: str
    held: str
    stored: str
    differs: bool
    instant: bool


def row(found: Json) -> Row:
    """One row of ``quarantine`` or ``quarantined``."""
    title, advice = _REASONS.get(found["reason"], _OTHERS[found["kind"]])
    return Row(
        id=found["id"],
        href=f"/quarantine/{found['id']}",
        kind=_KINDS[found["kind"]],
        reason=found["reason"],
        title=title,
        advice=advice,
        detail=found["detail"],
        study=found["study"] or "",
        study_href=words.study_href(found["study"]) if found["study"] else "",
        calling_ae=found["calling_ae"],
        at=found["at"],
        state=found["state"],
        state_tells=_STATES[found["state"]],
        settled_at=found.get("discarded_at") or found["released_at"] or "",
    )


def page(found: Json) -> dict[str, Any]:
    """The page of one row."""
    held, stored = found.get("held"), found.get("stored")
    return {
        "row": row(found),
        "sides": sides(held or {}, stored),
        "collides": stored is not None,
        "differs": found.get("differs") or [],
        "actions": actions.quarantine_actions(found, stored is not None),
    }


def sides(held: Mapping[str, Any], stored: Mapping[str, Any] | None) -> list[Side]:
    """What is known of the held object beside the same of the stored one; ``differs`` only where both tell."""
    names = list(dict.fromkeys([*held, *(stored or {})]))
    found = []
    for name in names:
        left, right = _shown(name, held.get(name)), _shown(name, (stored or {}).get(name))
        if left or right:
            label = _LABELS.get(name, name.replace("_", " ").capitalize())
            differs = stored is not None and left != right
            found.append(Side(label, left, right, differs, name in ("at", "received_at")))
    return found


def _shown(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return ", ".join(str(part) for part in value)
    if name in ("size", "bytes"):
        return f"{value:,} bytes"
    if name in ("sop_class", "transfer_syntax"):
        named = words.uid_name(str(value))
        return named if named == value else f"{named} ({value})"
    return str(value)
