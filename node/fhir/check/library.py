"""A second opinion on structure, cardinalities and types: the models of fhir.resources (R5, and R4B for R4).

Nothing is ever serialised through it, because it rewrites fractions and offsets. It sees representatives: of a
series with many instances the first, the last and one of each shape (members and SOP class), as instances come
out of one rule; of a region its first coordinates. The walk sees every one of them.

It refuses ``_value…`` inside an Extension, which FHIR allows. Such extensions, and lists of extensions that they
leave empty, are taken out before; the tables check them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final

from node.fhir.check.shapes import Json

_FEW_INSTANCES: Final = 8
_COORDINATES: Final = 12  # a multiple of two and of three


@lru_cache(maxsize=8)
def _validator(name: str) -> Callable[[Any], Any]:
    module, _, attribute = name.partition(":")
    validate: Callable[[Any], Any] = getattr(importlib.import_module(module), attribute).model_validate
    return validate


def refusals(model: str, resource: Json) -> Iterator[str]:
    """What ``model`` (``module:class``) refuses in a resource that has no null, as path and rule."""
    try:
        _validator(model)(sample(resource))
    except Exception as error:  # noqa: BLE001  it raises IndexError and others besides ValidationError
        listed = getattr(error, "errors", None)
        if listed is None:
            yield f"fhir.resources: {type(error).__name__}"
            return
        # Location and rule only: pydantic's own text quotes the value, which may be a patient's.
        for one in listed(include_url=False, include_context=False, include_input=False):
            yield f"{'.'.join(map(str, one['loc']))}: {one['type']}"


def sample(resource: Json) -> Json:
    """The resource with representatives, and without what the library refuses wrongly."""
    found = dict(resource)
    if "series" in found:
        found["series"] = [
            dict(one, instance=_few(one["instance"])) if "instance" in one else one for one in found["series"]
        ]
    if "instance" in found:
        found["instance"] = [_few_coordinates(one) for one in _few(found["instance"])]
    plain: Json = _without_valueless(found)
    return plain


def _few(instances: list[Json]) -> list[Json]:
    if len(instances) <= _FEW_INSTANCES:
        return instances
    shapes = {_shape(one): one for one in instances}
    return [instances[0], *shapes.values(), instances[-1]]


def _shape(instance: Json) -> tuple[Any, ...]:
    """Equal for instances that came out of the same rule: their members and their SOP class."""
    sop_class = instance.get("sopClass")
    return (*instance, sop_class.get("code") if sop_class else None)


def _few_coordinates(instance: Json) -> Json:
    found = dict(instance)
    for name in ("imageRegion2D", "imageRegion3D"):
        if name in found:
            found[name] = [dict(one, coordinate=one["coordinate"][:_COORDINATES]) for one in found[name]]
    return found


def _without_valueless(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_valueless(one) for one in value]
    if not isinstance(value, dict):
        return value
    found = {}
    for name, member in value.items():
        kept = _without_valueless(_valued(member) if name == "extension" else member)
        if kept or name != "extension":
            found[name] = kept
    return found


def _valued(extensions: list[Json]) -> list[Json]:
    return [one for one in extensions if not any(name.startswith("_value") for name in one)]
