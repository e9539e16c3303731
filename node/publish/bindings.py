"""The two modes of a CloudEvent on the wire; the resource's bytes pass through both untouched."""

from __future__ import annotations

import orjson

from node.model import Event


def structured(event: Event) -> bytes | None:
    """The event as one line, line feed included; None when its resource holds a line break.

    CloudEvents 1.0 JSON Event Format, 3.1: ``data`` is a JSON value, because the content type ends in +json.
    """
    if b"\n" in event.data or b"\r" in event.data:
        return None
    return orjson.dumps(dict(event.attributes))[:-1] + b',"data":' + event.data + b"}\n"


def headers(event: Event) -> list[tuple[str, bytes]]:
    """CloudEvents Kafka binding 1.0.2, 3.2: every attribute with ``ce_``, but for the content type."""
    return [
        ("content-type" if name == "datacontenttype" else f"ce_{name}", str(value).encode())
        for name, value in event.attributes.items()
    ]
