"""Structured reports: measurement groups of TID 1500, item by item, with the profiles of the dicom-sr guide."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple

from node.documents import GroupItem, MeasurementGroup, Report, SopReference
from node.fhir import terminology
from node.fhir.contained import Context
from node.fhir.datatypes import Json, string, uid
from node.fhir.selections import concepts, regions
from node.fhir.selections.base import (
    MAX_REFERENCES,
    Dropped,
    Place,
    Places,
    Selection,
    Source,
    entries,
    instant,
    own_entry,
    site,
)
from node.fhir.selections.concepts import Concept, Entry
from node.fhir.table import Row

_INCOMPLETE: Final = Dropped("selection-incomplete", "ContentSequence")
_UNKNOWN: Final = Dropped("selection-instance-unknown", "ReferencedSOPInstanceUID")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSelection(Selection):
    """A content item of a measurement group, the group itself, or a whole report (``group`` is None)."""

    content: Report
    group: MeasurementGroup | None = None
    frame: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """A measurement group on its way into selections; ``sources`` are its source images by series."""

    source: Source
    report: Report
    group: MeasurementGroup
    places: Places
    sources: dict[Place, list[GroupItem]]

    def selection(
        self, item: str, concept: Concept, at: Place, of: tuple[Entry, ...], frame: str = ""
    ) -> Selection:
        group, source = self.group, self.source
        focus = [self.group.path] if uid(group.uid) and concept is not concepts.ORIGINAL_SOURCE else []
        if concept in (concepts.SEGMENT, concepts.SEGMENTATION_FRAME):
            # One more than has room: so that it is seen that there are more.
            focus += [items[0].path for items in islice(self.sources.values(), MAX_REFERENCES + 1)]
        return ReportSelection(
            source=source,
            item=item,
            place=at,
            entries=of,
            uid=uid(group.uid) or uid(group.tracking_uid) or source.document.instance,
            concept=concept,
            claimed=concepts.satisfied(concept, of, frame, source.options),
            focus=tuple(focus),
            content=self.report,
            group=group,
            frame=frame,
        )


Found = Iterator[Selection | Dropped]


def _planar(group: Group, item: GroupItem, concept: Concept) -> Found:
    """A region in an image: SCOORD with the IMAGE that it was selected from."""
    region, reference = item.region, item.reference
    if region is None or reference is None:
        yield _INCOMPLETE
        return
    at = group.places.find(reference.instance)
    if at is None:
        yield _UNKNOWN
    elif not regions.sound(region):
        yield Dropped("region-coordinates-invalid", "GraphicData")
    else:
        whole = entries([reference], group.source.held)
        large = regions.too_large(region, group.source.options)
        parts = (None,) if large else regions.parts(region)
        of = tuple(Entry(one.uid, one.sop_class, one.subset, part) for one in whole for part in parts)
        yield group.selection(item.path, concept, at, of)
        if large:
            yield Dropped("region-over-maximum", "GraphicData")


def _spatial(group: Group, item: GroupItem, concept: Concept) -> Found:
    """A region in space names no image: R5 has no other place for it than below the report itself."""
    region = item.region
    if region is None:
        yield _INCOMPLETE
    elif not regions.sound(region):
        yield Dropped("region-coordinates-invalid", "GraphicData")
    else:
        large = regions.too_large(region, group.source.options)
        observation = uid(group.group.uid)
        own = own_entry(group.source, [observation] if observation else [])
        of = (Entry(own.uid, own.sop_class, own.subset, None if large else region),)
        frame = uid(region.frame_of_reference) or ""
        yield group.selection(item.path, concept, group.source.place, of, frame)
        if large:
            yield Dropped("region-over-maximum", "GraphicData")


def _referenced(group: Group, item: GroupItem, concept: Concept) -> Found:
    """Whole instances, or frames or segments of them."""
    yield from _placed(group, item, concept, lambda one: entries([one], group.source.held))


def _numbered(group: Group, item: GroupItem, concept: Concept) -> Found:
    """Segments, else frames: one entry a number, because the profile wants exactly one in each."""

    def each(reference: SopReference) -> tuple[Entry, ...]:
        of = group.source.held.sop_class(reference)
        numbers = dict.fromkeys(reference.segments or reference.frames)
        found = tuple(Entry(reference.instance, of, (str(number),)) for number in numbers)
        return found or (Entry(reference.instance, of),)

    yield from _placed(group, item, concept, each)


def _regions_in_space(group: Group, item: GroupItem, concept: Concept) -> Found:
    """ROIs of a structure set, by what the child items 130489 say."""

    def rois(reference: SopReference) -> tuple[Entry, ...]:
        of = group.source.held.sop_class(reference)
        texts = (string(raw) for raw in item.rois)
        return (Entry(reference.instance, of, tuple(dict.fromkeys(text for text in texts if text))),)

    yield from _placed(group, item, concept, rois)


def _placed(
    group: Group, item: GroupItem, concept: Concept, chosen: Callable[[SopReference], tuple[Entry, ...]]
) -> Found:
    if item.reference is None:
        yield _INCOMPLETE
        return
    at = group.places.find(item.reference.instance)
    yield group.selection(item.path, concept, at, chosen(item.reference)) if at else _UNKNOWN


def _source_images(group: Group, item: GroupItem, concept: Concept) -> Found:
    """The source images of one series together, at the place of the first of them."""
    at = _source_place(group.places, item)
    if at is None:
        yield _UNKNOWN if item.reference or item.series else _INCOMPLETE
    elif (items := group.sources[at])[0] is item:
        references = [one.reference for one in items if one.reference]
        yield group.selection(item.path, concept, at, entries(references, group.source.held))


def _source_place(places: Places, item: GroupItem) -> Place | None:
    if item.reference:
        return places.find(item.reference.instance)
    return places.of_series(item.series) if uid(item.series) else None


class ItemRule(NamedTuple):
    """What a content item of a group becomes: its concept name (DCM) and value types, and the purpose."""

    name: str
    value_types: tuple[str, ...]
    concept: Concept
    rule: str
    make: Callable[[Group, GroupItem, Concept], Found]


ITEMS: Final[tuple[ItemRule, ...]] = (
    ItemRule(
        "111030",
        ("SCOORD",),
        concepts.IMAGE_REGION_2D,
        "the image it was selected from, with the region; a frame is its subset",
        _planar,
    ),
    ItemRule(
        "111030", ("SCOORD3D",), concepts.IMAGE_REGION_3D, "the report itself, with the region", _spatial
    ),
    ItemRule(
        "121231", ("SCOORD3D",), concepts.VOLUME_SURFACE, "the report itself, with the surface", _spatial
    ),
    ItemRule("121191", ("IMAGE",), concepts.SEGMENT, "one entry a segment number", _numbered),
    ItemRule(
        "121214",
        ("IMAGE",),
        concepts.SEGMENTATION_FRAME,
        "one entry a segment number, else a frame number",
        _numbered,
    ),
    ItemRule(
        "130488",
        ("COMPOSITE",),
        concepts.REGION_IN_SPACE,
        "the structure set, with the region identifiers 130489 DCM",
        _regions_in_space,
    ),
    ItemRule("126100", ("COMPOSITE",), concepts.REAL_WORLD_VALUES, "the value map", _referenced),
    ItemRule("121200", ("IMAGE",), concepts.ILLUSTRATION, "the image", _referenced),
    ItemRule("130401", ("IMAGE", "COMPOSITE"), concepts.EXPLANATION, "the instance", _referenced),
    ItemRule(
        "121233",
        ("IMAGE",),
        concepts.SOURCE_IMAGE,
        "the source images of one series together",
        _source_images,
    ),
    ItemRule(
        "121232", ("UIDREF",), concepts.SOURCE_IMAGE, "a whole series, without instances", _source_images
    ),
)

_RULES: Final = {(rule.name, value_type): rule for rule in ITEMS for value_type in rule.value_types}


def selections(source: Source, content: Report) -> Found:
    """For each group the group itself, if it has an Observation UID, then its items in their order.

    A report without groups is one selection as a whole where ``sr_document_selection`` is on.
    """
    if not content.groups:
        if source.options.sr_document_selection:
            yield ReportSelection(
                source=source,
                item="document",
                place=source.place,
                entries=(own_entry(source),),
                uid=source.document.instance,
                content=content,
            )
        return
    places = Places(content.evidence, source.held)
    for group in content.groups:
        sources: dict[Place, list[GroupItem]] = {}
        for item in group.items:
            rule = _rule(item)
            at = _source_place(places, item) if rule and rule.make is _source_images else None
            if at:
                sources.setdefault(at, []).append(item)
        yield from _group(Group(source, content, group, places, sources))


def _group(group: Group) -> Found:
    observation = uid(group.group.uid)
    if observation:
        own = own_entry(group.source, [observation])
        yield group.selection(group.group.path, concepts.ORIGINAL_SOURCE, group.source.place, (own,))
    for item in group.group.items:
        rule = _rule(item)
        if rule:
            yield from rule.make(group, item, rule.concept)


def _rule(item: GroupItem) -> ItemRule | None:
    if item.concept.scheme.strip() != "DCM":
        return None
    return _RULES.get((item.concept.value.strip(), item.value_type))


def _issued(selection: ReportSelection, _: Context) -> str | None:
    """Observation DateTime; an item without one has that of its document (PS3.3 C.17.3)."""
    observed = selection.group and instant(selection.group.observed, selection.source)
    return observed or instant(selection.content.content, selection.source)


def _code(selection: ReportSelection, context: Context) -> Json:
    if selection.concept:
        return concepts.code(selection.concept, selection.claimed)
    title = selection.content.title
    found = terminology.concept(title, context.options) if title else None
    return found or {"text": "Structured Report"}


def _body_site(selection: ReportSelection, context: Context) -> Json | None:
    group = selection.group
    return site(group.finding_site, (group.laterality,), context.options) if group else None


ROWS: Final[tuple[Row[ReportSelection, Context], ...]] = (
    Row(
        "issued",
        "0..1",
        "(0040,A032), (0008,0023) (0008,0033)",
        "of the group, else of the document; only with a known offset",
        _issued,
    ),
    Row(
        "code",
        "1..1",
        "(0040,A043)",
        "by content item, see there; of a whole report (`sr_document_selection`) its title",
        _code,
    ),
    Row(
        "frameOfReferenceUid",
        "0..1",
        "(3006,0024)",
        "of a region in space; image-region-3d and volume-surface are only claimed with it",
        lambda one, _: one.frame,
    ),
    Row(
        "bodySite",
        "0..1",
        "363698007 SCT, 272741003 SCT",
        "the group's finding site; its laterality is in the text",
        _body_site,
    ),
)


def _documented(rule: ItemRule) -> Row[tuple[Group, GroupItem], None]:
    of = rule.concept
    profile = f"profile {of.profile}: " if of.profile else "no profile: "
    source = f"{rule.name} DCM, {' or '.join(rule.value_types)}"
    return Row(
        f"{of.code} {of.meaning}",
        "0..*",
        source,
        profile + rule.rule,
        lambda one, _: list(rule.make(*one, of)),
    )


def _of_the_group(one: tuple[Group, GroupItem], _: None) -> list[Selection | Dropped]:
    return list(_group(one[0]))


# The items of a group as a consumer reads of them.
ITEM_ROWS: Final[tuple[Row[tuple[Group, GroupItem], None], ...]] = (
    *(_documented(rule) for rule in ITEMS),
    Row(
        "111040 Original Source",
        "0..*",
        "125007 DCM, CONTAINER",
        "no profile: the report itself, with the group's Observation UID (0040,A171)",
        _of_the_group,
    ),
)
