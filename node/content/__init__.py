"""What a stored file contains (pure: an open file in, values of ``documents`` out; no clock, no paths).

``kinds`` tells which SOP class is which document; ``parse`` of ``reading`` is the step, over ``skipping`` and
``items``, the data set as decoded attributes. One file a kind makes the values: ``settings``; ``keyobjects``
and ``reports`` over the content ``tree``; ``structures``; ``segmentations`` and ``presentations`` over
``references``.
"""

from node.content.kinds import DocumentKind, Kind, document_kind
from node.content.reading import parse
from node.content.settings import Settings

__all__ = ["DocumentKind", "Kind", "Settings", "document_kind", "parse"]
