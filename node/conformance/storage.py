"""C-STORE in the statement: what is taken, what success means, what becomes of what collides."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from node.association.negotiation import STORAGE_CLASSES
from node.config import Config
from node.conformance import claims
from node.conformance.markdown import blocks, bullets, table
from node.conformance.names import is_retired, sop_class_name
from node.conformance.query import statuses
from node.settings import Objects, Retention

DURABLE: Final = {
    "fsync": "the object is whole and identified, and its file and folder are synced to the disk",
    "none": "the object is whole and identified, and written to a file; **it is not synced** "
    '(`objects.durability = "none"`)',
}
ON_DUPLICATE: Final = {
    "keep": "0x0000; what was stored first stays, the new bytes go to quarantine",
    "replace": "0x0000; the new bytes take its place and the study gets a new version, the old bytes "
    "go to quarantine",
    "reject": "0x0111; the new bytes go to quarantine",
}
ON_PATIENT_CONFLICT: Final = {
    "quarantine": "held back from publication until an operator completes it",
    "majority": "published as the patient of most of its instances",
}


def section(config: Config) -> str:
    """How objects are stored."""
    objects = config.objects
    return blocks(
        bullets(_what(config)),
        "What comes again:",
        table(("", "answer"), _again(objects)),
        "Statuses of C-STORE-RSP (a failure has an Error Comment; the node sends no warning):",
        statuses(claims.STORE, DURABLE[objects.durability]),
    )


def _what(config: Config) -> Iterator[str]:
    yield "SCP of every storage SOP Class (annex A), in every transfer syntax: conformance level 2 (full), PS3.4 B.4.1."
    yield (
        "Every attribute is kept, standard or private, as sent: the data set's bytes are not changed. Nothing is "
        "coerced, and digital signatures stay valid."
    )
    yield (
        "Each object is a file of its own (PS3.10), with file meta information that the node writes: it names the "
        "node's Implementation Class UID, source, sending and receiving AE title, and, as private information of "
        "that UID (0002,0102), the size of the whole file, by which the node knows after a crash that it is whole."
    )
    yield (
        "An object needs legal SOP Class, SOP Instance, Study Instance and Series Instance UIDs (components with "
        "leading zeros are let through). Classes whose instances belong to no study (hanging protocols, color "
        "palettes, implant templates) are accepted in negotiation, and their objects answered 0xC000."
    )
    yield (
        f"A study is complete when nothing new has come for {config.completion.quiet_seconds:g} s "
        "(`completion.quiet_seconds`, other times by `[[completion.rules]]`), or "
        f"{config.completion.max_seconds:g} s after its first object; then it is published (docs/consuming.md). "
        "What comes later opens its next version."
    )
    yield (
        "A study whose objects are of two patients is stored, and "
        f"{ON_PATIENT_CONFLICT[config.fhir.on_patient_conflict]} (`fhir.on_patient_conflict`)."
    )
    yield f"Retention: {_retention(config.retention)}. There is no storage commitment."


def _retention(retention: Retention) -> str:
    """What [retention] comes to."""
    limits = []
    if retention.max_age_days:
        limits.append(f"completed more than {retention.max_age_days:g} days ago")
    if retention.min_free_bytes:
        limits.append(f"completed the longest ago, while less than {retention.min_free_bytes} bytes are free")
    if not limits:
        return "nothing is deleted (`[retention]`)"
    found = "still found by queries" if retention.keep_index else "not found by queries any more"
    which = " or ".join(limits)
    return f"objects of complete and published studies are deleted that were {which}; they are {found}"


def _again(objects: Objects) -> Iterator[tuple[str, str]]:
    yield "the same SOP Instance UID in the same series and study, the same bytes", "0x0000; nothing changes"
    yield (
        f'the same, other bytes (`objects.on_duplicate = "{objects.on_duplicate}"`)',
        ON_DUPLICATE[objects.on_duplicate],
    )
    yield (
        "the same SOP Instance UID in another series or study",
        "0x0000; stored as another object, and counted",
    )


def classes() -> str:
    """Annex A: every storage SOP Class that PS3.6 names."""
    names = sorted((sop_class_name(uid), uid) for uid in STORAGE_CLASSES)
    return blocks(
        f"The {len(names)} storage SOP Classes of PS3.6 Table A-1 as pydicom has it, all as SCP; "
        "`send` is SCU of whatever class a file has.",
        table(
            ("SOP Class", "UID", ""),
            ((name, f"`{uid}`", "retired" if is_retired(uid) else "") for name, uid in names),
        ),
    )
