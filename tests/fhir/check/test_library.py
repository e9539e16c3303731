"""What fhir.resources is shown of a resource, and that it is asked."""

from __future__ import annotations

from typing import Any

import pytest

from node.fhir.check import RULES, library
from node.fhir.check.shapes import DATA_ABSENT
from tests.fhir.check.samples import roots, samples

ABSENT = {"extension": [{"url": DATA_ABSENT.url, "valueCode": "unknown"}]}
OF_CLASS = {"system": "urn:ietf:rfc:3986", "code": "urn:oid:1.2.3"}


def _instances(count: int, **members: Any) -> list[dict[str, Any]]:
    return [{"uid": f"1.{at}", "sopClass": OF_CLASS, **members} for at in range(count)]


def test_a_few_instances_stand_for_many() -> None:
    instances = [*_instances(500), *_instances(500, number=1), *_instances(500, title="a")]
    other = {"uid": "2", "sopClass": {**OF_CLASS, "code": "urn:oid:1.2.4"}}
    found = library.sample({"series": [{"uid": "1", "instance": [*instances, other]}, {"uid": "2"}]})
    shown = found["series"][0]["instance"]
    assert {tuple(one) for one in shown} == {
        ("uid", "sopClass"),
        ("uid", "sopClass", "number"),
        ("uid", "sopClass", "title"),
    }
    assert shown[0]["uid"] == "1.0"
    assert shown[-1] == other
    assert len(shown) < 10
    assert found["series"][1] == {"uid": "2"}


def test_few_instances_are_all_shown() -> None:
    instances = _instances(8)
    assert library.sample({"instance": instances})["instance"] == instances


def test_the_first_coordinates_stand_for_all() -> None:
    region = {"regionType": "polyline", "coordinate": [1.5] * 20_000}
    found = library.sample({"instance": [{"uid": "1", "imageRegion2D": [region], "imageRegion3D": [region]}]})
    for name in ("imageRegion2D", "imageRegion3D"):
        assert len(found["instance"][0][name][0]["coordinate"]) == 12
    assert len(region["coordinate"]) == 20_000


def test_what_it_refuses_wrongly_is_taken_out_and_nothing_else() -> None:
    valueless = {"url": "rows", "_valueInteger": ABSENT}
    resource = {
        "_started": ABSENT,
        "extension": [{"url": "settings", "extension": [valueless, {"url": "columns", "valueInteger": 1}]}],
        "contained": [{"version": [{"_value": ABSENT}], "extension": [valueless]}],
    }
    assert library.sample(resource) == {
        "_started": ABSENT,
        "extension": [{"url": "settings", "extension": [{"url": "columns", "valueInteger": 1}]}],
        "contained": [{"version": [{"_value": ABSENT}]}],
    }


@pytest.mark.parametrize("name", [name for name, rules in RULES.items() if rules.model])
def test_it_is_asked(name: str) -> None:
    model = RULES[name].model
    assert model is not None
    (made, *_) = samples(name, next(iter(roots(name))))
    assert list(library.refusals(model, made)) == []
    member = "description" if "description" in made else "studyUid"
    assert next(iter(library.refusals(model, {**made, member: {"a": "Jörg"}}))).startswith(member)
    # It fails with other errors than its own too.
    assert list(library.refusals(model, {**made, "contained": [{"resourceType": "Nothing"}]})) == [
        "fhir.resources: KeyError"
    ]
