"""Softcopy presentation states (PS3.3 A.33, C.11): what they are called and which images they are for."""

from __future__ import annotations

from typing import Final

from node.content import references
from node.content.items import Item
from node.documents import PresentationState, When

# Where references by series can stand below the root: blending (C.11.14), advanced blending (C.11.32) whose
# items are themselves such references, volumetric inputs (C.11.23).
_HOLDERS: Final = ("BlendingSequence", "AdvancedBlendingSequence", "VolumetricPresentationStateInputSequence")
ROOT: Final = (
    "SpecificCharacterSet",
    "ReferencedSeriesSequence",
    "ContentLabel",
    "ContentDescription",
    "PresentationCreationDate",
    "PresentationCreationTime",
    *_HOLDERS,
)


def read(root: Item) -> PresentationState:
    """Label, description, moment and references of a presentation state of any class."""
    holders = [item for keyword in _HOLDERS for item in root.items_of(keyword)]
    inside = [item for holder in holders for item in holder.items_of("ReferencedSeriesSequence")]
    return PresentationState(
        label=root.text("ContentLabel"),
        description=root.text("ContentDescription"),
        references=references.by_series([*root.items_of("ReferencedSeriesSequence"), *inside, *holders]),
        created=When(root.text("PresentationCreationDate"), root.text("PresentationCreationTime")),
    )
