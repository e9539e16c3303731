"""Mutants of a valid resource, made from its constraint table: each breaks one rule of it. The name of a rule is
shape, element, kind."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from node.fhir.check import Rules
from node.fhir.check.primitives import Primitive
from node.fhir.check.shapes import DATA_ABSENT, ORIGINAL_TEXT, Element, Extension, Having, Json, Shape, Slice
from tests.fhir.check.breaks import BAD, BREAKS
from tests.fhir.check.nodes import Change, Mutant, Node, Path, absent, drop, nodes, put, spelt


def faults(rules: Rules, root: Shape, resource: Json) -> Iterator[Mutant]:
    kind = resource["resourceType"]
    for node in nodes(rules, root, resource):
        for mutant in (*_of_node(node), *_misdirected(node, resource)):
            yield mutant._replace(where=f"{kind}.{mutant.where}" if mutant.where else kind)


def _misdirected(node: Node, resource: Json) -> Iterator[Mutant]:
    """References to a contained resource of a type that has no place there."""
    for element in node.shape.elements.values():
        others = [one["id"] for one in resource["contained"] if one["resourceType"] not in element.targets]
        if element.targets and element.name in node.value and others:
            path = (*node.path, element.name, 0) if element.many else (*node.path, element.name)
            rule = f"{node.shape.name}.{element.name}: contained of another type"
            yield Mutant(rule, spelt(path), put((*path, "reference"), f"#{others[0]}"))


def _of_node(node: Node) -> Iterator[Mutant]:
    where, name = spelt(node.path), node.shape.name
    yield Mutant(f"{name}: unknown member", f"{where}.colour".lstrip("."), put((*node.path, "colour"), "red"))
    if node.path:
        yield Mutant(f"{name}: empty", where, put(node.path, {}))
        yield Mutant(f"{name}: no object", where, put(node.path, "text"))
    for rule in node.shape.rules:
        for at_, change in enumerate(BREAKS[rule.__name__](node.path)):
            yield Mutant(f"{name}: {rule.__name__}" + f" {at_}" * (at_ > 0), where, change)
    for element in node.shape.elements.values():
        if element.name in node.value:
            yield from _of_element(node, element)
    for extension in node.shape.extensions:
        yield from _of_extension(node.path, node.value, extension)


def _of_element(node: Node, element: Element) -> Iterator[Mutant]:
    path = (*node.path, element.name)
    where, rule, value = spelt(path), f"{node.shape.name}.{element.name}", node.value[element.name]
    if element.low:
        yield Mutant(f"{rule}: missing", where, drop(path))
    if not element.many:
        yield Mutant(f"{rule}: a list", where, put(path, [value]))
        yield from _of_value(path, element, value, rule)
        if isinstance(element.of, Primitive):
            yield from _of_companion(node.path, element.name, rule)
        return
    yield Mutant(f"{rule}: no list", where, put(path, value[0]))
    yield Mutant(f"{rule}: empty list", where, put(path, []))
    yield Mutant(f"{rule}: null in it", where, put(path, [*value, None]))
    if element.high is not None:
        yield Mutant(f"{rule}: too many", where, put(path, value + value[-1:] * element.high))
    for one in element.slices:
        yield from _of_slice(path, value, one, rule)
    if element.name != "contained":
        yield from _of_value((*path, 0), element, value[0], rule)


def _of_companion(path: Path, name: str, rule: str) -> Iterator[Mutant]:
    """What stands beside a primitive, or in its place."""
    beside = (*path, f"_{name}")
    where = spelt(beside)
    why = {"extension": [{"url": DATA_ABSENT.url, "valueCode": "why"}]}
    text = {"extension": [{"url": ORIGINAL_TEXT.url, "valueString": "a"}]}
    yield Mutant(f"{rule}: null beside", where, put(beside, None))
    yield Mutant(f"{rule}: id beside", where, put(beside, {"id": "a"}))
    yield Mutant(f"{rule}: no extension beside", where, put(beside, {"extension": []}))
    yield Mutant(f"{rule}: other reason beside", where, put(beside, why))
    if name != "resourceType":
        yield Mutant(f"{rule}: no reason", where, absent((*path, name), text))


def _of_slice(path: Path, value: list[Any], one: Slice, rule: str) -> Iterator[Mutant]:
    inside = [each for each in value if one.when(each)]
    if not inside:
        return
    outside = [each for each in value if not one.when(each)] or [_beside(inside[0], one)]
    if one.low:
        yield Mutant(f"{rule}:{one.name}: too few", spelt(path), put(path, outside))
    if one.high is not None:
        yield Mutant(f"{rule}:{one.name}: too many", spelt(path), put(path, value + inside[:1] * one.high))


def _beside(value: Json, one: Slice) -> Json:
    """An entry that is in no slice, otherwise the same."""
    found = copy.deepcopy(value)
    match one.when:
        case Having({"system": _}):
            found["system"] = "urn:example:other"
        case Having({"sopClass": _}):
            found["sopClass"].update(system="urn:ietf:rfc:3986", code="urn:oid:1.2.840.10008.5.1.4.1.1.2")
        case _:
            found.pop("imageRegion2D", None)
            if "type" in found:
                found.update(type="DocumentReference", reference="DocumentReference/1")
    assert not one.when(found)
    return found


def _of_value(path: Path, element: Element, value: Any, rule: str) -> Iterator[Mutant]:
    where = spelt(path)
    if isinstance(element.of, Primitive):
        for index, bad in enumerate(BAD[element.of.name]):
            yield Mutant(f"{rule}: bad {element.of.name} {index}", where, put(path, bad))
    if element.only is not None:
        yield Mutant(f"{rule}: value set", where, _other_code(path, value))
    if element.pattern is not None:
        yield Mutant(f"{rule}: pattern", where, _other_text(path, element.pattern))
    if element.targets:
        yield Mutant(f"{rule}: target", where, put((*path, "reference"), "Basic/1"))
        yield Mutant(
            f"{rule}: target by URL", where, put((*path, "reference"), "https://a.example.org/Basic/1")
        )
        if "type" in value:
            yield Mutant(f"{rule}: target's type", where, put((*path, "type"), "Basic"))
        yield Mutant(f"{rule}: dangling", where, put((*path, "reference"), "#nothing"))


def _other_code(path: Path, value: Any) -> Change:
    if isinstance(value, str):
        return put(path, "not-a-code")
    place = (*path, "coding", 0, "code") if "coding" in value else (*path, "code")
    return put(place, "not-a-code")


def _other_text(path: Path, pattern: Any) -> Change:
    """Another text somewhere in what a pattern fixes: its last one."""
    while not isinstance(pattern, str):
        step: Any = 0 if isinstance(pattern, tuple) else list(pattern)[-1]
        pattern, path = pattern[step], (*path, step)
    return put(path, f"{pattern}-other")


def _of_extension(path: Path, value: Json, of: Extension) -> Iterator[Mutant]:
    listed = value["extension"]
    found = [index for index, one in enumerate(listed) if one["url"] == of.url]
    if not found:
        return
    where, rule, place = spelt((*path, "extension")), of.url, (*path, "extension", found[0])
    one = listed[found[0]]
    if of.low:
        yield Mutant(f"{rule}: missing", where.rpartition(".extension")[0], drop(place))
    yield Mutant(f"{rule}: misspelt", where, put((*place, "url"), of.url.replace("heigt", "height") + "s"))
    yield Mutant(f"{rule}: twice", where, put((*path, "extension"), [*listed, one]))
    yield Mutant(f"{rule}: unknown member", where, put((*place, "colour"), "red"))
    if of.parts:
        yield Mutant(f"{rule}: a value", where, put(place, {"url": of.url, "valueString": "a"}))
        yield Mutant(f"{rule}: empty", where, put((*place, "extension"), []))
        for part in of.parts:
            yield from (
                mutant._replace(rule=f"{rule} {mutant.rule}") for mutant in _of_extension(place, one, part)
            )
        return
    assert isinstance(of.of, Primitive)
    for index, bad in enumerate(BAD[of.of.name]):
        yield Mutant(f"{rule}: bad {of.of.name} {index}", where, put((*place, of.member), bad))
    other = "valueCode" if of.member != "valueCode" else "valueString"
    yield Mutant(f"{rule}: type", where, put(place, {"url": of.url, other: "a"}))
    yield Mutant(f"{rule}: no value", where, put(place, {"url": of.url}))
    absent = {"url": of.url, f"_{of.member}": {"extension": [{"url": DATA_ABSENT.url, "valueCode": "why"}]}}
    yield Mutant(f"{rule}: no reason", where, put(place, absent))


def rule_names(shape: Shape, seen: set[str] | None = None) -> Iterator[str]:
    """The names of all rules of a shape and of those inside it, for which there must be mutants."""
    seen = set() if seen is None else seen
    if shape.name in seen or shape.name == "contained":
        return
    seen.add(shape.name)
    yield f"{shape.name}: unknown member"
    yield from (f"{shape.name}: {rule.__name__}" for rule in shape.rules)
    for element in shape.elements.values():
        rule = f"{shape.name}.{element.name}"
        conditions = {
            "missing": element.low,
            "no list": element.many,
            "a list": not element.many,
            "too many": element.many and element.high is not None,
            "value set": element.only is not None,
            "pattern": element.pattern is not None,
            "target": element.targets,
            "contained of another type": element.targets,
        }
        yield from (f"{rule}: {kind}" for kind, is_one in conditions.items() if is_one)
        for one in element.slices:
            yield from (f"{rule}:{one.name}: {kind}" for kind, bound in _bounds(one) if bound)
            if one.shape is not None:
                yield from rule_names(one.shape, seen)
        if isinstance(element.of, Shape):
            yield from rule_names(element.of, seen)
    for extension in shape.extensions:
        yield from _extension_names(extension, "")


def _bounds(one: Slice) -> tuple[tuple[str, bool], ...]:
    return ("too few", one.low > 0), ("too many", one.high is not None)


def _extension_names(of: Extension, above: str) -> Iterator[str]:
    rule = f"{above}{of.url}"
    yield f"{rule}: twice"
    if of.low:
        yield f"{rule}: missing"
    yield f"{rule}: a value" if of.parts else f"{rule}: type"
    for part in of.parts:
        yield from _extension_names(part, f"{rule} ")
