"""Every key of the configuration with its default and what is legal for it; config.py does the reading.

Names and defaults are a contract with users: add, don't rename. ``conf/node.toml`` documents each key.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator
from pydantic_core import PydanticCustomError

from node.fhir.targets import PROFILES

LATER_PROFILES: Final = ("imr", "osiris", "dstu1", "imagingselection")

# Defined terms of Specific Character Set, PS3.3 C.12.1.1.2
CHARACTER_SETS: Final = frozenset(
    {f"ISO_IR {n}" for n in (13, 100, 101, 109, 110, 126, 127, 138, 144, 148, 166, 192, 203)}
    | {
        f"ISO 2022 IR {n}"
        for n in (6, 13, 58, 87, 100, 101, 109, 110, 126, 127, 138, 144, 148, 149, 159, 166, 203)
    }
    | {"ISO_IR 6", "GB18030", "GBK"}
)


def _not_a_truth_value(value: Any) -> Any:
    """Python counts True as 1; whoever writes ``port = true`` did not mean port 1."""
    if isinstance(value, bool):
        raise ValueError("is a number, not true or false")
    return value


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


def _local_path(value: str) -> str:
    scheme = urlsplit(value).scheme if "://" in value else ""
    if scheme not in ("", "file"):
        raise ValueError(f"{scheme}:// is not supported by this version: give a path or file:// URL")
    return value.removeprefix("file://")


def _index_url(value: str) -> str:
    if value and not re.fullmatch(r"sqlite:///[^?]+", value):
        scheme = value.partition(":")[0] if "://" in value else ""
        said = f"{scheme}:// is not supported by this version" if scheme else "is not a URL"
        raise ValueError(f"{said}: give sqlite:/// and a path, or leave it empty")
    return value


def _profile(value: str) -> str:
    if value not in PROFILES:
        known = " or ".join(PROFILES)
        said = "comes with a later version" if value in LATER_PROFILES else "is not a profile"
        raise ValueError(f"{value!r} {said}; this version has {known}")
    return value


def _broker_list(value: str) -> str:
    for broker in value.split(","):
        host, _, port = broker.strip().rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError(f"{broker.strip()!r} is not HOST:PORT")
    return value


def _existing_file(value: str) -> str:
    if value and not Path(value).is_file():
        raise ValueError(f"there is no file {value!r}")
    return value


_number = BeforeValidator(_not_a_truth_value)
Port = Annotated[int, _number, Field(ge=0, le=65535)]
Count = Annotated[int, _number, Field(ge=1)]
Bytes = Annotated[int, _number, Field(ge=0)]
Seconds = Annotated[float, _number, Field(gt=0, allow_inf_nan=False)]
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


class Table(BaseModel):
    """A table of the configuration: frozen, no unknown keys; ``problems`` finds what no single key shows."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    def problems(self) -> Iterator[tuple[str, str]]:
        """Key and message of every fault between keys of this table."""
        return iter(())

    @model_validator(mode="after")
    def _together(self) -> Self:
        found = tuple(self.problems())
        if found:
            raise PydanticCustomError("between_keys", "keys contradict each other", {"problems": found})
        return self


class Timeouts(Table):
    """Seconds that a peer has, each counted from its start (contract: what bad input gets)."""

    handshake: Seconds = 30
    idle: Seconds = 60
    transfer: Seconds = 30


class Tls(Table):
    """Server side TLS (PS3.15 B); ``client_ca`` makes it mutual."""

    certificate: RequiredFile
    key: RequiredFile
    key_password: SecretStr = SecretStr("")
    client_ca: ExistingFile = ""


class Dicom(Table):
    """The DICOM listener."""

    ae_title: Title = "DICOMFHIR"
    aliases: tuple[Title, ...] = ()
    host: str = "0.0.0.0"
    port: Port = 11112
    max_associations: Annotated[int, _number, Field(ge=1, le=10_000)] = 100
    # PS3.8 D.1 sets no least value; below 4096 a command set may not fit in one PDU
    max_pdu: Annotated[int, _number, Field(ge=4096, le=16 * 1024 * 1024)] = 131072
    max_find_answers: Count = 10_000
    unknown_peers: tuple[ServiceName, ...] = ("echo", "store")
    timeouts: Timeouts = Timeouts()
    tls: Tls | None = None


class PeerTable(Table):
    """One known caller."""

    ae_title: TitlePattern
    address: Network = ""
    services: tuple[ServiceName, ...] = ("echo", "store", "find")
    timezone: TimeZone = ""
    charset: CharacterSet = ""


