"""What a constraint table is made of. A shape is the table of one type: its elements and its own rules.

A profile is a shape derived from another by ``constrain``: it replaces elements by stricter ones. Tables are
closed: a member that no row names is refused, so they name all that FHIR allows there and the node may write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from node.fhir.check.primitives import CODE, STRING, Primitive

Json = dict[str, Any]

# A required binding: codes of a code, or (system, code) of a Coding or CodeableConcept.
Codes = frozenset[Any]

# A rule on one object, which gives what is wrong with it: (member or "", reason).
Rule = Callable[[Json], Iterator[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class Slice:
    """Some members of a list: those of which ``when`` is true; ``shape`` is what they must satisfy besides."""

    name: str
    when: Callable[[Any], bool]
    low: int = 0
    high: int | None = None
    shape: Shape | None = None


@dataclass(frozen=True, slots=True)
class Element:
    """One element: cardinality ``low`` to ``high`` (None: any number), in JSON a list where ``many``.

    ``only`` is a required binding, ``pattern`` what each value must contain (FHIR's pattern[x]: an object the
    same members, a list the same entries), ``targets`` the resource types that a Reference may point to.
    """

    name: str
    low: int
    high: int | None
    many: bool
    of: Primitive | Shape
    only: Codes | None = None
    pattern: Any = None
    targets: tuple[str, ...] = ()
    slices: tuple[Slice, ...] = ()


@dataclass(frozen=True, slots=True)
class Extension:
    """An extension: ``member`` is its value's name (``valueString``) and ``of`` its type, or it has ``parts``."""

    url: str
    low: int
    high: int | None
    member: str = ""
    of: Primitive | Shape | None = None
    only: Codes | None = None
    parts: tuple[Extension, ...] = ()


@dataclass(frozen=True, slots=True)
class Shape:
    """The table of one type. ``extensions`` are those that it has beside the ones allowed on every element."""

    name: str
    elements: Mapping[str, Element]
    rules: tuple[Rule, ...] = ()
    extensions: tuple[Extension, ...] = ()
    required: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        needed = tuple(name for name, one in self.elements.items() if one.low)
        object.__setattr__(self, "required", needed)


def element(
    name: str,
    card: str,
    of: Primitive | Shape,
    *targets: str,
    only: Codes | None = None,
    pattern: Any = None,
    slices: tuple[Slice, ...] = (),
    many: bool | None = None,
) -> Element:
    """A row: ``card`` as in FHIR's tables ("0..1", "1..*"); ``many`` where the base type's list has a maximum."""
    low, _, high = card.partition("..")
    top = None if high == "*" else int(high)
    return Element(
        name, int(low), top, top is None if many is None else many, of, only, pattern, targets, slices
    )


def shape(name: str, *rows: Element, rules: tuple[Rule, ...] = ()) -> Shape:
    return Shape(name, {row.name: row for row in rows}, rules)


def resource(name: str, *rows: Element, rules: tuple[Rule, ...] = ()) -> Shape:
    """The shape of a resource type, which says in JSON what it is."""
    return shape(name, element("resourceType", "1..1", CODE, pattern=name), *rows, rules=rules)


def constrain(
    base: Shape,
    name: str,
    *rows: Element,
    rules: tuple[Rule, ...] = (),
    extensions: tuple[Extension, ...] = (),
    without: tuple[str, ...] = (),
) -> Shape:
    """``base`` with stricter rows: a list stays a list and a binding holds, unless the row has one of its own; an
    element that the base does not have is an error."""
    changed = {}
    for row in rows:
        old = base.elements[row.name]
        changed[row.name] = replace(row, many=old.many, only=row.only or old.only)
    kept = {key: one for key, one in {**base.elements, **changed}.items() if key not in without}
    return Shape(name, kept, base.rules + rules, base.extensions + extensions)


def contains(value: Any, pattern: Any) -> bool:
    """FHIR's pattern[x]: ``value`` has all that ``pattern`` has, and may have more."""
    if isinstance(pattern, Mapping):
        return isinstance(value, dict) and all(
            name in value and contains(value[name], wanted) for name, wanted in pattern.items()
        )
    if isinstance(pattern, tuple):
        return isinstance(value, list) and all(any(contains(one, each) for one in value) for each in pattern)
    return bool(type(value) is type(pattern) and value == pattern)


@dataclass(frozen=True, slots=True)
class Having:
    """True of an object that contains ``pattern``."""

    pattern: Any

    def __call__(self, value: Any) -> bool:
        return contains(value, self.pattern)


@dataclass(frozen=True, slots=True)
class HavingMember:
    """True of an object that has this member."""

    name: str

    def __call__(self, value: Any) -> bool:
        return isinstance(value, dict) and self.name in value


@dataclass(frozen=True, slots=True)
class PointingTo:
    """True of a Reference whose type or literal reference names this resource type."""

    kind: str

    def __call__(self, value: Any) -> bool:
        if not isinstance(value, dict):
            return False
        literal = value.get("reference")
        return value.get("type") == self.kind or (
            isinstance(literal, str) and f"/{self.kind}/" in f"/{literal}"
        )


# http://terminology.hl7.org/CodeSystem/data-absent-reason: 15 codes.
DATA_ABSENT_REASONS: Final = frozenset(
    {
        "unknown",
        "asked-unknown",
        "temp-unknown",
        "not-asked",
        "asked-declined",
        "masked",
        "not-applicable",
        "unsupported",
        "as-text",
        "error",
        "not-a-number",
        "negative-infinity",
        "positive-infinity",
        "not-performed",
        "not-permitted",
    }
)
_CORE: Final = "http://hl7.org/fhir/StructureDefinition"
DATA_ABSENT: Final = Extension(f"{_CORE}/data-absent-reason", 0, 1, "valueCode", CODE, DATA_ABSENT_REASONS)
ORIGINAL_TEXT: Final = Extension(f"{_CORE}/originalText", 0, 1, "valueString", STRING)
