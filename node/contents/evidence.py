"""Where referenced instances live that a document does not list: in its own study, else where the index says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from node.documents import (
    Document,
    Evidence,
    KeyObjects,
    Report,
    Segmentation,
    SeriesReference,
    SopReference,
)
from node.model import Study

_Places = Mapping[str, tuple[str, str]]


def complete(
    documents: Sequence[Document], study: Study, locate: Callable[[Sequence[str]], _Places]
) -> tuple[Document, ...]:
    """``documents`` with ``Evidence`` for references that theirs lacks, as far as they are found.

    Source images of a segmentation that names no series get the series they are found in; others are dropped.
    """
    missing = {instance for document in documents for instance in _unplaced(document)}
    if not missing:
        return tuple(documents)
    own = {
        instance.uid: (study.uid, series.uid)
        for series in reversed(study.series)
        for instance in series.instances
        if instance.uid in missing
    }
    elsewhere = sorted(missing - own.keys())
    found = {**(locate(elsewhere) if elsewhere else {}), **own}
    return tuple(_placed(document, found) for document in documents)


def _unplaced(document: Document) -> Iterator[str]:
    content = document.content
    if isinstance(content, KeyObjects | Report):
        known = {one.instance for one in content.evidence}
        for reference in _references(content):
            if reference.instance not in known:
                yield reference.instance
    elif isinstance(content, Segmentation):
        for source in content.sources:
            if not source.series:
                yield from (one.instance for one in source.instances)


def _references(content: KeyObjects | Report) -> Iterator[SopReference]:
    if isinstance(content, KeyObjects):
        for selected in content.references:
            yield selected.reference
            if selected.presentation_state is not None:
                yield selected.presentation_state
        return
    for group in content.groups:
        for item in group.items:
            if item.reference is not None:
                yield item.reference


def _placed(document: Document, found: _Places) -> Document:
    content = document.content
    if isinstance(content, KeyObjects | Report):
        added = [
            Evidence(*found[instance], instance)
            for instance in dict.fromkeys(_unplaced(document))
            if instance in found
        ]
        return replace(document, content=replace(content, evidence=(*content.evidence, *added)))
    if isinstance(content, Segmentation) and any(not source.series for source in content.sources):
        return replace(document, content=replace(content, sources=tuple(_sources(content, found))))
    return document


def _sources(content: Segmentation, found: _Places) -> Iterator[SeriesReference]:
    by_series: dict[str, list[SopReference]] = {}
    for source in content.sources:
        for one in source.instances:
            series = source.series or found.get(one.instance, ("", ""))[1]
            by_series.setdefault(series, []).append(one)
    for series, instances in by_series.items():
        if series:
            yield SeriesReference(series, tuple(instances))
