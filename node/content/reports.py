"""Structured reports (PS3.3 A.35) and the measurement groups of TID 1500."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from math import isfinite
from typing import Final, NamedTuple

from node.assemble import parts
from node.content import tree
from node.content.items import Item
from node.content.tree import Node, Tree
from node.documents import GroupItem, MeasurementGroup, Region, Report, SopReference, When

TITLE_ROOT: Final = tree.ROOT
ROOT: Final = (*tree.ROOT, *tree.EVIDENCE_ROOT, "ContentSequence")
MAX_COORDINATES: Final = 1_000_000  # values of one region; more is no region that anybody draws

_MEASUREMENTS: Final = "126010"
_GROUP: Final = "125007"
_TRACKING_ID: Final = "112039"
_TRACKING_UID: Final = "112040"
_FINDING_SITE: Final = ("SCT:363698007", "SRT:G-C0E3")
_LATERALITY: Final = ("SCT:272741003", "SRT:G-C171")
_ROI: Final = "130489"

# Concept (DCM) of an item that selects something -> the value types it can have. PS3.16 TID 1410, 1411, 1501.
_SELECTIONS: Final[dict[str, frozenset[str]]] = {
    "111030": frozenset({"SCOORD", "SCOORD3D"}),
    "121191": frozenset({"IMAGE"}),
    "121214": frozenset({"IMAGE"}),
    "130488": frozenset({"COMPOSITE"}),
    "121231": frozenset({"SCOORD3D"}),
    "126100": frozenset({"COMPOSITE"}),
    "121200": frozenset({"IMAGE"}),
    "130401": frozenset({"IMAGE", "COMPOSITE"}),
    "121233": frozenset({"IMAGE"}),
    "121232": frozenset({"UIDREF"}),
}


def read_title(root: Item) -> Report:
    """A report of a class whose content is of no use here: its title, template and moment."""
    title = next(iter(parts.codes(root, "ConceptNameCodeSequence", parts.schemes(root))), None)
    return Report(title, _template(root), (), (), (), tree.content_moment(root))


def read(root: Item) -> Report:
    """A report with its measurement groups, wherever the container of measurements lies."""
    found = Tree(root)
    return Report(
        title=found.root.concept,
        template=_template(root),
        groups=tuple(_group(found, node) for node in _groups(found)),
        observers=tree.observers(found),
        evidence=tree.evidence(root),
        content=tree.content_moment(root),
    )


def _template(root: Item) -> str:
    return root.first("ContentTemplateSequence").text("TemplateIdentifier")


def _groups(found: Tree) -> Iterator[Node]:
    """Containers of groups below a container of measurements, each once."""
    containers = (node for node in found.nodes if node.means(_MEASUREMENTS))
    below = chain.from_iterable(found.below(container) for container in containers)
    by_place = {node.place: node for node in below if _is_group(node)}
    return iter(by_place.values())


def _is_group(node: Node) -> bool:
    return node.value_type == "CONTAINER" and node.means(_GROUP)


class _Child(NamedTuple):
    """A content item of a group: ``node`` says where it stands, ``target`` what it says."""

    node: Node
    target: Node


def _children(found: Tree, group: Node) -> Iterator[_Child]:
    """What belongs to a group at any depth, but not to a group inside it."""
    waiting = group.children[::-1]
    while waiting:
        node = waiting.pop()
        if _is_group(node):
            continue
        yield _Child(node, found.resolved(node))
        waiting.extend(reversed(node.children))


def _group(found: Tree, group: Node) -> MeasurementGroup:
    top = list(found.children(group))
    site = next((node for node in top if node.means(*_FINDING_SITE)), None)
    side = next((node for node in found.children(site) if node.means(*_LATERALITY)), None) if site else None
    items = (_item(found, child) for child in _children(found, group))
    return MeasurementGroup(
        path=group.path,
        uid=group.item.uid("ObservationUID"),
        tracking_uid=_first(node.item.uid("UID") for node in top if node.means(_TRACKING_UID)),
        tracking_id=_first(node.item.text("TextValue") for node in top if node.means(_TRACKING_ID)),
        finding_site=found.code(site) if site else None,
        laterality=found.code(side) if side else None,
        observed=When(datetime=group.item.text("ObservationDateTime")),
        items=tuple(item for item in items if item is not None),
    )


def _first(values: Iterator[str]) -> str:
    return next((value for value in values if value), "")


def _item(found: Tree, child: _Child) -> GroupItem | None:
    """None for what selects nothing. One that names nothing by a legal UID has no reference and no series."""
    target = child.target
    concept, kind = target.concept, target.value_type
    if concept is None or concept.scheme != "DCM" or kind not in _SELECTIONS.get(concept.value, ()):
        return None
    path = child.node.path
    if kind == "UIDREF":
        return GroupItem(path, concept, kind, series=target.item.uid("UID"))
    if kind in ("SCOORD", "SCOORD3D"):
        return GroupItem(path, concept, kind, _selected_from(found, target), _region(target))
    reference = tree.referenced(target.item)
    rois = (node.item.text("TextValue") for node in found.children(target) if node.means(_ROI))
    return GroupItem(path, concept, kind, reference, rois=tuple(roi for roi in rois if roi))


def _selected_from(found: Tree, region: Node) -> SopReference | None:
    """The image that a region was drawn on."""
    for child in region.children:
        image = found.resolved(child)
        if child.relationship == "SELECTED FROM" and image.value_type == "IMAGE":
            return tree.referenced(image.item)
    return None


def _region(node: Node) -> Region | None:
    """None without coordinates, with too many, or with one that is no number."""
    item = node.item
    values = item.get("GraphicData") or ()
    if not 0 < len(values) <= MAX_COORDINATES:
        return None
    if not all(isinstance(value, float) and isfinite(value) for value in values):
        return None
    flat = node.value_type == "SCOORD"
    return Region(
        2 if flat else 3,
        item.text("GraphicType").upper(),
        tuple(values),
        "" if flat else item.uid("ReferencedFrameOfReferenceUID"),
        item.text("PixelOriginInterpretation") if flat else "",
    )
