"""How a resource is walked: each member looked at, refusals short and without values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from node.errors import ResourceInvalid
from node.fhir import check
from node.fhir.check.primitives import CODE, STRING
from node.fhir.check.shapes import DATA_ABSENT, Extension, Shape, constrain, element, shape
from node.fhir.check.walk import MAX_REASONS, Enough, Walk
from tests.fhir.check.nodes import Path, put
from tests.fhir.check.samples import roots, samples

SECRET = "Müller\x00 Jörg"


def _reasons(value: Any, of: Shape) -> list[str]:
    walk = Walk({})
    try:
        walk.resource(value, of, "X")
    except Enough:
        assert len(walk.reasons) == MAX_REASONS
    return walk.reasons


def _paths(value: Any, path: Path = ()) -> Iterator[Path]:
    if isinstance(value, dict | list):
        for step, member in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _paths(member, (*path, step))
    else:
        yield path


@pytest.mark.parametrize("name", ["r5", "dstu1", "imagingselection"])
def test_refusals_quote_no_value(name: str) -> None:
    resource = next(samples(name, next(iter(roots(name)))))
    written = orjson.dumps(resource)
    for path in _paths(resource):
        for value in (SECRET, {"family": SECRET}, [SECRET]):
            spoilt = orjson.loads(written)
            put(path, value)(spoilt)
            with pytest.raises(ResourceInvalid) as caught:
                check.check(name, spoilt)
            assert "Müller" not in str(caught.value)
            assert "Jörg" not in str(caught.value)


def test_refusals_are_few() -> None:
    many = shape("X", element("resourceType", "1..1", CODE), element("a", "0..*", STRING))
    assert _reasons({"resourceType": "X", "a": [""] * 1000}, many) == [
        f"X.a[{at}]: empty string" for at in range(MAX_REASONS)
    ]


def test_an_object_in_two_places_is_checked_as_each_wants_it() -> None:
    loose = shape("Loose", element("a", "0..1", STRING), element("b", "0..1", STRING))
    strict = constrain(loose, "Strict", element("b", "1..1", STRING))
    both = shape(
        "X",
        element("resourceType", "1..1", CODE),
        element("one", "0..1", loose),
        element("other", "0..1", strict),
    )
    shared = {"a": "text"}
    assert _reasons({"resourceType": "X", "one": shared, "other": shared}, both) == ["X.other.b: missing"]


def test_an_object_that_is_wrong_is_wrong_wherever_it_is() -> None:
    of = shape("Of", element("a", "0..1", STRING))
    both = shape("X", element("resourceType", "1..1", CODE), element("many", "0..*", of))
    shared = {"a": ""}
    assert _reasons({"resourceType": "X", "many": [shared, shared]}, both) == [
        "X.many[0].a: empty string",
        "X.many[1].a: empty string",
    ]


def test_a_profile_keeps_lists_and_bindings_and_knows_its_base() -> None:
    base = shape("Base", element("a", "0..*", CODE, only=frozenset({"x"})))
    one = constrain(base, "One", element("a", "1..1", CODE))
    assert one.elements["a"].many
    assert one.elements["a"].only == frozenset({"x"})
    assert (one.elements["a"].low, one.elements["a"].high) == (1, 1)
    with pytest.raises(KeyError):
        constrain(base, "None", element("b", "0..1", CODE))


def test_a_required_extension_is_missing_where_there_is_none_at_all() -> None:
    wanted = Extension("urn:example:one", 1, 1, "valueString", STRING)
    of = constrain(shape("X", element("resourceType", "1..1", CODE)), "Extended", extensions=(wanted,))
    there = {"resourceType": "X", "extension": [{"url": wanted.url, "valueString": "a"}]}
    assert _reasons(there, of) == []
    assert _reasons({"resourceType": "X"}, of) == ["X.extension: urn:example:one is missing"]


def test_where_there_are_no_extensions_none_passes() -> None:
    plain = shape("X", element("resourceType", "1..1", CODE), element("a", "0..1", STRING))
    reason = {"extension": [{"url": DATA_ABSENT.url, "valueCode": "unknown"}]}
    for extensible, refused in ((True, False), (False, True)):
        for value in ({"resourceType": "X", "_a": reason}, {"resourceType": "X", **reason}):
            walk = Walk({}, extensible)
            walk.resource(value, plain, "X")
            assert bool(walk.reasons) == refused
