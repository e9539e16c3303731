from __future__ import annotations

from typing import Any

import orjson
import pytest
from fhir.resources.imagingselection import ImagingSelection

from node.content.items import shortest
from node.documents import Region
from node.fhir.options import FhirOptions
from node.fhir.selections import regions
from tests.fhir.selections.made import (
    OPTIONS,
    PROFILE,
    REPORT,
    group,
    image,
    made,
    report,
    resources,
    rules,
    scoord,
    scoord_3d,
)


def instances(region: Region, options: FhirOptions = OPTIONS) -> list[dict[str, Any]]:
    item = scoord("1.4.1", region, image(1)) if region.dimensions == 2 else scoord_3d("1.4.1", region)
    resource = resources(made((REPORT, report(group(item)))), options)["1.4.1"]
    ImagingSelection.model_validate(resource)
    found: list[dict[str, Any]] = resource["instance"]
    return found


@pytest.mark.parametrize(
    ("graphic_type", "points", "code"),
    [
        ("POINT", 1, "point"),
        ("POLYLINE", 1, "polyline"),
        ("POLYLINE", 5, "polyline"),
        ("CIRCLE", 2, "circle"),
        ("ELLIPSE", 4, "ellipse"),
    ],
)
def test_regions_in_an_image(graphic_type: str, points: int, code: str) -> None:
    flat = tuple(float(n) + 0.5 for n in range(2 * points))
    (found,) = instances(Region(2, graphic_type, flat))
    assert found["imageRegion2D"] == [{"regionType": code, "coordinate": list(flat)}]
    assert "imageRegion3D" not in found


@pytest.mark.parametrize(
    ("graphic_type", "points", "code"),
    [
        ("POINT", 1, "point"),
        ("MULTIPOINT", 3, "multipoint"),
        ("POLYLINE", 3, "polyline"),
        ("POLYGON", 4, "polygon"),
        ("ELLIPSE", 4, "ellipse"),
        ("ELLIPSOID", 6, "ellipsoid"),
    ],
)
def test_regions_in_space(graphic_type: str, points: int, code: str) -> None:
    flat = tuple(-float(n) for n in range(3 * points))
    (found,) = instances(Region(3, graphic_type, flat, "1.2.9"))
    assert found["imageRegion3D"] == [{"regionType": code, "coordinate": list(flat)}]
    assert "imageRegion2D" not in found


def test_points_in_an_image_are_one_instance_each() -> None:
    region = Region(2, "MULTIPOINT", (1.0, 2.0, 3.5, 4.0, 5.0, 6.0))
    item = scoord("1.4.1", region, image(1, frames=(2,)))
    resource = resources(made((REPORT, report(group(item)))))["1.4.1"]
    assert resource["meta"]["profile"] == [PROFILE + "image-region-2d"]
    assert [one["imageRegion2D"] for one in resource["instance"]] == [
        [{"regionType": "point", "coordinate": [1.0, 2.0]}],
        [{"regionType": "point", "coordinate": [3.5, 4.0]}],
        [{"regionType": "point", "coordinate": [5.0, 6.0]}],
    ]
    assert {one["uid"] for one in resource["instance"]} == {image(1).instance}
    assert all(one["subset"] == ["2"] for one in resource["instance"])


@pytest.mark.parametrize(
    "region",
    [
        Region(2, "POLYLINE", (1.0, 2.0, 3.0)),
        Region(2, "POLYLINE", ()),
        Region(2, "POINT", (1.0, 2.0, 3.0, 4.0)),
        Region(2, "CIRCLE", (1.0, 2.0)),
        Region(2, "ELLIPSE", (1.0,) * 6),
        Region(2, "POLYGON", (1.0,) * 6),
        Region(2, "", (1.0, 2.0)),
        Region(2, "POLYLINE", (1.0, float("nan"))),
        Region(3, "POLYGON", (1.0, 2.0, 3.0, 4.0)),
        Region(3, "CIRCLE", (1.0,) * 6),
        Region(3, "ELLIPSOID", (1.0,) * 12),
        Region(3, "POINT", (1.0, float("inf"), 3.0)),
    ],
    ids=str,
)
def test_coordinates_that_make_no_shape_are_dropped_and_counted(region: Region) -> None:
    assert not regions.sound(region)
    item = scoord("1.4.1", region, image(1)) if region.dimensions == 2 else scoord_3d("1.4.1", region)
    study = made((REPORT, report(group(item))))
    assert "1.4.1" not in resources(study)
    assert rules(study) == {"region-coordinates-invalid": 1}


@pytest.mark.parametrize(
    "region", [Region(2, "POLYLINE", (1.0,) * 6), Region(3, "POLYGON", (1.0,) * 6, "1.2")]
)
def test_a_huge_contour_is_left_out_and_its_selection_stays(region: Region) -> None:
    item = scoord("1.4.1", region, image(1)) if region.dimensions == 2 else scoord_3d("1.4.1", region)
    study = made((REPORT, report(group(item))))
    assert rules(study, FhirOptions(max_coordinates=6)) == {}
    small = FhirOptions(max_coordinates=5)
    assert rules(study, small) == {"region-over-maximum": 1}
    resource = resources(study, small)["1.4.1"]
    (instance,) = resource["instance"]
    assert not {"imageRegion2D", "imageRegion3D"} & set(instance)
    # Without a region image-region-2d is not satisfied; the profiles in space have none anyway.
    assert ("meta" in resource) == (region.dimensions == 3)


def test_many_points_in_an_image_are_huge_earlier() -> None:
    """Each becomes an entry of its own, which is written in two hundred characters and not in ten."""
    study = made((REPORT, report(group(scoord("1.4.1", Region(2, "MULTIPOINT", (1.0,) * 6), image(1))))))
    assert rules(study, FhirOptions(max_coordinates=48)) == {}
    assert rules(study, FhirOptions(max_coordinates=47)) == {"region-over-maximum": 1}
    in_space = scoord_3d("1.4.1", Region(3, "MULTIPOINT", (1.0,) * 6, "1.2"))
    assert rules(made((REPORT, report(group(in_space)))), FhirOptions(max_coordinates=6)) == {}


def test_numbers_of_binary32_have_their_shortest_decimal() -> None:
    widened = 0.10000000149011612  # what struct makes of the binary32 nearest to 0.1
    (found,) = instances(Region(2, "POINT", (shortest(widened), shortest(-12.300000190734863))))
    assert orjson.dumps(found["imageRegion2D"]) == b'[{"regionType":"point","coordinate":[0.1,-12.3]}]'
