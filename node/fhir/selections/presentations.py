"""Presentation states (PS3.3 A.33, C.11): the state itself, and the images that it is for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from node.documents import PresentationState, SopReference
from node.fhir.contained import Context
from node.fhir.datatypes import Json, string, uid
from node.fhir.selections.base import Dropped, Place, Selection, Source, entries, instant, own_entry
from node.fhir.table import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSelection(Selection):
    """The presentation state, or the images of one series that it refers to (``images``)."""

    content: PresentationState
    images: bool = False


def selections(source: Source, content: PresentationState) -> Iterator[Selection | Dropped]:
    """The state first, with a focus on the selections that follow: one for each series of images."""
    series: dict[str, list[SopReference]] = {}
    for group in content.references:
        references = [one for one in group.instances if uid(one.instance)]
        if references and uid(group.series):
            series.setdefault(group.series, []).extend(references)
    yield StateSelection(
        source=source,
        item=source.place.series,
        place=source.place,
        entries=(own_entry(source),),
        uid=source.document.instance,
        focus=tuple(_item(source, one) for one in series),
        content=content,
    )
    for one, references in series.items():
        yield StateSelection(
            source=source,
            item=_item(source, one),
            place=Place(source.place.study, one),
            entries=entries(references, source.held),
            uid=source.document.instance,
            content=content,
            images=True,
        )


def _item(source: Source, series: str) -> str:
    # A state is never in a series of images (PS3.3 C.7.3.1); where one is, the two must be told apart.
    return series if series != source.place.series else f"{series}+images"


def _code(selection: StateSelection, _: Context) -> Json:
    label = string(selection.content.label) or string(selection.content.description)
    words = "Images of Presentation State" if selection.images else "Presentation State"
    return {"text": f"{words}: {label}" if label else words}


ROWS: Final[tuple[Row[StateSelection, Context], ...]] = (
    Row(
        "issued",
        "0..1",
        "(0070,0082) (0070,0083)",
        "presentation creation; only with a known offset",
        lambda one, _: instant(one.content.created, one.source),
    ),
    Row(
        "code",
        "1..1",
        "(0070,0080), (0070,0081)",
        "text only: `Presentation State: ` or `Images of Presentation State: ` and the content label, else the "
        "content description",
        _code,
    ),
)
