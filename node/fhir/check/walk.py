"""Walks a resource along its shape and collects what is wrong, as paths and reasons, never values.

It looks at every member, every instance too. An object that several places share (the SOP class of thousands of
instances is one dict) is looked at once for each shape.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from node.fhir.check.datatypes import ALTERNATE_CODES
from node.fhir.check.primitives import URI, Primitive
from node.fhir.check.shapes import (
    DATA_ABSENT,
    ORIGINAL_TEXT,
    Codes,
    Element,
    Extension,
    Json,
    Shape,
    Slice,
    contains,
)

MAX_REASONS: Final = 5

# Allowed on any element of R4 and R5, beside what its shape has.
_ANYWHERE: Final = (DATA_ABSENT, ORIGINAL_TEXT, ALTERNATE_CODES)

_TYPE: Final = re.compile(r"(?:^|/)([A-Z][A-Za-z]+)/[^/]+(?:/_history/[^/]+)?\Z")


class Enough(Exception):
    """So many reasons that more would not help anybody."""


class Walk:
    """One resource. ``contained`` has the shape of each resource type that may be contained.

    ``reasons`` is what was found; ``local`` are the references to contained resources: (path, id, element).
    """

    def __init__(self, contained: Mapping[str, Shape], extensible: bool = True) -> None:
        self.reasons: list[str] = []
        self.local: list[tuple[str, str, Element]] = []
        self._contained = contained
        self._extensible = extensible
        self._seen: set[tuple[int, str]] = set()

    def resource(self, value: Any, shape: Shape, where: str) -> None:
        """Raises Enough at the ``MAX_REASONS``th fault."""
        if type(value) is not dict or not value.get("resourceType"):
            self._fault(f"{where}.resourceType", "missing")
        else:
            self._object(value, shape, where)

    def _fault(self, where: str, reason: str) -> None:
        self.reasons.append(f"{where}: {reason}")
        if len(self.reasons) >= MAX_REASONS:
            raise Enough

    def _object(self, value: Any, shape: Shape, where: str) -> None:
        if type(value) is not dict:
            self._fault(where, "null" if value is None else "no object")
            return
        if not value:
            self._fault(where, "empty object")
            return
        elements = shape.elements
        for name, member in value.items():
            element = elements.get(name)
            if element is None:
                self._other(name, member, shape, value, where)
            elif element.many:
                self._list(member, element, f"{where}.{name}")
            else:
                self._one(member, element, f"{where}.{name}")
        for name in shape.required:
            if name not in value and "_" + name not in value:
                self._fault(f"{where}.{name}", "missing")
        for rule in shape.rules:
            for member, reason in rule(value):
                self._fault(f"{where}.{member}" if member else where, reason)
        if shape.extensions and "extension" not in value:
            self._counted([], shape.extensions, where)

    def _one(self, value: Any, element: Element, where: str) -> None:
        of = element.of
        if type(of) is Primitive:
            reason = of.wrong(value)
            if reason:
                self._fault(where, reason)
                return
        elif type(of) is Shape:
            key = id(value), of.name
            if key not in self._seen:
                before = len(self.reasons)
                self._object(value, of, where)
                if len(self.reasons) == before:
                    self._seen.add(key)
            if element.targets and type(value) is dict:
                self._reference(value, element, where)
        if element.only is not None and not _bound(value, element.only):
            self._fault(where, "not in its value set")
        if element.pattern is not None and not contains(value, element.pattern):
            self._fault(where, "not what its definition fixes")

    def _list(self, members: Any, element: Element, where: str) -> None:
        if type(members) is not list:
            self._fault(where, "null" if members is None else "not a list")
            return
        if not members:
            self._fault(where, "empty list")
        if element.high is not None and len(members) > element.high:
            self._fault(where, f"more than {element.high}")
        if element.name == "contained":
            self._resources(members, where)
            return
        for at, member in enumerate(members):
            self._one(member, element, f"{where}[{at}]")
        for one in element.slices:
            self._slice(members, one, where)

    def _slice(self, members: list[Any], one: Slice, where: str) -> None:
        found = [at for at, member in enumerate(members) if one.when(member)]
        if len(found) < one.low:
            self._fault(where, f"fewer than {one.low} of slice {one.name}")
        if one.high is not None and len(found) > one.high:
            self._fault(where, f"more than {one.high} of slice {one.name}")
        if one.shape is not None:
            for at in found:
                self._object(members[at], one.shape, f"{where}[{at}]")

    def _resources(self, members: list[Any], where: str) -> None:
        for at, member in enumerate(members):
            kind = member.get("resourceType") if type(member) is dict else None
            shape = self._contained.get(kind) if type(kind) is str else None
            if shape is None:
                self._fault(
                    f"{where}[{at}].resourceType", "no resource that has a place here" if kind else "missing"
                )
            else:
                self._object(member, shape, f"{where}[{at}]")

    def _reference(self, value: Json, element: Element, where: str) -> None:
        kind, literal = value.get("type"), value.get("reference")
        if kind is not None and kind not in element.targets:
            self._fault(f"{where}.type", f"not one of {', '.join(element.targets)}")
        if type(literal) is not str:
            return
        named = _TYPE.search(literal)
        if literal.startswith("#"):
            self.local.append((where, literal[1:], element))
        elif named and named[1] not in element.targets:
            self._fault(f"{where}.reference", f"not one of {', '.join(element.targets)}")

    def _other(self, name: str, member: Any, shape: Shape, parent: Json, where: str) -> None:
        """A member that no row names: extensions, what stands beside a primitive, or a fault."""
        element = shape.elements.get(name[1:]) if name[:1] == "_" else None
        if name == "extension" and self._extensible:
            self._extensions(member, (*shape.extensions, *_ANYWHERE), where)
        elif element and type(element.of) is Primitive and not element.many and self._extensible:
            self._beside(member, name[1:] in parent, f"{where}.{name}")
        else:
            self._fault(f"{where}.{name}", "unknown member")

    def _beside(self, member: Any, valued: bool, where: str) -> None:
        """``_name``: extensions of a primitive; without a value one of them says why there is none."""
        if type(member) is not dict or set(member) != {"extension"}:
            self._fault(where, "not an object with extensions alone")
            return
        self._extensions(member["extension"], _ANYWHERE, where)
        if not valued and DATA_ABSENT.url not in _urls(member["extension"]):
            self._fault(where, "no value and no data-absent-reason")

    def _extensions(self, members: Any, known: tuple[Extension, ...], where: str) -> None:
        if type(members) is not list or not members:
            self._fault(f"{where}.extension", "not a list" if members != [] else "empty list")
            return
        urls = _urls(members)
        self._counted(urls, known, where)
        by_url = {one.url: one for one in known}
        for at, member in enumerate(members):
            found = by_url.get(urls[at])
            if found is None:
                self._fault(f"{where}.extension[{at}]", "an extension that has no place here")
            else:
                self._extension(member, found, f"{where}.extension[{at}]")

    def _counted(self, urls: list[str], known: tuple[Extension, ...], where: str) -> None:
        for one in known:
            count = urls.count(one.url)
            if count < one.low:
                self._fault(f"{where}.extension", f"{_named(one)} is missing")
            if one.high is not None and count > one.high:
                self._fault(f"{where}.extension", f"{_named(one)} more than {one.high} times")

    def _extension(self, member: Json, known: Extension, where: str) -> None:
        where = f"{where}({_named(known)})"
        if known.parts:
            if set(member) != {"url", "extension"}:
                self._fault(where, "not url and extensions alone")
                return
            self._extensions(member.get("extension"), known.parts, where)
            return
        absent = f"_{known.member}"
        if set(member) == {"url", absent}:
            self._beside(member[absent], False, f"{where}.{absent}")
        elif set(member) != {"url", known.member}:
            self._fault(where, f"not url and {known.member} alone")
        elif known.of is not None:
            value = Element(known.member, 1, 1, False, known.of, known.only)
            self._one(member[known.member], value, f"{where}.{known.member}")


def _named(one: Extension) -> str:
    return one.url.rpartition("/")[2]


def _urls(members: Any) -> list[str]:
    """The url of each extension; an empty text for what has none."""
    if type(members) is not list:
        return []
    found = (one.get("url") if type(one) is dict else None for one in members)
    return [url if type(url) is str and not URI.wrong(url) else "" for url in found]


def _bound(value: Any, only: Codes) -> bool:
    """Whether a code, a Coding, or one coding of a CodeableConcept is in the value set."""
    if type(value) is str:
        return value in only
    if type(value) is not dict:
        return False
    codings = value.get("coding", [value])
    return type(codings) is list and any(
        (one.get("system"), one.get("code")) in only for one in codings if _coded(one)
    )


def _coded(one: Any) -> bool:
    return type(one) is dict and type(one.get("system")) is str and type(one.get("code")) is str
