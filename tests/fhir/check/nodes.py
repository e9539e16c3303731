"""A resource as the objects that its constraint table describes, and changes of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from node.fhir.check import Rules
from node.fhir.check.shapes import Element, Having, Json, Shape

Path = tuple[str | int, ...]
Change = Callable[[Json], None]


class Mutant(NamedTuple):
    """``rule`` is what it breaks, ``where`` the path that the refusal must name, ``change`` makes it."""

    rule: str
    where: str
    change: Change


class Node(NamedTuple):
    """A value of a resource with its table; ``fixed`` are the members that patterns and slices fix."""

    path: Path
    value: Any
    shape: Shape
    fixed: Any


def at(resource: Json, path: Path) -> Any:
    place: Any = resource
    for step in path:
        place = place[step]
    return place


def put(path: Path, value: Any) -> Change:
    def change(resource: Json) -> None:
        at(resource, path[:-1])[path[-1]] = copy.deepcopy(value)

    return change


def drop(*paths: Path) -> Change:
    def change(resource: Json) -> None:
        for path in paths:
            at(resource, path[:-1]).pop(path[-1])

    return change


def spelt(path: Path) -> str:
    """A path as the check writes it."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)[1:]


def nodes(rules: Rules, root: Shape, resource: Json) -> Iterator[Node]:
    """Every object of the resource that a shape describes, contained ones too."""
    yield from _nodes(Node((), resource, root, {}))
    for at_, one in enumerate(resource.get("contained", ())):
        shape = rules.contained[one["resourceType"]]
        yield from _nodes(Node(("contained", at_), one, shape, {"id": one["id"]}))


def _nodes(node: Node) -> Iterator[Node]:
    yield node
    for name, element in node.shape.elements.items():
        if name == "contained" or name not in node.value or not isinstance(element.of, Shape):
            continue
        path, member = (*node.path, name), node.value[name]
        fixed = _merged(node.fixed.get(name, {}) if isinstance(node.fixed, dict) else {}, element.pattern)
        if element.only is not None:
            fixed = _merged(fixed, {"system": "", "code": "", "coding": ({"system": "", "code": ""},)})
        if not element.many:
            yield from _nodes(Node(path, member, element.of, fixed))
            continue
        for index, one in enumerate(member):
            yield from _item(element, (*path, index), one, fixed)


def _item(element: Element, path: Path, value: Any, fixed: Any) -> Iterator[Node]:
    """One entry of a list: as the element has it, and as each slice that it is in has it."""
    assert isinstance(element.of, Shape)
    each = fixed[0] if isinstance(fixed, tuple) else fixed
    slices = [one for one in element.slices if one.when(value)]
    for one in slices:
        each = _merged(each, one.when.pattern if isinstance(one.when, Having) else None)
    yield from _nodes(Node(path, value, element.of, each))
    for one in slices:
        if one.shape is not None:
            yield from _nodes(Node(path, value, one.shape, each))


def _merged(fixed: Any, pattern: Any) -> Any:
    if isinstance(fixed, dict) and isinstance(pattern, dict):
        return {**fixed, **{name: _merged(fixed.get(name, {}), one) for name, one in pattern.items()}}
    return fixed if pattern is None else pattern


def absent(path: Path, said: Json) -> Change:
    def change(resource: Json) -> None:
        del at(resource, path[:-1])[path[-1]]
        at(resource, path[:-1])[f"_{path[-1]}"] = said

    return change
