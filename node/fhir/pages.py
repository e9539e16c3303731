"""Writes out where each element of a target comes from: Markdown, made of the very rows that build it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from pydicom.datadict import dictionary_description, dictionary_has_tag

from node.documents import Need
from node.fhir.options import FhirOptions
from node.fhir.table import Row, Section
from node.fhir.targets import Profile

_TAG = re.compile(r"\(([0-9A-F]{4}),([0-9A-F]{4})\)")
_KEY = re.compile(r"\bfhir(?:\.[a-z_]+)+")
_LINK = re.compile(r"(?<![<(\"`])https?://[^\s,;|)`]+[^\s,;|)`.]")
_HEAD: Final = ("element", "card", "source", "rule")

# What was published of each target, by its key in ``targets.PROFILES``.
PUBLISHED: Final = {
    "r5": "https://hl7.org/fhir/R5/imagingstudy.html",
    "imr": "https://profiles.ihe.net/RAD/IMR/StructureDefinition-imr-imagingstudy.html",
    "osiris": "https://ig-osiris.cancer.fr/ig/osiris/StructureDefinition-onco-imagingstudy.html",
    "dstu1": "https://hl7.org/fhir/DSTU1/imagingstudy.html",
    "imagingselection": "https://hl7.org/fhir/R5/imagingselection.html",
}

_READ: Final[dict[Need, str]] = {
    "settings": "the first image of each series, for the settings it was made with",
    "documents": "reports, key objects, structure sets, segmentations and presentation states",
    "rejections": "key objects, which can take images back",
}

_LEGEND: Final = (
    "Each row is an element with its cardinality; an element without a value is left out. Sources are asked in "
    "this order; two that are joined by + are used together, from one instance. The node counts what is "
    "*counted*. Keys that begin with `fhir.` are configuration, and so are the names in the rules: "
    "[conf/node.toml](../../conf/node.toml) says what each does."
)


def page(of: Profile) -> str:
    """The page of one target as Markdown: what it is, what it needs, a table a section."""
    return "\n".join(_lines(of)) + "\n"


def _lines(of: Profile) -> Iterator[str]:
    yield f"# {of.page.title}"
    yield ""
    yield f"<!-- Made by `make docs` from the tables that build the resource: change those. Profile {of.name}. -->"
    yield ""
    yield _linked(of.page.about)
    yield ""
    yield from _facts(of)
    yield ""
    yield _LEGEND
    for section in of.page.sections:
        yield from _section(section)


def _facts(of: Profile) -> Iterator[str]:
    yield f'* Output with `profile = "{of.name}"`, content type `application/fhir+json; fhirVersion={of.fhir_version}`.'
    if of.name in PUBLISHED:
        yield f"* Published at <{PUBLISHED[of.name]}>."
    for key, message in of.missing(FhirOptions()):
        yield f"* Needs `{key}`: {message.rstrip('.')}."
    for need in sorted(of.needs):
        yield f"* Reads stored files: {_READ[need]}."


def _section(section: Section) -> Iterator[str]:
    yield ""
    yield f"## {section.path}"
    yield ""
    yield _row(*_HEAD)
    yield _row(*("---" for _ in _HEAD))
    for row in section.rows:
        yield _element(row)


def _element(row: Row[object, object]) -> str:
    return _row(f"`{row.element}`", row.card, _source(row.source), _linked(row.rule))


def _source(text: str) -> str:
    """Tags with the names that PS3.6 gives them; two tags side by side are one source."""
    named = re.sub(r"\) \(", ") + (", text)
    named = _TAG.sub(_named, named)
    return _KEY.sub(lambda key: f"`{key[0]}`", named)


def _named(found: re.Match[str]) -> str:
    tag = int(found[1] + found[2], 16)
    return f"{dictionary_description(tag)} {found[0]}" if dictionary_has_tag(tag) else found[0]


def _linked(text: str) -> str:
    return _LINK.sub(lambda link: f"<{link[0]}>", text)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
