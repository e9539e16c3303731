"""Refuses a resource that is not valid FHIR, before it becomes an event.

Two passes. fhir.resources validates structure, cardinality and types; nothing is ever serialised through it,
because it rewrites fractions and offsets. The walk then looks for what it lets through: required bindings,
control characters, empty values, numbers as strings, ids over 64 characters, wrong reference targets,
contained resources that nobody refers to, counts that do not match.

Cost: instances of a series come out of one rule, so fhir.resources sees the first, the last, and one of each
shape (members and SOP class) of a series; the walk sees every one.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from node.errors import ResourceInvalid

_INT32_MAX: Final = 2_147_483_647
_FEW_INSTANCES: Final = 8
_MAX_REASONS: Final = 5

_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}\Z")
_CODE = re.compile(r"[^\s]+( [^\s]+)*\Z")
_URI = re.compile(r"\S+\Z")
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\x1b]")
_DATETIME = re.compile(
    r"[0-9]{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12][0-9]|3[01])"
    r"(T([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]{1,9})?"
    r"(Z|[+-]((0[0-9]|1[0-3]):[0-5][0-9]|14:00)))?)?)?\Z"
)

_PEOPLE: Final = ("Practitioner", "PractitionerRole")


@dataclass(frozen=True, slots=True)
class Rules:
    """What a target adds to the base validation. Paths have no indexes; a contained resource starts its own.

    ``model`` is the class of fhir.resources, ``bindings`` the required value sets, ``targets`` the resource
    types that a Reference may point to, ``counts`` pairs of a count and the list that it counts.
    """

    model: str
    bindings: Mapping[str, frozenset[str]]
    integers: frozenset[str]
    ids: frozenset[str]
    datetimes: frozenset[str]
    targets: Mapping[str, tuple[str, ...]]


_IDENTIFIER_USE: Final = frozenset({"usual", "official", "temp", "secondary", "old"})

R5: Final = Rules(
    model="fhir.resources.imagingstudy:ImagingStudy",
    bindings={
        "ImagingStudy.status": frozenset(
            {"registered", "available", "cancelled", "entered-in-error", "unknown"}
        ),
        "ImagingStudy.text.status": frozenset({"generated", "extensions", "additional", "empty"}),
        "ImagingStudy.identifier.use": _IDENTIFIER_USE,
        "ImagingStudy.subject.identifier.use": _IDENTIFIER_USE,
        "Endpoint.status": frozenset({"active", "suspended", "error", "off", "entered-in-error"}),
        "Device.identifier.use": _IDENTIFIER_USE,
        "Device.name.type": frozenset({"registered-name", "user-friendly-name", "patient-reported-name"}),
    },
    integers=frozenset(
        {
            "ImagingStudy.numberOfSeries",
            "ImagingStudy.numberOfInstances",
            "ImagingStudy.series.number",
            "ImagingStudy.series.numberOfInstances",
            "ImagingStudy.series.instance.number",
        }
    ),
    ids=frozenset(
        {
            "ImagingStudy.id",
            "ImagingStudy.series.uid",
            "ImagingStudy.series.instance.uid",
            "Endpoint.id",
            "Device.id",
        }
    ),
    datetimes=frozenset({"ImagingStudy.started", "ImagingStudy.series.started"}),
    targets={
        "ImagingStudy.subject": ("Patient", "Device", "Group"),
        "ImagingStudy.encounter": ("Encounter",),
        "ImagingStudy.basedOn": ("CarePlan", "ServiceRequest", "Appointment", "AppointmentResponse", "Task"),
        "ImagingStudy.partOf": ("Procedure",),
        "ImagingStudy.referrer": _PEOPLE,
        "ImagingStudy.endpoint": ("Endpoint",),
        "ImagingStudy.location": ("Location",),
        "ImagingStudy.series.endpoint": ("Endpoint",),
        "ImagingStudy.series.specimen": ("Specimen",),
        "ImagingStudy.series.performer.actor": (
            *_PEOPLE,
            "Organization",
            "CareTeam",
            "Patient",
            "Device",
            "RelatedPerson",
            "HealthcareService",
        ),
    },
)

RULES: Final[dict[str, Rules]] = {"r5": R5}


def check(profile: str, resource: Mapping[str, Any]) -> None:
    """Raises ResourceInvalid, naming elements and reasons but no values, unless ``resource`` is valid.

    ``profile`` is a key of ``RULES``; KeyError for another.
    """
    rules = RULES[profile]
    reasons = []
    for reason in _reasons(rules, resource):
        reasons.append(reason)
        if len(reasons) == _MAX_REASONS:
            break
    if reasons:
        raise ResourceInvalid(f"{profile} {resource.get('resourceType', 'resource')}: " + "; ".join(reasons))


def _reasons(rules: Rules, resource: Mapping[str, Any]) -> Iterator[str]:
    # The walk first: it is certain that no null is left when fhir.resources runs, which fails on one.
    walked = list(_Walk(rules).resource(resource))
    yield from walked
    if not walked:
        structure = list(_base(rules, resource))
        yield from structure
        if not structure:
            yield from _contained(rules, resource)
            yield from _counts(resource)


@lru_cache(maxsize=8)
def _validator(name: str) -> Callable[[Any], Any]:
    module, _, attribute = name.partition(":")
    validate: Callable[[Any], Any] = getattr(importlib.import_module(module), attribute).model_validate
    return validate


def _base(rules: Rules, resource: Mapping[str, Any]) -> Iterator[str]:
    try:
        _validator(rules.model)(_sample(resource))
    except Exception as error:  # noqa: BLE001  it raises IndexError and others besides ValidationError
        listed = getattr(error, "errors", None)
        if listed is None:
            yield f"fhir.resources: {type(error).__name__}"
            return
        # Location and rule only: pydantic's own text quotes the value, which may be a patient's.
        for one in listed(include_url=False, include_context=False, include_input=False):
            yield f"{'.'.join(map(str, one['loc']))}: {one['type']}"


def _sample(resource: Mapping[str, Any]) -> Mapping[str, Any]:
    """The resource with representatives instead of all instances where a series has many."""
    series = resource.get("series")
    if not isinstance(series, list):
        return resource
    return dict(resource, series=[_thinned(one) if isinstance(one, Mapping) else one for one in series])


def _thinned(series: Mapping[str, Any]) -> Mapping[str, Any]:
    instances = series.get("instance")
    if not isinstance(instances, list) or len(instances) <= _FEW_INSTANCES:
        return series
    shapes = {_shape(one): one for one in instances}
    return dict(series, instance=[instances[0], *shapes.values(), instances[-1]])


def _shape(instance: Any) -> tuple[Any, ...]:
    """Equal for instances that came out of the same rule: their members, the types of these, the SOP class."""
    if not isinstance(instance, Mapping):
        return (type(instance),)
    sop_class = instance.get("sopClass")
    of = str(sop_class.get("code")) if isinstance(sop_class, Mapping) else None
    return (*instance, *map(type, instance.values()), of)


def _counts(resource: Mapping[str, Any]) -> Iterator[str]:
    """Counts equal the lists they count, where the lists are there; UIDs are listed once."""
    series = resource.get("series")
    if series is None:
        return
    if resource.get("numberOfSeries", len(series)) != len(series):
        yield "ImagingStudy.numberOfSeries: differs from the series listed"
    if len({one.get("uid") for one in series}) != len(series):
        yield "ImagingStudy.series.uid: listed twice"
    for at, one in enumerate(series):
        instances = one.get("instance")
        if instances is None:
            continue
        if one.get("numberOfInstances", len(instances)) != len(instances):
            yield f"ImagingStudy.series[{at}].numberOfInstances: differs from the instances listed"
        if len({instance.get("uid") for instance in instances}) != len(instances):
            yield f"ImagingStudy.series[{at}].instance.uid: listed twice"
    total = sum(one.get("numberOfInstances", 0) for one in series)
    if (
        all("numberOfInstances" in one for one in series)
        and resource.get("numberOfInstances", total) != total
    ):
        yield "ImagingStudy.numberOfInstances: differs from the sum of its series"


def _contained(rules: Rules, resource: Mapping[str, Any]) -> Iterator[str]:
    """Contained resources have ids of their own, do not nest, and are all referred to (dom-2 to dom-4)."""
    types: dict[str, str] = {}
    for at, one in enumerate(resource.get("contained", ())):
        where = f"ImagingStudy.contained[{at}]"
        if "contained" in one:
            yield f"{where}: contains resources itself"
        if not _known_members(one.get("meta", {})):
            yield f"{where}.meta: has versionId, lastUpdated or security"
        if one.get("id") in types:
            yield f"{where}.id: used twice"
        types[one.get("id", "")] = one.get("resourceType", "")
    used: set[str] = set()
    for path, found in _references(resource, str(resource.get("resourceType"))):
        local = found["reference"].removeprefix("#")
        used.add(local)
        if local not in types:
            yield f"{path}: refers to a contained resource that is not there"
        elif path in rules.targets and types[local] not in rules.targets[path]:
            yield f"{path}: refers to a {types[local]}"
    for lonely in sorted(set(types) - used):
        yield f"ImagingStudy.contained: nothing refers to #{lonely}"


def _known_members(meta: Mapping[str, Any]) -> bool:
    return not {"versionId", "lastUpdated", "security"} & set(meta)


def _references(value: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every local reference with its path; instances have none, so they are not looked through."""
    if isinstance(value, list):
        for one in value:
            yield from _references(one, path)
    elif isinstance(value, Mapping):
        if str(value.get("reference", "")).startswith("#"):
            yield path, value
        for name, member in value.items():
            if name != "instance":
                yield from _references(member, f"{path}.{name}")


