"""Refuses a resource that is not valid FHIR, before it becomes an event.

Each target has a constraint table of its own in here, of the base resource and of the profile that it claims:
``r5``, ``r4`` with ``imr`` and ``osiris``, ``dstu1``, ``imagingselection``. ``walk`` goes through every member of
a resource along the table; ``whole`` has the rules that look at all of it; ``library`` asks fhir.resources, which
knows nothing of profiles, bindings, reference targets and contained resources, for its opinion on the structure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from node.errors import ResourceInvalid
from node.fhir.check import dstu1, imagingselection, imr, library, osiris, r5, whole
from node.fhir.check.shapes import Json, Shape
from node.fhir.check.walk import MAX_REASONS, Enough, Walk


@dataclass(frozen=True, slots=True)
class Rules:
    """What a resource of a target must satisfy.

    ``root`` is its shape, or the one that ``profiles`` has for the profile that it claims; a claim that has no
    table is refused. ``contained`` are the shapes of contained resources by type.
    ``model`` is the class of fhir.resources, None where it has none; ``whole`` are rules on the resource as a
    whole. ``extensible`` says whether the target has extensions.
    """

    root: Shape
    contained: Mapping[str, Shape]
    model: str | None
    whole: tuple[Callable[[Json], Iterator[str]], ...] = ()
    profiles: Mapping[str, Shape] = field(default_factory=dict)
    extensible: bool = True


RULES: Final[dict[str, Rules]] = {
    "r5": Rules(r5.STUDY, r5.CONTAINED, "fhir.resources.imagingstudy:ImagingStudy", (whole.counts,)),
    "imr": Rules(imr.STUDY, imr.CONTAINED, "fhir.resources.R4B.imagingstudy:ImagingStudy", (whole.counts,)),
    "osiris": Rules(
        osiris.STUDY,
        osiris.CONTAINED,
        "fhir.resources.R4B.imagingstudy:ImagingStudy",
        (whole.counts,),
    ),
    "dstu1": Rules(dstu1.STUDY, dstu1.CONTAINED, None, (whole.counts,), extensible=False),
    "imagingselection": Rules(
        imagingselection.SELECTION,
        r5.CONTAINED,
        "fhir.resources.imagingselection:ImagingSelection",
        profiles=imagingselection.PROFILES,
    ),
}


def check(profile: str, resource: Mapping[str, Any]) -> None:
    """Raises ResourceInvalid, naming elements and reasons but no values, unless ``resource`` is valid.

    ``profile`` is a key of ``RULES``; KeyError for another.
    """
    rules = RULES[profile]
    reasons = reasons_of(rules, dict(resource))[:MAX_REASONS]
    if reasons:
        raise ResourceInvalid(
            f"{profile} {rules.root.elements['resourceType'].pattern}: " + "; ".join(reasons)
        )


def reasons_of(rules: Rules, resource: Json) -> list[str]:
    """What is wrong with a resource, as paths and reasons; empty when nothing is.

    Each pass relies on the one before: there is no null when fhir.resources runs, which fails on one.
    """
    kind = str(rules.root.elements["resourceType"].pattern)
    walk = Walk(rules.contained, rules.extensible)
    try:
        walk.resource(resource, _claimed(rules, resource), kind)
    except Enough:
        pass  # there are reasons
    if walk.reasons:
        return walk.reasons
    found = list(whole.contained(resource, walk.local))
    found += [reason for rule in rules.whole for reason in rule(resource)]
    if rules.model:
        found += library.refusals(rules.model, resource)
    return found


def _claimed(rules: Rules, resource: Json) -> Shape:
    """The shape of the profile that is claimed, else the root's, in which there is no place for a claim."""
    meta = resource.get("meta")
    claims = meta.get("profile") if type(meta) is dict else None
    first = claims[0] if type(claims) is list and claims else None
    return rules.profiles.get(first, rules.root) if type(first) is str else rules.root
