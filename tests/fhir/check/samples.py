"""Valid resources made from the constraint tables: each has every element of its table at least once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, Final

from node.fhir import check
from node.fhir.check import Rules, osiris
from node.fhir.check.primitives import Primitive
from node.fhir.check.shapes import Element, Extension, Having, HavingMember, Json, PointingTo, Shape, Slice

DIV: Final = '<div xmlns="http://www.w3.org/1999/xhtml"><p>Imaging study</p></div>'

# Primitive type -> values that it has.
GOOD: Final[dict[str, tuple[Any, ...]]] = {
    "string": ("words", "two\nlines", "Ünï 病", "a b"),
    "markdown": ("*words*", "padded "),
    "xhtml": (DIV,),
    "code": ("code", "two words"),
    "id": ("a-1.b", "1", "9" * 36),
    "uri": ("urn:example:1", "https://example.org/a?b=c"),
    "url": ("https://example.org/dicomweb", "mailto:a@example.org"),
    "canonical": ("http://example.org/definition|1.0",),
    "dateTime": ("2026-03-10T08:15:30.25+01:00", "2026", "2026-03", "2024-02-29", "2026-03-10T00:00:00Z"),
    "instant": ("2026-03-10T09:40:00+01:00", "2026-03-10T09:40:00.123456-12:00"),
    "integer": (7, -2147483648, 2147483647),
    "unsignedInt": (7, 0, 2147483647),
    "decimal": (1.5, -3, 0, 1e-7),
    "boolean": (True, False),
    "dateTime of DSTU1": ("2026-03-10T08:15:30+01:00", "2026"),
    "id of DSTU1": ("a-1.b", "9" * 36),
    "oid of DSTU1": ("urn:oid:1.2.840.10008", "urn:oid:2.25.0"),
}

# Of a choice of elements one at a time.
CHOICES: Final[dict[str, tuple[frozenset[str], ...]]] = {
    "Annotation": (frozenset({"authorString"}), frozenset({"authorReference"})),
}


class Maker:
    """Makes values of shapes; references point to contained resources as long as one of their type is unused.

    Of slices that do not all fit into a list the first is taken, counted from ``turn``.
    """

    def __init__(self, rules: Rules, turn: int = 0) -> None:
        self._rules = rules
        self._turn = turn
        self._unused = dict.fromkeys(rules.contained)

    def resource(self, shape: Shape) -> Json:
        made = self.object(shape)
        # Made last: they refer to nothing contained.
        self._unused = {}
        made["contained"] = [
            {**self.object(each), "id": kind.lower()} for kind, each in self._rules.contained.items()
        ]
        return made

    def object(self, shape: Shape, without: frozenset[str] = frozenset()) -> Json:
        made: Json = {}
        for name, element in shape.elements.items():
            if name == "contained" or name in without:
                continue
            made[name] = self._list(element) if element.many else self._value(element)
        if shape.extensions:
            made["extension"] = [self.extension(one) for one in shape.extensions]
        return made

    def extension(self, of: Extension) -> Json:
        if of.parts:
            return {"url": of.url, "extension": [self.extension(one) for one in of.parts]}
        assert of.of is not None
        value = self._value(Element(of.member, 1, 1, False, of.of, of.only))
        return {"url": of.url, of.member: value}

    def _list(self, element: Element) -> list[Any]:
        if element.name == "coordinate":
            return [1, 2.5, 3, 4.5, 5, 6]
        if element.slices:
            slices = [*element.slices[self._turn :], *element.slices[: self._turn]]
            return [self._slice(element, one) for one in slices[: element.high]]
        variants = CHOICES.get(element.of.name, (frozenset(),))
        return [self._value(element, without) for without in variants]

    def _slice(self, element: Element, one: Slice) -> Any:
        assert isinstance(element.of, Shape)
        made = self._value(element) if one.shape is None else self.object(one.shape)
        match one.when:
            case Having(pattern):
                overlay(made, pattern)
            case PointingTo(kind):
                self._refer(made, kind)
            case HavingMember(name):
                assert name in made
        return made

    def _value(self, element: Element, without: frozenset[str] = frozenset()) -> Any:
        made = (
            GOOD[element.of.name][0]
            if isinstance(element.of, Primitive)
            else self.object(element.of, without)
        )
        if element.targets:
            self._refer(made, element.targets[0] if not self._local(element) else self._local(element))
        if element.only is not None:
            made = bind(made, sorted(element.only)[0])
        if element.pattern is not None:
            made = overlay(made, element.pattern)
        return made

    def _local(self, element: Element) -> str:
        return next((kind for kind in element.targets if kind in self._unused), "")

    def _refer(self, made: Json, kind: str) -> None:
        local = kind in self._unused
        made["reference"] = f"#{kind.lower()}" if local else f"{kind}/1"
        if "type" in made:
            made["type"] = kind
        self._unused.pop(kind, None)


def bind(made: Any, code: Any) -> Any:
    """``made`` with ``code`` of a required binding: a code, a Coding, or a concept's first coding."""
    if isinstance(made, str):
        return code
    coding = made["coding"][0] if "coding" in made else made
    coding["system"], coding["code"] = code
    return made


