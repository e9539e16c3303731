"""Every key of the configuration with its default and what is legal for it; config.py does the reading.

Names and defaults are a contract with users: add, don't rename. ``conf/node.toml`` documents each key.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator
from pydantic_core import PydanticCustomError

from node import legal
from node.fhir.options import CONTENT_LISTS, FhirOptions
from node.legal import (
    Bytes,
    CharacterSet,
    Count,
    ExistingFile,
    Name,
    Network,
    Port,
    RequiredFile,
    Seconds,
    ServiceName,
    System,
    TimeZone,
    Title,
    TitlePattern,
    Topic,
    WebRoot,
)

T = TypeVar("T")


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
    receivers: legal.Receivers = "auto"
    max_associations: Annotated[int, legal.number, Field(ge=1, le=10_000)] = 100
    # PS3.8 D.1 sets no least value; below 4096 a command set may not fit in one PDU
    max_pdu: Annotated[int, legal.number, Field(ge=4096, le=16 * 1024 * 1024)] = 131072
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
    max_associations: Annotated[int, legal.number, Field(ge=0, le=10_000)] = 0
    username: str = ""
    password: SecretStr = SecretStr("")

    def problems(self) -> Iterator[tuple[str, str]]:
        if self.password.get_secret_value() and not self.username:
            yield "username", "is needed with password"


class Objects(Table):
    """The object store."""

    url: Annotated[str, AfterValidator(legal.local_path)] = ""
    durability: Literal["fsync", "none"] = "fsync"
    on_duplicate: Literal["keep", "replace", "reject"] = "keep"
    min_free_bytes: Bytes = 5_000_000_000


class Index(Table):
    """The index."""

    url: Annotated[str, AfterValidator(legal.index_url)] = ""


class Retention(Table):
    """What may be deleted; nothing by default. Same as ``node.retention.RetentionOptions``."""

    max_age_days: Annotated[float, legal.number, Field(ge=0, allow_inf_nan=False)] = 0
    min_free_bytes: Bytes = 0
    keep_index: bool = True


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
    profile: Annotated[str, AfterValidator(legal.profile)]
    topic: Topic


class Kafka(Table):
    """How to reach the broker; names as in Kafka's own clients, with underscores."""

    bootstrap_servers: Annotated[str, AfterValidator(legal.broker_list)] = "localhost:9092"
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
    create_topics: bool = False
    partitions: Annotated[int, legal.number, Field(ge=1, le=10_000)] = 3
    replication_factor: Annotated[int, legal.number, Field(ge=0, le=32_767)] = 0
    max_request_size: Annotated[int, legal.number, Field(ge=100_000)] = 16 * 1024 * 1024
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
    max_event_bytes: Annotated[int, legal.number, Field(ge=10_000)] = 900_000
    kafka: Kafka = Kafka()


class Endpoint(Table):
    """Where consumers get the images; same as ``node.fhir.options.EndpointOptions``."""

    connection_type: Literal["dicom-wado-rs", "ihe-iid"] = "dicom-wado-rs"
    name: str = ""
    address: WebRoot = ""


class References(Table):
    """Literal references; same as ``node.fhir.options.ReferenceTemplates``."""

    patient: Annotated[str, *legal.literal("Patient", "patient_id")] = ""
    service_request: Annotated[str, *legal.literal("ServiceRequest", "accession")] = ""
    encounter: Annotated[str, *legal.literal("Encounter", "admission_id")] = ""


class ReasonReference(Table):
    """Osiris' reasonReference; same as ``node.fhir.options.ReasonReference``."""

    mode: Literal["logical", "literal", "contained"] = "logical"
    system: System = ""
    value: Annotated[str, legal.template("accession", "study_uid")] = ""


class Osiris(Table):
    """Output ``osiris``; same as ``node.fhir.options.OsirisOptions``."""

    missing: Literal["data-absent", "sentinel"] = "data-absent"
    reason_reference: Annotated[ReasonReference, BeforeValidator(legal.mode_alone)] = ReasonReference()


class Selections(Table):
    """Output ``imagingselection``; same as ``node.fhir.options.SelectionOptions``."""

    rtstruct_sopclass: Literal["profile", "dicom"] = "profile"
    identifier_system: System = ""


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
    availability: Literal["", "ONLINE", "OFFLINE", "NEARLINE", "UNAVAILABLE"] = ""
    bodysite_display_only: bool = False
    imr_endpoint_address_template: Annotated[str, legal.template("study_uid")] = ""
    instance_urls: bool = False
    rtstruct_mode: Literal["instance", "roi"] = "instance"
    seg_mode: Literal["segment", "instance"] = "segment"
    kos_skip_titles: tuple[str, ...] = CONTENT_LISTS
    sr_document_selection: bool = False
    max_coordinates: Count = 20_000
    max_selections: Count = 5_000
    endpoint: Endpoint = Endpoint()
    references: References = References()
    osiris: Osiris = Osiris()
    sel: Selections = Selections()

    def options(self) -> FhirOptions:
        """As the value that the serialisers take."""
        return _as(FhirOptions, self)


def _as(kind: type[T], table: Table) -> T:
    """A table as the dataclass ``kind``, tables inside it as the dataclasses of its fields."""
    defaults: Any = kind()
    return kind(
        **{
            name: _as(type(getattr(defaults, name)), value) if isinstance(value, Table) else value
            for name, value in table
        }
    )


class Http(Table):
    """The HTTP listener; ``allowed_hosts`` are names that Host may have besides addresses and localhost,
    ``public_url`` is where consumers of events reach it, ``show_identifiers`` whether what people look at tells who
    the patient is."""

    host: str = "127.0.0.1"
    port: Port = 8042
    public_url: WebRoot = ""
    token: SecretStr = SecretStr("")
    allowed_hosts: tuple[str, ...] = ()
    show_identifiers: bool = False

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
