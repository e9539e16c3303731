"""A resource as a tree that folds: all of it, or bounded and saying so; identifiers masked."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.web.pages import tree as subject
from node.web.pages.tree import Node, tree
from tests.web.pages.samples import NASTY


def nodes(value: dict[str, Any], masked: bool = False) -> list[Node]:
    return tree(orjson.dumps(value), masked).nodes


def leaves(found: list[Node]) -> list[str]:
    return [text for node in found for text in ([node.value] if node.value else leaves(node.children))]


def test_elements_in_their_order_with_their_kinds() -> None:
    found = nodes({"resourceType": "ImagingStudy", "n": 2, "b": True, "x": None, "list": [{"uid": "1.2"}]})
    assert [(node.name, node.kind, node.value) for node in found] == [
        ("resourceType", "string", "ImagingStudy"),
        ("n", "number", "2"),
        ("b", "boolean", "true"),
        ("x", "null", "null"),
        ("list", "array", ""),
    ]
    assert found[-1].hint == "1"
    assert (found[-1].children[0].name, found[-1].children[0].hint) == ("[0]", "1.2")


def test_a_long_list_is_cut_and_says_so() -> None:
    found = tree(orjson.dumps({"series": list(range(40))}))
    assert found.cut
    assert len(found.nodes[0].children) == subject.MAX_ITEMS + 1
    assert found.nodes[0].children[-1].value == "and 28 more"


def test_a_resource_that_is_too_long_is_not_read() -> None:
    found = tree(b"x" * (subject.MAX_BYTES + 1))
    assert found.nodes == []
    assert "1,000,001 bytes" in found.cut


def test_a_whole_resource_is_not_cut() -> None:
    assert tree(orjson.dumps({"a": [1, 2], "b": {"c": "d"}})).cut == ""


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=4), inner, max_size=8),
    max_leaves=30,
)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text(max_size=4), json_values, max_size=8), st.booleans())
def test_any_json_is_bounded(value: dict[str, Any], masked: bool) -> None:
    def size(found: list[Node]) -> int:
        return sum(1 + size(node.children) for node in found)

    assert size(nodes(value, masked)) <= subject.MAX_NODES + subject.MAX_NODES // subject.MAX_ITEMS + 1


def test_many_elements_and_deep_ones_are_bounded() -> None:
    wide = {f"e{number}": number for number in range(5000)}
    assert len(nodes(wide)) == subject.MAX_NODES
    deep: Any = "end"
    for _ in range(200):
        deep = {"down": deep}
    assert tree(orjson.dumps(deep)).cut


PERSON = {
    "subject": {"reference": "Patient/P-123456", "display": "Doe^Jane", "identifier": {"value": "P-123456"}},
    "identifier": [
        {"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"},
        {"type": {"coding": [{"code": "ACSN", "display": "Accession ID"}]}, "value": "ACC-778899"},
    ],
    "basedOn": [{"identifier": {"value": "ORDER-55"}}],
    "performer": [{"actor": {"display": "House^Gregory"}}],
    "accession": {"value": "ACC-778899"},
    "contained": [{"resourceType": "Patient", "name": [{"family": "Doe"}], "birthDate": "1980-02-29"}],
    "text": {"status": "generated", "div": "<div>Jane Doe</div>"},
    "description": "CT head",
}


def test_identifiers_are_masked_and_uids_and_codes_are_not() -> None:
    shown = " ".join(leaves(nodes(PERSON, masked=True)))
    hints = str(nodes(PERSON, masked=True))
    for secret in ("P-123456", "Doe", "ACC-778899", "ORDER-55", "House", "1980", "Jane"):
        assert secret not in shown
        assert secret not in hints
    for told in ("urn:oid:1.2.3", "Accession ID", "CT head", "••••99", "generated"):
        assert told in shown


def test_nothing_is_masked_when_identifiers_are_shown() -> None:
    shown = " ".join(leaves(nodes(PERSON)))
    for told in ("P-123456", "Doe^Jane", "ACC-778899", "House^Gregory", "1980-02-29"):
        assert told in shown


@pytest.mark.parametrize("value", [NASTY, "\u0000\u202e", "x" * 5000])
def test_text_stays_text(value: str) -> None:
    (found,) = nodes({"description": value})
    assert found.value == (value if len(value) <= subject.MAX_TEXT else f"{value[: subject.MAX_TEXT]}…")