def overlay(made: Any, pattern: Any) -> Any:
    """``made`` with all that ``pattern`` has."""
    if isinstance(pattern, dict):
        for name, wanted in pattern.items():
            made[name] = overlay(made.get(name, {}), wanted)
        return made
    if isinstance(pattern, tuple):
        return [overlay(copy.deepcopy(one), wanted) for one, wanted in zip(made, pattern, strict=True)]
    return pattern


def _counted(study: Json) -> None:
    """Counts and UIDs as a study has them."""
    uid = "urn:oid:1.2.3" if "uid" in study else "1.2.3"
    for at, series in enumerate(study["series"], 1):
        series["uid"] = f"{uid}.{at}"
        for number, instance in enumerate(series["instance"], 1):
            instance["uid"] = f"{uid}.{at}.{number}"
        series["numberOfInstances"] = len(series["instance"])
    study["numberOfSeries"] = len(study["series"])
    study["numberOfInstances"] = sum(len(one["instance"]) for one in study["series"])


def _identified(study: Json) -> None:
    study["identifier"][0].update(system="urn:dicom:uid", value="urn:oid:1.2.3")


def _one_series_a_modality(study: Json) -> None:
    """Osiris: the settings of each modality in a series of its own."""
    template = study["series"][0]
    study["series"] = []
    modalities = [{"system": "https://dicom.nema.org/medical/dicom", "code": code} for code in osiris.BLOCKS]
    for modality in [
        *modalities,
        {"system": "https://terminology.arkhn.com/SeriesModalityCS", "code": "RTSTRUCT"},
    ]:
        series = copy.deepcopy(template)
        series["modality"].update(modality)
        settings = series["extension"][1]
        fitting = osiris.BLOCKS.get(modality["code"])
        others = set(osiris.BLOCKS.values()) - {fitting}
        settings["extension"] = [one for one in settings["extension"] if one["url"] not in others]
        study["series"].append(series)


_FITTING: Final[dict[str, tuple[Callable[[Json], None], ...]]] = {
    "r5": (_identified, _counted),
    "imr": (_identified, _counted),
    "osiris": (_identified, _one_series_a_modality, _counted),
    "dstu1": (_counted,),
    "imagingselection": (),
}


def roots(name: str) -> Iterator[Shape]:
    """The shapes that a resource of a target may have: of the base and of each profile it may claim."""
    rules = check.RULES[name]
    yield rules.root
    yield from rules.profiles.values()


def samples(name: str, root: Shape) -> Iterator[Json]:
    """Resources of a target that together have every element and every slice of ``root``."""
    rules = check.RULES[name]
    crowded = [len(one.slices) for one in root.elements.values() if one.high and one.high < len(one.slices)]
    for turn in range(max(crowded, default=1)):
        made = Maker(rules, turn).resource(root)
        for fit in _FITTING[name]:
            fit(made)
        yield made