class Objects(Table):
    """The object store."""

    url: Annotated[str, AfterValidator(_local_path)] = ""
    durability: Literal["fsync", "none"] = "fsync"
    on_duplicate: Literal["keep", "replace", "reject"] = "keep"
    min_free_bytes: Bytes = 5_000_000_000


class Index(Table):
    """The index."""

    url: Annotated[str, AfterValidator(_index_url)] = ""


class CompletionRule(Table):
    """A quiet period of its own for some studies; an empty selector matches everything."""

    called_ae: Annotated[str, Field(max_length=64)] = ""
    calling_ae: Annotated[str, Field(max_length=64)] = ""
    modality: Annotated[str, Field(max_length=64)] = ""
    quiet_seconds: Seconds

    def problems(self) -> Iterator[tuple[str, str]]:
        if not (self.called_ae or self.calling_ae or self.modality):
            yield "modality", "a rule needs at least one of called_ae, calling_ae, modality"


class Completion(Table):
    """When a study is complete; rules are tried in order, the first match wins."""

    quiet_seconds: Seconds = 60
    max_seconds: Seconds = 7200
    rules: tuple[CompletionRule, ...] = ()

    def problems(self) -> Iterator[tuple[str, str]]:
        longest = f"is longer than max_seconds = {self.max_seconds:g}"
        if self.quiet_seconds > self.max_seconds:
            yield "quiet_seconds", f"{self.quiet_seconds:g} {longest}"
        for number, rule in enumerate(self.rules, 1):
            if rule.quiet_seconds > self.max_seconds:
                yield "quiet_seconds", f"{rule.quiet_seconds:g} of rule {number} {longest}"


class Output(Table):
    """One kind of event: ``name`` is part of its id."""

    name: Name
    profile: Annotated[str, AfterValidator(_profile)]
    topic: Topic


class Kafka(Table):
    """How to reach the broker; names as in Kafka's own clients, with underscores."""

    bootstrap_servers: Annotated[str, AfterValidator(_broker_list)] = "localhost:9092"
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    sasl_username: str = ""
    sasl_password: SecretStr = SecretStr("")
    ssl_cafile: ExistingFile = ""
    ssl_certfile: ExistingFile = ""
    ssl_keyfile: ExistingFile = ""
    ssl_password: SecretStr = SecretStr("")
    client_id: Name = "dicom-fhir-node"
    compression: Literal["none", "gzip", "lz4", "zstd"] = "lz4"
    exactly_once: bool = True
    transactional_id: Annotated[str, Field(max_length=249)] = ""
    max_request_size: Annotated[int, _number, Field(ge=100_000)] = 16 * 1024 * 1024
    request_timeout_seconds: Seconds = 30

    def problems(self) -> Iterator[tuple[str, str]]:
        if self.security_protocol.startswith("SASL"):
            if not self.sasl_username:
                yield "sasl_username", f"is needed with security_protocol = {self.security_protocol}"
            if not self.sasl_password.get_secret_value():
                yield "sasl_password", f"is needed with security_protocol = {self.security_protocol}"
        if self.ssl_keyfile and not self.ssl_certfile:
            yield "ssl_certfile", "is needed with ssl_keyfile"


class Events(Table):
    """Where events go."""

    sink: Literal["ndjson", "kafka"] = "ndjson"
    path: str = ""
    max_event_bytes: Annotated[int, _number, Field(ge=10_000)] = 900_000
    kafka: Kafka = Kafka()


class Fhir(Table):
    """What the resources say; the same names and defaults as ``node.fhir.options.FhirOptions``."""

    default_timezone: TimeZone = ""
    issuers: dict[str, System] = Field(default_factory=dict)
    default_patient_id_system: System = ""
    default_accession_system: System = ""
    study_id_system: System = ""
    wado_rs_base: WebRoot = ""
    include_names: bool = False
    include_instances: bool = True
    title_from_image_type: bool = False
    generate_narrative: bool = False
    on_patient_conflict: Literal["quarantine", "majority"] = "quarantine"
    require_patient_id: bool = False
    coding_schemes: dict[str, System] = Field(default_factory=dict)
    admitting_dx_as_reason: bool = False
    protocol_as_description: bool = False
    source: System = ""


class Http(Table):
    """The HTTP listener; ``allowed_hosts`` are names that Host may have besides addresses and localhost."""

    host: str = "127.0.0.1"
    port: Port = 8042
    token: SecretStr = SecretStr("")
    allowed_hosts: tuple[str, ...] = ()

    def problems(self) -> Iterator[tuple[str, str]]:
        if not is_loopback(self.host) and not self.token.get_secret_value():
            yield "token", f"is needed when host is not loopback ({self.host}): operator commands ask for it"


class Log(Table):
    """What is written to stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``; a name other than localhost may be anything."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
