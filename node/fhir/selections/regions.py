"""Regions of reports: SCOORD and SCOORD3D as imageRegion2D and imageRegion3D.

Coordinates are copied in order: both sides count columns and rows from the top left corner of the top left
pixel, and millimetres in the frame of reference, so nothing is shifted. PS3.3 C.18.6 and C.18.9;
https://hl7.org/fhir/R5/valueset-imagingselection-2dgraphictype.html and …-3dgraphictype.html.
"""

from __future__ import annotations

from dataclasses import replace
from math import isfinite
from typing import Final, NamedTuple

from node.documents import Region
from node.fhir.datatypes import Json
from node.fhir.options import FhirOptions


class Shape(NamedTuple):
    """FHIR's code of a graphic type, and how many points it has (0: any number)."""

    code: str
    points: int = 0


# (dimensions, Graphic Type). FHIR has no code for several points in an image: they become one region each.
SHAPES: Final[dict[tuple[int, str], Shape]] = {
    (2, "POINT"): Shape("point", 1),
    (2, "MULTIPOINT"): Shape("point"),
    (2, "POLYLINE"): Shape("polyline"),
    (2, "CIRCLE"): Shape("circle", 2),
    (2, "ELLIPSE"): Shape("ellipse", 4),
    (3, "POINT"): Shape("point", 1),
    (3, "MULTIPOINT"): Shape("multipoint"),
    (3, "POLYLINE"): Shape("polyline"),
    (3, "POLYGON"): Shape("polygon"),
    (3, "ELLIPSE"): Shape("ellipse", 4),
    (3, "ELLIPSOID"): Shape("ellipsoid", 6),
}


def sound(region: Region) -> bool:
    """Whether the region is of a known type and has whole points, as many as its type needs."""
    shape = SHAPES.get((region.dimensions, region.graphic_type))
    points, odd = divmod(len(region.coordinates), region.dimensions)
    if shape is None or odd or not points or shape.points not in (0, points):
        return False
    return all(map(isfinite, region.coordinates))


def too_large(region: Region, options: FhirOptions) -> bool:
    return region.weight > options.max_coordinates


def parts(region: Region) -> tuple[Region, ...]:
    """The regions that FHIR needs for this one: itself, or one a point of a 2D MULTIPOINT."""
    if (region.dimensions, region.graphic_type) != (2, "MULTIPOINT"):
        return (region,)
    flat = region.coordinates
    points = (flat[at : at + 2] for at in range(0, len(flat), 2))
    return tuple(replace(region, graphic_type="POINT", coordinates=point) for point in points)


def spelt(region: Region | None, dimensions: int) -> list[Json]:
    """imageRegion2D or imageRegion3D of a sound region; empty where there is none of so many dimensions."""
    if region is None or region.dimensions != dimensions:
        return []
    shape = SHAPES[dimensions, region.graphic_type]
    return [{"regionType": shape.code, "coordinate": list(region.coordinates)}]
