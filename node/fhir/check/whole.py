"""Rules that look at a resource as a whole: contained resources, counts, UIDs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from node.fhir.check.shapes import Element, Json


def contained(resource: Json, local: Sequence[tuple[str, str, Element]]) -> Iterator[str]:
    """dom-2, dom-3: contained resources have ids of their own and something refers to each of them.

    ``local`` are the references to them that the walk found: (path, id, the element that holds it).
    """
    kind = resource["resourceType"]
    types: dict[str, str] = {}
    for at, one in enumerate(resource.get("contained", ())):
        if one["id"] in types:
            yield f"{kind}.contained[{at}].id: used twice"
        types[one["id"]] = one["resourceType"]
    for where, name, element in local:
        if name not in types:
            yield f"{where}.reference: refers to a contained resource that is not there"
        elif types[name] not in element.targets:
            yield f"{where}.reference: refers to a {types[name]}"
    used = {name for _, name, _ in local}
    for at, one in enumerate(resource.get("contained", ())):
        if one["id"] not in used:
            yield f"{kind}.contained[{at}]: nothing refers to it"


def counts(study: Json) -> Iterator[str]:
    """Counts of an ImagingStudy equal the lists they count, where the lists are there; UIDs are listed once."""
    series = study.get("series")
    if series is None:
        return
    if study.get("numberOfSeries", len(series)) != len(series):
        yield "ImagingStudy.numberOfSeries: differs from the series listed"
    if len({one["uid"] for one in series}) != len(series):
        yield "ImagingStudy.series.uid: listed twice"
    for at, one in enumerate(series):
        instances = one.get("instance")
        if instances is None:
            continue
        if one.get("numberOfInstances", len(instances)) != len(instances):
            yield f"ImagingStudy.series[{at}].numberOfInstances: differs from the instances listed"
        if len({instance["uid"] for instance in instances}) != len(instances):
            yield f"ImagingStudy.series[{at}].instance.uid: listed twice"
    total = sum(one.get("numberOfInstances", 0) for one in series)
    complete = all("numberOfInstances" in one for one in series)
    if complete and study.get("numberOfInstances", total) != total:
        yield "ImagingStudy.numberOfInstances: differs from the sum of its series"
