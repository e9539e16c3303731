"""AE@HOST:PORT."""

from __future__ import annotations

import pytest

from node.services.send import SendOptions
from node.services.send.address import Address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("PACS@host:104", Address("PACS", "host", 104)),
        ("A B@[::1]:11112", Address("A B", "::1", 11112)),
        ("A@B@host:1", Address("A@B", "host", 1)),
    ],
)
def test_address_reads_what_it_prints(text: str, expected: Address) -> None:
    assert Address.parse(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    "text", ["host:104", "AE@host", "AE@:104", "AE@host:0", "AE@host:65536", "AE@host:x", ""]
)
def test_address_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="AE@HOST:PORT"):
        Address.parse(text)


@pytest.mark.parametrize("title", ["SEVENTEEN-LETTERS", " ", "A\\B", "Ä"])
def test_ae_title_that_is_none(title: str) -> None:
    with pytest.raises(ValueError, match="AE title"):
        Address.parse(f"{title}@host:1")
    with pytest.raises(ValueError, match="AE title"):
        SendOptions(calling_ae=title)
