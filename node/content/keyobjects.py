"""Key Object Selection Document (PS3.3 A.35.4, PS3.16 TID 2010)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from node.content import tree
from node.content.items import Item
from node.documents import KeyObjects, KeyReference

ROOT: Final = (*tree.ROOT, *tree.EVIDENCE_ROOT, "ContentSequence")
_MODIFIER: Final = "113011"
_DESCRIPTION: Final = "113012"
_SELECTING: Final = frozenset({"IMAGE", "WAVEFORM", "COMPOSITE"})


def read(root: Item) -> KeyObjects:
    """Title, modifiers, description and what it selects; references without a legal UID are left out."""
    found = tree.Tree(root)
    top = list(found.children(found.root))
    modifiers = (found.code(node) for node in top if node.means(_MODIFIER))
    texts = (node.item.text("TextValue") for node in top if node.means(_DESCRIPTION))
    return KeyObjects(
        title=found.root.concept,
        description=next((text for text in texts if text), ""),
        modifiers=tuple(code for code in modifiers if code is not None),
        references=tuple(_references(found)),
        observers=tree.observers(found),
        evidence=tree.evidence(root),
        content=tree.content_moment(root),
    )


def _references(found: tree.Tree) -> Iterator[KeyReference]:
    for node in found.nodes:
        target = found.resolved(node)
        if target.value_type not in _SELECTING:
            continue
        named = target.item.first("ReferencedSOPSequence")
        reference = tree.sop_reference(named)
        if reference is not None:
            # The presentation state of an image stands inside its SOP reference (PS3.3 C.18.4).
            yield KeyReference(node.path, target.value_type, reference, tree.referenced(named))
