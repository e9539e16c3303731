"""Mutants of a valid resource that break nothing."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, Final

import orjson

from node.fhir.check import Rules
from node.fhir.check.primitives import Primitive
from node.fhir.check.shapes import DATA_ABSENT, Element, Json, Shape
from tests.fhir.check.nodes import Change, Mutant, Path, absent, at, drop, nodes, put, spelt
from tests.fhir.check.samples import bind

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
                yield Mutant(f"{rule}: absent", where, absent(path, said))
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
