"""Which SOP class is which kind of document, and what can be asked of a stored file.

Source: PS3.4 Table B.5-1, edition 2025b; PS3.3 A.35 (reports), A.33 (presentation states), A.51 (segmentation).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Literal

_STORAGE: Final = "1.2.840.10008.5.1.4.1.1."

DocumentKind = Literal[
    "key-objects", "report", "titled-report", "structure-set", "segmentation", "presentation-state"
]
Kind = DocumentKind | Literal["settings"]

# Below 1.2.840.10008.5.1.4.1.1; what ends in a dot stands for every class below it. The first that fits
# decides. Reports of the general classes can hold measurement groups (TID 1500); of the others (procedure
# logs, CAD, dose, the trial classes of old) no more than the title is of use here.
_KINDS: Final[tuple[tuple[str, DocumentKind], ...]] = (
    ("88.59", "key-objects"),
    ("88.11", "report"),
    ("88.22", "report"),
    ("88.33", "report"),
    ("88.34", "report"),
    ("88.35", "report"),
    ("88.", "titled-report"),
    ("481.3", "structure-set"),
    ("66.4", "segmentation"),
    ("66.7", "segmentation"),
    ("11.", "presentation-state"),
)

# Kinds whose files go on with pixel data behind what is read.
WITH_PIXELS: Final[frozenset[Kind]] = frozenset({"settings", "segmentation"})


@lru_cache(maxsize=1024)
def document_kind(sop_class: str) -> DocumentKind | None:
    """The kind of document that a SOP class stores; None for everything else."""
    if not sop_class.startswith(_STORAGE):
        return None
    tail = sop_class.removeprefix(_STORAGE)
    for prefix, kind in _KINDS:
        if tail == prefix or (prefix.endswith(".") and tail.startswith(prefix)):
            return kind
    return None
