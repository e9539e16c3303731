"""A FHIR resource as a tree that folds: JSON -> nodes, bounded in number. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import orjson

from node.web.masking import BULLETS, mask

Path = tuple[str, ...]

MAX_BYTES: Final = 1_000_000  # a longer one is not read
MAX_NODES: Final = 600  # of one resource; what is beyond is counted
MAX_ITEMS: Final = 12  # of one list
MAX_DEPTH: Final = 24
MAX_TEXT: Final = 300  # characters of one value
MAX_HINT: Final = 60
_OPEN_DEPTH: Final = 1  # elements of the resource itself stand open, if they have few of their own
_OPEN_MEMBERS: Final = 4
_HINT_DEPTH: Final = 6

# What tells one element of a list from the next without unfolding it, the first that it has
_LABELS: Final = (
    "description",
    "title",
    "number",
    "display",
    "text",
    "code",
    "value",
    "uid",
    "url",
    "system",
)

# Elements of the profiles (docs/fhir) that tell who somebody is: the value of an identifier that is no UID, ...
_IDENTIFIERS: Final = frozenset(("identifier", "accession", "accessionNo"))
# ... the name of, or the reference to, a person or what was ordered for one, but not the words of a code
_NAMES: Final = frozenset(("display", "reference"))
_PERSONS: Final = frozenset(
    (
        *("subject", "patient", "performer", "actor", "referrer", "interpreter", "author"),
        *("encounter", "basedOn", "order", "request"),
    )
)
_CODED: Final = frozenset(("coding", "concept"))
# ... and the generated narrative and contained resources, whatever they say
_NARRATIVE: Final = frozenset(("text", "contained"))
_HARMLESS: Final = frozenset(("status", "resourceType", "id", "system", "code"))


class Node(NamedTuple):
    """An element: its ``value`` when it is a leaf, else ``children``, folded unless ``open``.

    ``kind`` is the JSON type (string, number, boolean, null, object, array); ``hint`` tells a folded one.
    """

    name: str
    kind: str
    value: str
    hint: str
    open: bool
    children: list[Node]


class Tree(NamedTuple):
    """``cut`` says what was left out; empty when all is there."""

    nodes: list[Node]
    cut: str


def tree(data: bytes, masked: bool = False) -> Tree:
    """The resource's elements in their order; of one that is too long nothing but that.

    ``masked``: what identifies people is shown as the other pages show it.
    """
    if len(data) > MAX_BYTES:
        return Tree([], f"It has {len(data):,} bytes, too many to show here.")
    walk = _Walk(masked)
    nodes = list(walk.members(orjson.loads(data), ()))
    return Tree(nodes, "It is shown in part." if walk.cut else "")


class _Walk:
    """Makes nodes until it has made ``MAX_NODES``; ``cut`` when something was left out."""

    def __init__(self, masked: bool) -> None:
        self._masked = masked
        self._left = MAX_NODES
        self.cut = False

    def members(self, value: dict[str, Any], path: Path) -> Iterator[Node]:
        for name, member in value.items():
            if self._left <= 0:
                self.cut = True
                return
            yield self._node(name, member, (*path, name))

    def _items(self, value: list[Any], path: Path) -> Iterator[Node]:
        for number, member in enumerate(value[:MAX_ITEMS]):
            if self._left <= 0:
                self.cut = True
                return
            yield self._node(f"[{number}]", member, path)
        if len(value) > MAX_ITEMS:
            self.cut = True
            yield Node("", "cut", f"and {len(value) - MAX_ITEMS:,} more", "", False, [])

    def _node(self, name: str, value: Any, path: Path) -> Node:
        self._left -= 1
        if isinstance(value, dict | list):
            if len(path) >= MAX_DEPTH:
                self.cut = True
                return Node(name, "cut", "deeper than is shown here", "", False, [])
            kind = "object" if isinstance(value, dict) else "array"
            nest = self.members(value, path) if isinstance(value, dict) else self._items(value, path)
            small = len(path) <= _OPEN_DEPTH and len(value) <= _OPEN_MEMBERS
            return Node(name, kind, "", self._hint(value, path), small, list(nest))
        return Node(name, *self._leaf(value, path), "", False, [])

    def _leaf(self, value: Any, path: Path) -> tuple[str, str]:
        kind, text = _leaf(value)
        return kind, identifying(path, text) if self._masked else text

    def _hint(self, value: Any, path: Path) -> str:
        """What tells this element from the next one without unfolding it."""
        if isinstance(value, list):
            return str(len(value))
        for _ in range(_HINT_DEPTH):
            if isinstance(value, dict):
                name = next((label for label in _LABELS if label in value), next(iter(value), ""))
                value, path = value.get(name), (*path, name)
            elif isinstance(value, list):
                value = value[0] if value else None
            else:
                break
        if value is None or isinstance(value, dict | list):
            return ""
        return self._leaf(value, path)[1][:MAX_HINT]


def identifying(path: Path, text: str) -> str:
    """``text`` masked where the element at ``path`` (its names, from the resource on) tells who somebody is."""
    last, above = path[-1], frozenset(path[:-1])
    if path[0] in _NARRATIVE and last not in _HARMLESS:
        return BULLETS
    if last == "value" and above & _IDENTIFIERS and not text.startswith("urn:oid:"):
        return mask(text)
    if last in _NAMES and above & _PERSONS and not above & _CODED:
        return BULLETS
    return text


def _leaf(value: Any) -> tuple[str, str]:
    if isinstance(value, str):
        return "string", value if len(value) <= MAX_TEXT else f"{value[:MAX_TEXT]}…"
    if isinstance(value, bool):
        return "boolean", "true" if value else "false"
    return ("null", "null") if value is None else ("number", str(value))
