"""C-FIND in the statement: the information models, how each value representation is matched, and every
key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pydicom.datadict import dictionary_description, tag_for_keyword

from node.config import Config
from node.conformance import claims
from node.conformance.markdown import blocks, bullets, code, table
from node.conformance.names import sop_class_name
from node.index.search import COMPUTED, KEY_LEVELS, LEVELS
from node.matching import MOMENTS, RULES, vr_of
from node.services import identifier
from node.services.find import MODELS, UNIQUE_KEYS

SINGLE: Final = "single value"
LIST: Final = "list"
WILDCARD: Final = "wildcard"
RANGE: Final = "range"
SEQUENCE: Final = "sequence"

_TEXT: Final = (SINGLE, WILDCARD, LIST)
_NUMBER: Final = (SINGLE, LIST)
_TIME: Final = (SINGLE, RANGE, LIST)

# The kinds of matching (PS3.4 C.2.2.2) that a key of each VR takes; universal and empty value matching go for all.
MATCHING: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(("AE", "AS", "CS", "LO", "LT", "SH", "ST", "UC", "UR", "UT"), _TEXT),
    "PN": _TEXT,
    **dict.fromkeys(("DS", "IS", "FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"), _NUMBER),
    **dict.fromkeys(("DA", "DT", "TM"), _TIME),
    "UI": _NUMBER,
    "SQ": (SEQUENCE,),
}


def section(config: Config) -> str:
    """How queries are answered: levels, rules, statuses."""
    return blocks(
        table(
            ("SOP Class", "UID", "levels"),
            ((sop_class_name(uid), f"`{uid}`", ", ".join(levels)) for uid, levels in MODELS.items()),
        ),
        bullets(_rules(config)),
        "How keys are matched, by value representation (PS3.4 C.2.2.2):",
        table(("VR", "matching"), _by_matching()),
        bullets(_matching_rules()),
        "Statuses of C-FIND-RSP:",
        statuses(claims.FIND),
    )


def statuses(rows: tuple[claims.Status, ...], durable: str = "") -> str:
    """A table of statuses; ``durable`` fills what depends on the configuration."""
    return table(
        ("status", "meaning", "when", "what to do"),
        ((row.text, row.meaning, row.when.format(durable=durable), row.remedy) for row in rows),
    )


def _rules(config: Config) -> Iterator[str]:
    yield (
        "Every key in annex B may be asked for and matched on, in each model whose levels have it. Keys of a level "
        "above the one asked for are matched and returned; those of a level below are compared with, and returned "
        "from, the first series and instance."
    )
    yield (
        "Relational queries are answered although they are not negotiated (PS3.4 C.5.1.1): a unique key of a level "
        "above may be missing, and the search then goes over all of that level."
    )
    yield (
        "Every answer has Query/Retrieve Level, Retrieve AE Title (the node's AE title; there is no retrieve service "
        f"behind it) and the unique keys down to its level ({code(UNIQUE_KEYS.values())}). Instance "
        "Availability, when asked for, is ONLINE."
    )
    yield (
        f"At most {config.dicom.max_find_answers} matches are sent (`dicom.max_find_answers`); then "
        "the query ends with 0xFE00 and a comment. C-CANCEL is looked for after each match."
    )
    yield (
        "What was answered with success by C-STORE before the query came is found by it. Studies come newest first, "
        "patients by Patient ID."
    )
    yield (
        f"An identifier of more than {identifier.MAX_BYTES} bytes, or nested deeper than {identifier.MAX_DEPTH}, "
        "is not read."
    )


def _by_matching() -> Iterator[tuple[str, str]]:
    grouped: dict[tuple[str, ...], list[str]] = {}
    for vr in RULES:
        grouped.setdefault(MATCHING[vr], []).append(vr)
    for kinds, vrs in grouped.items():
        yield ", ".join(vrs), ", ".join(kinds)


def _matching_rules() -> Iterator[str]:
    yield (
        'Universal matching (no value, or only `*`) and empty value matching (`""`) go for every '
        "key; a list is several values separated by backslashes, for UI and for every other VR."
    )
    yield (
        "PN ignores case, composition of characters (NFC) and empty components at the end; a key without `^` is also "
        "compared with the name without its delimiters, and one without `=` with each component group. There is no "
        "phonetic matching. Every other text is compared with its case."
    )
    yield (
        "A range in a date and one in its time are one range of moments (PS3.4 C.2.2.2.5.4): "
        + ", ".join(f"{date} with {time}" for date, time in MOMENTS.items())
        + "."
    )
    yield "Times are compared as they were sent; Timezone Offset From UTC moves nothing but DT values that carry one."


def keys() -> str:
    """Every key, a table a level of the model."""
    parts = []
    for level in LEVELS:
        rows = [_key(keyword) for keyword, at in KEY_LEVELS.items() if at == level]
        head = ("tag", "attribute", "VR", "matching", "")
        parts += [f"### {level}", table(head, sorted(rows))]
    return blocks(*parts)


def _key(keyword: str) -> tuple[str, str, str, str, str]:
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    vr = vr_of(keyword)
    kinds = ", ".join(MATCHING[vr])
    note = "unique" if keyword in UNIQUE_KEYS.values() else "made by the node" if keyword in COMPUTED else ""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})", dictionary_description(tag), vr, kinds, note
