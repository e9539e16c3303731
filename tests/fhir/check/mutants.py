"""Mutants of a valid resource, made from its constraint table: each breaks one rule of it, or none."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import orjson

from node.fhir.check import Rules
from node.fhir.check.primitives import Primitive
from node.fhir.check.shapes import DATA_ABSENT, ORIGINAL_TEXT, Element, Extension, Having, Json, Shape, Slice
from tests.fhir.check.samples import bind

Path = tuple[str | int, ...]
Change = Callable[[Json], None]

# Primitive type -> values that it has not, each wrong in its own way.
BAD: Final[dict[str, tuple[Any, ...]]] = {
    "string": (
        None,
        "",
        " ",
        "a\0",
        "a\x1b$B",
        "a\x7f",
        "a\x85",
        "a\ud800",
        " a",
        "a ",
        7,
        True,
        ["a"],
        {"a": 1},
    ),
    "markdown": (None, "", "\n", "a\x07", 7),
    "xhtml": (None, "", "<p>a</p>", '<div xmlns="http://www.w3.org/1999/xhtml"><p>a</div>', 7),
    "code": (None, "", " a", "a ", "a  b", "a\tb", 7),
    "id": (None, "", "a" * 65, "a b", "a_b", "ä", "1.2\0", 7),
    "uri": (None, "", "a b", "a\n", "a\x01", 7),
    "url": (None, "", "/relative", "https://a b", 7),
    "canonical": (None, "", "a b", 7),
    "dateTime": (
        None,
        "",
        "20260310",
        "2026-3-10",
        "2026-13",
        "2026-02-30",
        "0000",
        "2026-03-10T08:15:30",
        "2026-03-10T08:15+01:00",
        "2026-03-10T24:00:00Z",
        "2026-03-10T08:15:30+14:30",
        "2026-03-10T08:15:30.1234567890Z",
        "2026-03-10 ",
        7,
    ),
    "instant": (None, "", "2026", "2026-03-10", "2026-03-10T08:15:30", "2026-02-30T08:15:30Z", 7),
    "integer": (None, "7", 7.0, True, 2147483648, -2147483649),
    "unsignedInt": (None, "7", 7.0, True, -1, 2147483648),
    "decimal": (None, "1.5", True, float("nan"), float("inf")),
    "boolean": (None, "true", 1),
    "oid": (None, "", "1.2.3", "urn:oid:1.02", "urn:oid:", "urn:oid:1.2.", "urn:uuid:1", 7),
}


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


# --- Mutants that break a rule. The name of a rule is shape, element, kind.


def faults(rules: Rules, root: Shape, resource: Json) -> Iterator[Mutant]:
    kind = resource["resourceType"]
    for node in nodes(rules, root, resource):
        for mutant in _of_node(node):
            yield mutant._replace(where=f"{kind}.{mutant.where}" if mutant.where else kind)


def _of_node(node: Node) -> Iterator[Mutant]:
    where, name = spelt(node.path), node.shape.name
    yield Mutant(f"{name}: unknown member", f"{where}.colour".lstrip("."), put((*node.path, "colour"), "red"))
    if node.path:
        yield Mutant(f"{name}: empty", where, put(node.path, {}))
        yield Mutant(f"{name}: no object", where, put(node.path, "text"))
    for rule in node.shape.rules:
        for change in BREAKS[rule.__name__](node.path):
            yield Mutant(f"{name}: {rule.__name__}", where, change)
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
        yield Mutant(f"{rule}: no reason", where, _absent((*path, name), text))


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
        for index, bad in enumerate(_bad(element.of)):
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
        if "Basic" not in element.targets and "Device" not in element.targets:
            yield Mutant(f"{rule}: contained of another type", where, put((*path, "reference"), "#other"))


def _bad(of: Primitive) -> Iterator[Any]:
    """Values that this type refuses; of a name that two versions of FHIR have, for the one at hand."""
    return (bad for bad in BAD[of.name] if of.wrong(bad) is not None)


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


# --- Mutants that break nothing.

# Members that rules on their object ask for.
NEEDED: Final = {
    "ImagingStudy": {"identifier"},
    "Identifier (of a resource)": {"system", "value"},
    "Identifier (studyUID)": {"system", "value"},
    "Coding": {"system", "code"},
    "Coding (or display)": {"display"},
    "ImagingStudy.series (Osiris)": {"modality"},
}


def harmless(rules: Rules, root: Shape, resource: Json) -> Iterator[Mutant]:
    for node in nodes(rules, root, resource):
        shape, where = node.shape, spelt(node.path)
        for element in shape.elements.values():
            rule, path = f"{shape.name}.{element.name}", (*node.path, element.name)
            if element.name not in node.value or element.name == "contained":
                continue
            if element.name in NEEDED.get(shape.name, ()):
                continue
            fixed = isinstance(node.fixed, dict) and element.name in node.fixed
            if not element.low and not fixed and len(node.value) > 1:
                yield Mutant(f"{rule}: left out", where, drop(path))
            if rules.extensible and not fixed and _is_plain(element):
                said = {"extension": [{"url": DATA_ABSENT.url, "valueCode": "unknown"}]}
                yield Mutant(f"{rule}: absent", where, _absent(path, said))
            codes = sorted(element.only or ()) if element.pattern is None else []
            for index, code in enumerate(codes[:_CODES]):
                yield Mutant(f"{rule}: code {index}", where, _bound(path, element, code))
        if node.path:
            backwards = dict(reversed(node.value.items()))
            yield Mutant(f"{shape.name}: backwards", where, put(node.path, backwards))


_CODES: Final = 20

# Primitives that other rules look at.
_COUPLED: Final = {"id", "uid", "system", "code", "reference", "value", "display", "div", "numberOfInstances"}


def _is_plain(element: Element) -> bool:
    """A primitive whose value no rule asks for."""
    bound = element.many or element.only is not None or element.pattern is not None
    return isinstance(element.of, Primitive) and not bound and element.name not in _COUPLED


def _absent(path: Path, said: Json) -> Change:
    def change(resource: Json) -> None:
        del at(resource, path[:-1])[path[-1]]
        at(resource, path[:-1])[f"_{path[-1]}"] = said

    return change


def _bound(path: Path, element: Element, code: Any) -> Change:
    def change(resource: Json) -> None:
        place = (*path, 0) if element.many else path
        put(place, bind(copy.deepcopy(at(resource, place)), code))(resource)

    return change


def pruned(resource: Json) -> Json:
    """The resource without contained resources that nothing refers to any more."""
    text = orjson.dumps({**resource, "contained": []}).decode()
    kept = [one for one in resource.get("contained", ()) if f'"#{one["id"]}"' in text]
    found = {name: one for name, one in resource.items() if name != "contained"}
    return {**found, "contained": kept} if kept else found


# --- Rules on an object, by the name of their function: changes of the object at a path that break them.


def _put(**members: Any) -> Callable[[Path], list[Change]]:
    """Replaces members; None drops one."""

    def breaks(path: Path) -> list[Change]:
        def change(resource: Json) -> None:
            place = at(resource, path)
            for name, value in members.items():
                place.pop(name, None)
                if value is not None:
                    place[name] = value

        return [change]

    return breaks


def _all(*breaks: Callable[[Path], list[Change]]) -> Callable[[Path], list[Change]]:
    return lambda path: [change for one in breaks for change in one(path)]


def _append(name: str, value: Any) -> Callable[[Path], list[Change]]:
    return lambda path: [lambda resource: at(resource, path)[name].append(copy.deepcopy(value))]


def _reversed_blocks(path: Path) -> list[Change]:
    """The block of another modality; and no block where one belongs."""

    def settings(resource: Json) -> Json:
        found: Json = at(resource, path)["extension"][1]
        return found

    def other(resource: Json) -> None:
        at(resource, path)["modality"].update(system="https://dicom.nema.org/medical/dicom", code="DX")

    def none(resource: Json) -> None:
        listed = settings(resource)["extension"]
        settings(resource)["extension"] = [one for one in listed if not one["url"].endswith("_image")]

    return [other, none] if path == ("series", 0) else [other] if path[1] != 2 else []


def _pet(path: Path) -> list[Change]:
    def weightless(resource: Json) -> None:
        series = at(resource, path)
        series["modality"].update(system="https://dicom.nema.org/medical/dicom", code="PT")
        del series["extension"][0]

    def heightless(resource: Json) -> None:
        series = at(resource, path)
        series["modality"].update(system="https://dicom.nema.org/medical/dicom", code="PT")
        del series["extension"][0]["extension"][1]

    return [weightless, heightless]


BREAKS: Final[dict[str, Callable[[Path], list[Change]]]] = {
    "system_and_code": _all(_put(system=None), _put(code=None)),
    "code_or_display": _put(display=None, code=None),
    "uri_code": _put(system="urn:ietf:rfc:3986", code="1.2.840.10008.5.1.4.1.1.2"),
    "uid_value": _all(
        _put(system="urn:dicom:uid", value="1.2.3"),
        _put(system="urn:dicom:uid", value="urn:oid:"),
        _put(system="urn:dicom:uid", value=None),
    ),
    "says_something": _put(reference=None, identifier=None, display=None),
    "literal_form": _all(
        _put(reference="Patient?identifier=a|b"),
        _put(reference="Patient"),
        _put(reference="patient/1"),
        _put(reference="#a b"),
    ),
    "concept_says_something": _put(coding=None, text=None, extension=[]),
    "one_author": _put(authorString="a", authorReference={"display": "a"}),
    "concept_or_reference": _put(concept=None, reference=None, extension=[]),
    "identified_by_uid": _all(
        _put(identifier=None),
        _put(identifier=[{"value": "1"}]),
        _append("identifier", {"system": "urn:dicom:uid", "value": "urn:oid:1.2.4"}),
    ),
    "whole_points_2d": _all(_append("coordinate", 1), _put(coordinate=[1])),
    "whole_points_3d": _all(_append("coordinate", 1), _put(coordinate=[1, 2])),
    "reference_or_display": _put(reference=None, display=None),
    "not_negative": _put(numberOfInstances=-1),
    "fitting_block": _reversed_blocks,
    "weight_of_pet": _pet,
}


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
