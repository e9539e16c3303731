"""What is legal for a value of the configuration: one type a kind of value, each with its own message."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field

from node.fhir.targets import PROFILES

# Defined terms of Specific Character Set, PS3.3 C.12.1.1.2
CHARACTER_SETS: Final = frozenset(
    {f"ISO_IR {n}" for n in (13, 100, 101, 109, 110, 126, 127, 138, 144, 148, 166, 192, 203)}
    | {
        f"ISO 2022 IR {n}"
        for n in (6, 13, 58, 87, 100, 101, 109, 110, 126, 127, 138, 144, 148, 149, 159, 166, 203)
    }
    | {"ISO_IR 6", "GB18030", "GBK"}
)
# What pydantic says in words of Python
IN_WORDS_OF_TOML: Final = {
    "path_type": "should be a path in quotes",
    "string_type": "should be a text in quotes",
    "tuple_type": 'should be an array: ["...", "..."]',
    "dict_type": 'should be a table: {"..." = "..."}',
    "model_type": "should be a table",
    "int_type": "should be a whole number",
    "int_parsing": "should be a whole number",
    "int_from_float": "should be a whole number",
    "float_type": "should be a number",
    "float_parsing": "should be a number",
    "bool_type": "should be true or false",
    "bool_parsing": "should be true or false",
}


def _not_a_truth_value(value: Any) -> Any:
    """Python counts True as 1; whoever writes ``port = true`` did not mean port 1."""
    if isinstance(value, bool):
        raise ValueError("is a number, not true or false")
    return value


def _receivers(value: Any) -> Any:
    """Of a union pydantic would tell one fault for each of its members, in words of its own."""
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    if number != "auto" and (type(number) is not int or not 0 <= number <= 32):
        raise ValueError(f'should be "auto" or a whole number from 0 to 32, not {value!r}')
    return number


def _text(legal: Callable[[str], bool], what: str) -> AfterValidator:
    def check(value: str) -> str:
        if not legal(value):
            raise ValueError(f"{value!r} is not {what}")
        return value

    return AfterValidator(check)


def _is_ae_title(value: str) -> bool:
    # PS3.5 6.2, VR AE: default repertoire without control characters and backslash, not only spaces
    return bool(value.strip(" ")) and re.fullmatch(r"[ -\[\]-~]{1,16}", value) is not None


def _is_ae_pattern(value: str) -> bool:
    return bool(value.strip(" ")) and re.fullmatch(r"[ -\[\]-~]{1,64}", value) is not None


def _is_time_zone(value: str) -> bool:
    if not value:
        return True
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _is_character_set(value: str) -> bool:
    return not value or all(term.strip() in CHARACTER_SETS or not term for term in value.split("\\"))


def _is_web_root(value: str) -> bool:
    parts = urlsplit(value)
    return not value or (parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query)


def _is_system(value: str) -> bool:
    # FHIR R5 Identifier.system and Coding.system: an absolute URI (RFC 3986: a scheme, then no white space)
    return not value or re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s]+", value) is not None


def _network(value: str) -> str:
    if not value:
        return value
    try:
        written = ipaddress.ip_interface(value)
    except ValueError:
        raise ValueError(f"{value!r} is not an IP address or network such as 10.0.0.0/8") from None
    if written.ip != written.network.network_address:
        raise ValueError(f"{value!r} has bits set behind its prefix, did you mean {str(written.network)!r}?")
    return str(written.network)


def local_path(value: str) -> str:
    scheme = urlsplit(value).scheme if "://" in value else ""
    if scheme not in ("", "file"):
        raise ValueError(f"{scheme}:// is not supported by this version: give a path or file:// URL")
    return value.removeprefix("file://")


def index_url(value: str) -> str:
    if value and not re.fullmatch(r"sqlite:///[^?]+", value):
        scheme = value.partition(":")[0] if "://" in value else ""
        said = f"{scheme}:// is not supported by this version" if scheme else "is not a URL"
        raise ValueError(f"{said}: give sqlite:/// and a path, or leave it empty")
    return value


def profile(value: str) -> str:
    if value not in PROFILES:
        raise ValueError(f"{value!r} is not a profile; there are {', '.join(PROFILES)}")
    return value


def broker_list(value: str) -> str:
    for broker in value.split(","):
        host, _, port = broker.strip().rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError(f"{broker.strip()!r} is not HOST:PORT")
    return value


def _existing_file(value: str) -> str:
    if value and not Path(value).is_file():
        raise ValueError(f"there is no file {value!r}")
    return value


def template(*names: str) -> AfterValidator:
    """Checks a text with placeholders: only ``names``, in braces."""

    def check(value: str) -> str:
        try:
            found = [name for _, name, _, _ in Formatter().parse(value) if name is not None]
        except ValueError as error:
            raise ValueError(f"{value!r} is not a template: {error}") from None
        unknown = [name for name in found if name not in names]
        if unknown:
            known = " and ".join(f"{{{name}}}" for name in names)
            raise ValueError(f"{value!r} has {{{unknown[0]}}}; it may have {known}")
        return value

    return AfterValidator(check)


def literal(kind: str, name: str) -> tuple[AfterValidator, AfterValidator]:
    placeholder = f"{{{name}}}"
    legal = re.compile(rf"(\S+/)?{kind}/\S*{re.escape(placeholder)}\S*")
    shape = _text(lambda value: not value or legal.fullmatch(value) is not None, f"like {kind}/{placeholder}")
    return template(name), shape


def mode_alone(value: Any) -> Any:
    """``reason_reference = "contained"`` is short for its table with only a mode."""
    return {"mode": value} if isinstance(value, str) else value


number = BeforeValidator(_not_a_truth_value)
Receivers = Annotated[Literal["auto"] | int, BeforeValidator(_receivers)]
Port = Annotated[int, number, Field(ge=0, le=65535)]
Count = Annotated[int, number, Field(ge=1)]
Bytes = Annotated[int, number, Field(ge=0)]
Seconds = Annotated[float, number, Field(gt=0, allow_inf_nan=False)]
Title = Annotated[
    str, _text(_is_ae_title, "an AE title: 1 to 16 printable ASCII characters, no backslash (PS3.5 6.2)")
]
TitlePattern = Annotated[
    str, _text(_is_ae_pattern, "a pattern for AE titles: printable ASCII, no backslash, * and ? allowed")
]
Network = Annotated[str, AfterValidator(_network)]
TimeZone = Annotated[str, _text(_is_time_zone, "an IANA time zone such as Europe/Paris")]
CharacterSet = Annotated[str, _text(_is_character_set, "a defined term of PS3.3 C.12.1.1.2")]
System = Annotated[str, _text(_is_system, "a URI such as urn:oid:1.2.3 or http://example.org/id")]
WebRoot = Annotated[str, _text(_is_web_root, "an http:// or https:// URL without a query")]
ExistingFile = Annotated[str, AfterValidator(_existing_file)]
RequiredFile = Annotated[ExistingFile, Field(min_length=1)]
Name = Annotated[
    str,
    _text(
        lambda value: re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", value) is not None,
        "a name of letters, digits, dot, underscore and hyphen, 64 at most (it is part of event ids)",
    ),
]
# org.apache.kafka.common.internals.Topic: 249 characters, neither . nor ..
Topic = Annotated[
    str,
    _text(
        lambda value: re.fullmatch(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}", value) is not None,
        "a topic name: letters, digits, dot, underscore and hyphen, 249 at most",
    ),
]
ServiceName = Literal["echo", "store", "find"]
