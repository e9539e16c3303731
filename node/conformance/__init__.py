"""What the node promises to those outside, made from its own tables.

``statement`` is the DICOM Conformance Statement (PS3.2). ``events`` and ``asyncapi`` are what consumers read: JSON
Schemas of an event's attributes, and the AsyncAPI description of the topics; ``examples`` are events of the demo
study. ``python -m node.conformance`` writes the committed copies.
"""

from node.conformance.document import statement

__all__ = ["statement"]