class _Walk:
    """Looks at every member of a resource; ``path`` names the element, ``where`` says which of several."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    def resource(self, value: Any, where: str | None = None) -> Iterator[str]:
        if not isinstance(value, Mapping) or not value.get("resourceType"):
            yield f"{where or 'resource'}: no resourceType"
            return
        kind = str(value["resourceType"])
        yield from self._object(value, kind, where or kind)

    def _object(self, value: Mapping[str, Any], path: str, where: str) -> Iterator[str]:
        if not value:
            yield f"{where}: empty object"
        if path in self._rules.targets:
            yield from self._reference(value, path, where)
        for name, member in value.items():
            inner = f"{path}.{name}"
            if isinstance(member, list):
                yield from self._list(member, name, inner, f"{where}.{name}")
            elif isinstance(member, Mapping):
                yield from self._object(member, inner, f"{where}.{name}")
            else:
                yield from self._primitive(member, name, inner, where)

    def _list(self, members: list[Any], name: str, path: str, where: str) -> Iterator[str]:
        if not members:
            yield f"{where}: empty list"
        for at, member in enumerate(members):
            if name == "contained":
                yield from self.resource(member, f"{where}[{at}]")
            elif isinstance(member, Mapping):
                yield from self._object(member, path, f"{where}[{at}]")
                if name == "coding" and not (member.get("system") and member.get("code")):
                    yield f"{where}[{at}]: a coding without system or code"
            else:
                yield from self._primitive(member, name, path, where)

    def _reference(self, value: Mapping[str, Any], path: str, where: str) -> Iterator[str]:
        allowed = self._rules.targets[path]
        if not {"reference", "identifier", "display"} & set(value):
            yield f"{where}: a reference to nothing"
        if "type" in value and value["type"] not in allowed:
            yield f"{where}.type: not one of {', '.join(allowed)}"
        literal = value.get("reference", "")
        named = re.search(r"(?:^|/)([A-Z][A-Za-z]+)/[^/]+$", literal) if isinstance(literal, str) else None
        if named and named[1] not in allowed:
            yield f"{where}.reference: not one of {', '.join(allowed)}"

    def _primitive(self, value: Any, name: str, path: str, where: str) -> Iterator[str]:
        reason = self._wrong(value, name, path)
        if reason:
            yield f"{where}.{name}: {reason}"

    def _wrong(self, value: Any, name: str, path: str) -> str | None:
        rules = self._rules
        if path in rules.integers:
            legal = type(value) is int and 0 <= value <= _INT32_MAX
            return None if legal else "no integer from 0 to 2147483647"
        if isinstance(value, bool):
            return None
        if not isinstance(value, str):
            return "null" if value is None else "a number where a string belongs"
        if not value.strip():
            return "empty string"
        if _CONTROLS.search(value):
            return "control characters"
        if path in rules.bindings and value not in rules.bindings[path]:
            return "not in its value set"
        if path in rules.datetimes and not _DATETIME.match(value):
            return "no FHIR dateTime"
        if path in rules.ids and not _ID.match(value):
            return "no id of 1 to 64 letters, digits, '-' and '.'"
        if name in _FORMS and not _FORMS[name].match(value):
            return f"no FHIR {_FORM_NAMES[name]}"
        return None


# Members that have one form wherever they occur in these resources.
_FORMS: Final = {"code": _CODE, "system": _URI, "url": _URI, "address": _URI, "use": _CODE}
_FORM_NAMES: Final = {"code": "code", "system": "uri", "url": "uri", "address": "url", "use": "code"}
