"""Raw elements of a header become attributes (pure): ``attributes`` is the step, the rest is what it needs."""

from node.extract.attributes import digest, encoded_own, own, shared

__all__ = ["digest", "encoded_own", "own", "shared"]
