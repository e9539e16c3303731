"""Key Object Selection Documents (PS3.3 A.35.4, PS3.16 TID 2010): one selection a series referred to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from node.documents import KeyObjects, SopReference
from node.fhir import terminology
from node.fhir.contained import Context
from node.fhir.datatypes import Json, string
from node.fhir.options import CONTENT_LISTS
from node.fhir.selections.base import (
    MAX_REFERENCES,
    Dropped,
    Place,
    Places,
    Selection,
    Source,
    entries,
    instant,
)
from node.fhir.table import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySelection(Selection):
    """What a key object document refers to in one series."""

    content: KeyObjects


def selections(source: Source, content: KeyObjects) -> Iterator[Selection | Dropped]:
    """One selection for each series, in the order of the content items; that of a presentation state comes with
    the first image that names it and has a focus on the images' selections."""
    title = content.title_code
    if title in source.options.kos_skip_titles:
        return
    places = Places(content.evidence, source.held)
    found: dict[Place, list[SopReference]] = {}
    shown: dict[Place, dict[Place, None]] = {}
    unknown = 0
    for one in content.references:
        image = places.find(one.reference.instance)
        if image:
            found.setdefault(image, []).append(one.reference)
        unknown += image is None
        if one.presentation_state:
            state = places.find(one.presentation_state.instance)
            if state:
                found.setdefault(state, []).append(one.presentation_state)
                shown.setdefault(state, {}).update({image: None} if image else {})
            unknown += state is None
    if title in CONTENT_LISTS:  # these may list in their evidence what no content item names
        named = {one.instance for group in found.values() for one in group}
        for instance, place in places.known.items():
            if instance not in named:
                found.setdefault(place, []).append(SopReference("", instance))
    for place, references in found.items():
        yield KeySelection(
            source=source,
            item=_item(place, source),
            place=place,
            entries=entries(references, source.held),
            uid=source.document.instance,
            focus=tuple(_item(image, source) for image in shown.get(place, ())),
            content=content,
        )
    if unknown:
        yield Dropped("selection-instance-unknown", "ReferencedSOPInstanceUID", unknown)


def _item(place: Place, source: Source) -> str:
    return place.series if place.study == source.place.study else f"{place.study}~{place.series}"


def _code(selection: KeySelection, context: Context) -> Json:
    content = selection.content
    found = terminology.concept(content.title, context.options) if content.title else None
    text = string(content.description) or (found or {}).get("text") or "Key Object Selection"
    return {**(found or {}), "text": text}


def _body_site(selection: KeySelection, context: Context) -> Json | None:
    series = selection.source.held.at(selection.place)
    site = terminology.body_site(series, context.options) if series else None
    return {"concept": site} if site else None


ROWS: Final[tuple[Row[KeySelection, Context], ...]] = (
    Row(
        "issued",
        "0..1",
        "(0008,0023) (0008,0033)",
        "only with a known offset",
        lambda one, _: instant(one.content.content, one.source),
    ),
    Row(
        "category",
        "0..*",
        "113011 DCM",
        "the document title modifiers",
        lambda one, context: terminology.concepts(one.content.modifiers[:MAX_REFERENCES], context.options),
    ),
    Row(
        "code",
        "1..1",
        "(0040,A043), 113012 DCM",
        "the document's title (CID 7010); the text is the key object description, else the title's meaning. "
        "113001, 113037, 113038 and 113039 take back what they select; titles of `kos_skip_titles` give nothing",
        _code,
    ),
    Row(
        "bodySite",
        "0..1",
        "(0008,2218), (0018,0015)",
        "of a series that the node holds in this study",
        _body_site,
    ),
)
