"""FHIR's integer and decimal from DICOM's numbers, written in JSON exactly and without exponent.

Sources: PS3.5 6.2 (DS, IS), https://hl7.org/fhir/R4/datatypes.html#decimal. Floats are written by orjson as the
shortest decimal that gives them back, with an exponent below 1e-5 and from 1e16 on: such numbers are none here.
"""

from __future__ import annotations

import re
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

_INT32: Final = 2**31
_INT64: Final = 2**63
_NUMBER: Final = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?\Z")


def number(raw: str) -> Decimal | None:
    """DS, IS, or a binary number as text (PS3.5 6.2); None for what is none or beyond all measure."""
    text = raw.strip()
    if len(text) > 64 or not _NUMBER.match(text):
        return None
    found = Decimal(text)
    return found if -20 <= found.adjusted() <= 20 or not found else None


def integer(found: Decimal | None) -> int | None:
    """FHIR integer: rounded half to even, 32 bits."""
    if found is None:
        return None
    whole = int(found.to_integral_value(ROUND_HALF_EVEN))
    return whole if -_INT32 <= whole < _INT32 else None


def decimal(found: Decimal | None) -> int | float | None:
    """FHIR decimal as a JSON number without exponent: digits as sent; None where floats need an exponent."""
    if found is None:
        return None
    exponent = found.as_tuple().exponent
    if isinstance(exponent, int) and exponent >= 0:
        return int(found) if abs(found) < _INT64 else None
    near = float(found) or 0.0  # never -0.0
    return near if not near or 1e-5 <= abs(near) < 1e15 else None
