"""The content tree of a structured report or key object selection (PS3.3 C.17.3), walked without recursion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from node.assemble import parts
from node.content.items import Item
from node.documents import Evidence, Observer, SopReference, When
from node.errors import ContentUnreadable
from node.terms import Code, Person

MAX_DEPTH: Final = 64
MAX_ITEMS: Final = 200_000

# What every kind of content document reads of its root besides the tree.
ROOT: Final = (
    "SpecificCharacterSet",
    "ContentDate",
    "ContentTime",
    "CodingSchemeIdentificationSequence",
    "ConceptNameCodeSequence",
    "ContentTemplateSequence",
)
EVIDENCE_ROOT: Final = ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence")


@dataclass(frozen=True, slots=True)
class Node:
    """One content item: its place (1-based positions from the root), what it says, and what it contains.

    ``target`` is the place that a by-reference relationship names (0040,DB73); such an item has nothing else.
    """

    place: tuple[int, ...]
    relationship: str
    value_type: str
    concept: Code | None
    item: Item
    target: tuple[int, ...] = ()
    children: list[Node] = field(default_factory=list)

    @property
    def path(self) -> str:
        return ".".join(map(str, self.place))

    def means(self, *values: str) -> bool:
        """Its concept is one of these code values, each ``value`` of DCM or ``scheme:value``."""
        return self.concept is not None and is_code(self.concept, *values)


def is_code(code: Code, *values: str) -> bool:
    """``code`` is one of these: ``121008`` of DCM, or with its scheme, ``SRT:G-C0E3``."""
    scheme = "" if code.scheme == "DCM" else f"{code.scheme}:"
    return f"{scheme}{code.value}" in values


class Tree:
    """A whole content tree; ``nodes`` are in document order, the root first."""

    def __init__(self, root: Item) -> None:
        """Raises ``ContentUnreadable`` when it is deeper or larger than any real one."""
        self._schemes = parts.schemes(root)
        self.root = self._node((1,), root)
        self._by_place = {self.root.place: self.root}
        waiting = [(self.root, iter(root.items_of("ContentSequence")))]
        while waiting:
            parent, items = waiting[-1]
            item = next(items, None)
            if item is None:
                waiting.pop()
                continue
            if len(waiting) > MAX_DEPTH:
                raise ContentUnreadable(f"content items more than {MAX_DEPTH} levels deep")
            node = self._node((*parent.place, len(parent.children) + 1), item)
            parent.children.append(node)
            self._by_place[node.place] = node
            if len(self._by_place) > MAX_ITEMS:
                raise ContentUnreadable(f"more than {MAX_ITEMS} content items")
            waiting.append((node, iter(item.items_of("ContentSequence"))))

    @property
    def nodes(self) -> Iterator[Node]:
        """Every content item in document order."""
        return iter(self._by_place.values())

    def below(self, node: Node) -> Iterator[Node]:
        """What a content item contains, at any depth, in document order."""
        waiting = node.children[::-1]
        while waiting:
            found = waiting.pop()
            yield found
            waiting.extend(reversed(found.children))

    def resolved(self, node: Node) -> Node:
        """The item that a by-reference one names; itself for every other, and when there is none."""
        return self._by_place.get(node.target, node) if node.target else node

    def children(self, node: Node) -> Iterator[Node]:
        """What a content item contains directly, by-reference items resolved."""
        return (self.resolved(child) for child in node.children)

    def code(self, node: Node) -> Code | None:
        """The value of a CODE item."""
        return self._code(node.item, "ConceptCodeSequence")

    def _node(self, place: tuple[int, ...], item: Item) -> Node:
        return Node(
            place,
            item.text("RelationshipType"),
            item.text("ValueType"),
            self._code(item, "ConceptNameCodeSequence"),
            item,
            item.integers("ReferencedContentItemIdentifier"),
        )

    def _code(self, item: Item, keyword: str) -> Code | None:
        return next(iter(parts.codes(item, keyword, self._schemes)), None)


def content_moment(root: Item) -> When:
    """Content Date (0008,0023) and Time (0008,0033)."""
    return When(root.text("ContentDate"), root.text("ContentTime"))


def sop_reference(item: Item) -> SopReference | None:
    """A SOP reference (PS3.3 10.8, with frames and segments of 10.3); None without a legal instance UID."""
    instance = item.uid("ReferencedSOPInstanceUID")
    if not instance:
        return None
    return SopReference(
        item.uid("ReferencedSOPClassUID"),
        instance,
        item.integers("ReferencedFrameNumber"),
        item.integers("ReferencedSegmentNumber"),
    )


def referenced(item: Item) -> SopReference | None:
    """What an IMAGE, WAVEFORM or COMPOSITE content item names: (0008,1199)."""
    return sop_reference(item.first("ReferencedSOPSequence"))


def evidence(root: Item) -> tuple[Evidence, ...]:
    """Where referenced instances live: (0040,A375), then (0040,A385), each instance once."""
    found = (
        Evidence(study, series, instance)
        for keyword in EVIDENCE_ROOT
        for of_study in root.items_of(keyword)
        if (study := of_study.uid("StudyInstanceUID"))
        for of_series in of_study.items_of("ReferencedSeriesSequence")
        if (series := of_series.uid("SeriesInstanceUID"))
        for one in of_series.items_of("ReferencedSOPSequence")
        if (instance := one.uid("ReferencedSOPInstanceUID"))
    )
    return parts.distinct(found)


# Field of ``documents.Observer`` <- concept of TID 1004, and the attribute that holds its value.
_DEVICE: Final = {
    "121012": ("uid", "UID"),
    "121013": ("name", "TextValue"),
    "121014": ("manufacturer", "TextValue"),
    "121015": ("model", "TextValue"),
    "121016": ("serial", "TextValue"),
}


def observers(tree: Tree) -> tuple[Observer, ...]:
    """Observation context of the root (TID 1002): Observer Type, or a field that one has, begins another."""
    found: list[tuple[str, dict[str, str]]] = []
    for node in tree.children(tree.root):
        concept = node.concept
        if concept is None or concept.scheme != "DCM":
            continue
        if concept.value == "121005":
            kind = tree.code(node)
            found.append(("device" if kind and kind.value == "121007" else "person", {}))
        elif concept.value == "121008":
            # A TEXT item is seen where the template wants a PNAME.
            _put(found, "person", "person", node.item.text("PersonName") or node.item.text("TextValue"))
        elif concept.value in _DEVICE:
            name, keyword = _DEVICE[concept.value]
            value = node.item.uid(keyword) if keyword == "UID" else node.item.text(keyword)
            _put(found, "device", name, value)
    return tuple(_observer(kind, fields) for kind, fields in found if any(fields.values()))


def _put(found: list[tuple[str, dict[str, str]]], kind: str, name: str, value: str) -> None:
    if not found or found[-1][0] != kind or name in found[-1][1]:
        found.append((kind, {}))
    found[-1][1][name] = value


def _observer(kind: str, fields: dict[str, str]) -> Observer:
    if kind == "person":
        return Observer("person", Person(fields["person"]))
    uid, name, manufacturer, model, serial = (fields.get(name, "") for name, _ in _DEVICE.values())
    return Observer("device", uid=uid, name=name, manufacturer=manufacturer, model=model, serial=serial)
