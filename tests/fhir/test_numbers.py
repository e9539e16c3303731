from __future__ import annotations

import re
from decimal import Decimal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.fhir import numbers


@pytest.mark.parametrize(
    ("raw", "integer", "decimal"),
    [
        ("1.50", b"2", b"1.5"),
        ("0.1", b"0", b"0.1"),
        ("2.5", b"2", b"2.5"),
        ("3.5", b"4", b"3.5"),
        ("-2.5", b"-2", b"-2.5"),
        (" 120.0 ", b"120", b"120.0"),
        ("+7", b"7", b"7"),
        (".5", b"0", b"0.5"),
        ("1E3", b"1000", b"1000"),
        ("1.5e-3", b"0", b"0.0015"),
        ("-0", b"0", b"0"),
        ("-0.0", b"0", b"0.0"),
        ("1e-7", b"0", None),
        ("1e-05", b"0", b"0.00001"),
        ("2147483647.4", b"2147483647", b"2147483647.4"),
        ("2147483648", None, b"2147483648"),
        ("-2147483648", b"-2147483648", b"-2147483648"),
        ("1e18", None, b"1000000000000000000"),
        ("1e19", None, None),
        ("1e22", None, None),
        ("1e999", None, None),
        ("9" * 65, None, None),
        ("12345678901234.5", None, b"12345678901234.5"),
        ("1234567890123456.5", None, None),
        ("nan", None, None),
        ("Infinity", None, None),
        ("1_000", None, None),
        ("１２", None, None),
        ("1,5", None, None),
        ("", None, None),
    ],
)
def test_numbers(raw: str, integer: bytes | None, decimal: bytes | None) -> None:
    found = numbers.number(raw)
    whole, exact = numbers.integer(found), numbers.decimal(found)
    assert (None if whole is None else orjson.dumps(whole)) == integer
    assert (None if exact is None else orjson.dumps(exact)) == decimal


_PLAIN = re.compile(rb"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
LIKE_NUMBERS = st.one_of(
    st.from_regex(r"[+-]?[0-9]{0,10}(\.[0-9]{0,5})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
    st.floats(allow_nan=True).map(repr),
    st.text(max_size=16),
)


@given(LIKE_NUMBERS)
def test_any_text_is_an_exact_number_or_none(raw: str) -> None:
    found = numbers.number(raw)
    exact, whole = numbers.decimal(found), numbers.integer(found)
    if exact is not None:
        written = orjson.dumps(exact)
        assert _PLAIN.fullmatch(written)
        assert found is not None
        assert abs(Decimal(written.decode()) - found) <= abs(found) * Decimal("1e-15")
    if whole is not None:
        assert found is not None
        assert abs(Decimal(whole) - found) <= Decimal("0.5")
        assert -(2**31) <= whole < 2**31
