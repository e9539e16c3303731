import pytest
from pydicom.dataset import Dataset

from node.content import tree
from node.content.items import Item
from node.errors import ContentUnreadable
from tests.content.made import code, content, document, text


def nested(depth: int) -> Dataset:
    found = content("CONTAINER", "1")
    for _ in range(depth - 2):
        found = content("CONTAINER", "1", [found])
    return document(code("1"), [found], "88.33")


def test_places_in_document_order() -> None:
    inner = content("CONTAINER", "2", [text("3", "a"), text("3", "b")])
    found = tree.Tree(Item(document(code("1"), [inner, text("3", "c")], "88.33")))
    assert [node.path for node in found.nodes] == ["1", "1.1", "1.1.1", "1.1.2", "1.2"]
    assert [node.path for node in found.below(found.root)] == ["1.1", "1.1.1", "1.1.2", "1.2"]


def test_depth_is_bounded() -> None:
    assert len(list(tree.Tree(Item(nested(tree.MAX_DEPTH))).nodes)) == tree.MAX_DEPTH
    with pytest.raises(ContentUnreadable, match="levels deep"):
        tree.Tree(Item(nested(tree.MAX_DEPTH + 2)))


def test_items_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "MAX_ITEMS", 3)
    tree.Tree(Item(document(code("1"), [text("3", "a")] * 2, "88.33")))
    with pytest.raises(ContentUnreadable, match="content items"):
        tree.Tree(Item(document(code("1"), [text("3", "a")] * 3, "88.33")))
