from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import charset as pydicom_charset

from node.extract import charset

# PS3.5 Annexes H, I, J, K: the standard's own examples of a person's name.
JAPANESE = (
    b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
    ("", "ISO 2022 IR 87"),
    "Yamada^Tarou=山田^太郎=やまだ^たろう",
)
HALF_WIDTH = (
    b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J",
    ("ISO 2022 IR 13", "ISO 2022 IR 87"),
    "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎",
)
KOREAN = (
    b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
    ("", "ISO 2022 IR 149"),
    "Hong^Gildong=洪^吉洞=홍^길동",
)
CHINESE = (
    "Wang^XiaoDong=王^小东=".encode("gb18030"),
    ("GB18030",),
    "Wang^XiaoDong=王^小东=",
)
CHINESE_2022 = (
    b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=",
    ("", "ISO 2022 IR 58"),
    "Zhang^XiaoDong=张^小东=",
)
TWO_SETS = (
    b"Dionysios is \x1b-F\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2",
    ("ISO 2022 IR 100", "ISO 2022 IR 126"),
    "Dionysios is Διονυσιος",
)


@pytest.mark.parametrize(
    ("raw", "terms", "expected"), [JAPANESE, HALF_WIDTH, KOREAN, CHINESE, CHINESE_2022, TWO_SETS]
)
def test_the_examples_of_the_standard(raw: bytes, terms: tuple[str, ...], expected: str) -> None:
    codecs = charset.codecs_of(terms)
    assert charset.decode(raw, codecs, charset.NAME_DELIMITERS) == expected


@pytest.mark.parametrize(
    ("terms", "fallback", "expected"),
    [
        ((), None, ("iso8859",)),
        (("",), None, ("iso8859",)),
        ((), "ISO_IR 100", ("latin_1",)),
        (("",), "\\ISO 2022 IR 87", ("iso8859", "iso2022_jp")),
        (("ISO_IR 192",), "ISO_IR 100", ("UTF8",)),
        (("ISO-IR 100",), None, ("latin_1",)),
        (("iso_ir_144",), None, ("iso_ir_144",)),
        (("UTF-8",), None, ("UTF8",)),
        (("klingon",), None, ("iso8859",)),
        (("zlib", "rot13"), None, ("iso8859", "iso8859")),
        (("ISO_IR 192", "ISO 2022 IR 87"), None, ("UTF8",)),
        (("", "GB18030"), None, ("iso8859",)),
    ],
)
def test_terms(terms: tuple[str, ...], fallback: str | None, expected: tuple[str, ...]) -> None:
    assert charset.codecs_of(terms, fallback) == expected


def test_every_defined_term_has_a_codec_that_exists() -> None:
    for term in filter(None, pydicom_charset.python_encoding):
        for codec in charset.codecs_of((term,)):
            assert b"A".decode(codec) == "A"


def test_unknown_escape_sequences_leave_no_trace() -> None:
    assert charset.decode(b"A\x1b$)ZB\x1bC", ("iso8859",)) == "AB"


def test_a_delimiter_ends_a_switched_set() -> None:
    raw = b"\x1b-F\xc4\\\xc4"
    assert charset.decode(raw, ("latin_1", "iso_ir_126")) == "Δ\\Ä"


def test_a_truncated_sequence_is_replaced() -> None:
    assert charset.decode("é".encode()[:1], ("UTF8",)) == "�"
    assert "\x1b" not in charset.decode(b"\x1b$B;", ("iso8859", "iso2022_jp"))


@given(st.binary(max_size=64), st.sampled_from(sorted(filter(None, pydicom_charset.python_encoding))))
def test_any_bytes_decode_without_escapes_of_a_known_form(raw: bytes, term: str) -> None:
    text = charset.decode(raw, charset.codecs_of((term, "ISO 2022 IR 87")))
    text.encode("utf8")
    assert "\x1b" not in text
