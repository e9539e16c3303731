"""The values that travel along the data path. All frozen: a value is handed on, never shared and changed.

What is made for each object is a named tuple: a frozen dataclass of the same fields takes three times as long.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from node.documents import Document
from node.terms import NO_ISSUER, NO_ZONE, Code, Identifier, Issuer, Moment, Person, Zone

# Decoded attributes of a header: DICOM keyword -> values as they stood in the data set, each a string
# (trimmed of padding, split at backslashes where the VR allows several), a number (binary VRs only), or for
# a sequence the attributes of each item. An element that is present but empty has an empty list.
Attributes = Mapping[str, Sequence[Any]]

State = Literal["open", "held", "complete", "quarantined"]
Reason = Literal["quiet", "max-age", "forced"]


class ObjectKey(NamedTuple):
    """Where an object belongs: three legal UIDs. One SOP Instance UID in two series is two objects."""

    study: str
    series: str
    instance: str


class RawHeader(NamedTuple):
    """What the bounded scan found: tag -> value bytes as sent, encoded as ``implicit``/``little`` say.

    ``shared`` holds what repeats in every instance of a series (``elements.SHARED``): headers with the same values
    may have the very same mapping, so nobody changes it. ``own`` holds the rest, ``size`` counts the bytes of
    all values.
    """

    own: Mapping[int, bytes]
    shared: Mapping[int, bytes]
    implicit: bool
    little: bool
    size: int

    @property
    def elements(self) -> dict[int, bytes]:
        """All of them."""
        return {**self.shared, **self.own}


class Received(NamedTuple):
    """One stored object on its way to the index: a small value that could cross a process boundary.

    ``name`` is the object's name in ``incoming/``, ``size`` the bytes of its data set, ``received_at``
    seconds since the epoch, ``association`` the number of the association that brought it (0: found at start).
    """

    name: str
    key: ObjectKey
    sop_class: str
    transfer_syntax: str
    size: int
    header: RawHeader
    calling_ae: str
    called_ae: str
    received_at: float
    association: int

    def __reduce__(self) -> tuple[Any, ...]:
        # Flat: pickle asks every frozen dataclass with slots for its state, field by field, in Python. One goes
        # from a receiver process to the index for each object: 19 us so, 9 like this.
        key, header = self.key, self.header
        return _received, (
            *(
                self.name,
                key.study,
                key.series,
                key.instance,
                self.sop_class,
                self.transfer_syntax,
                self.size,
            ),
            *(header.own, header.shared, header.implicit, header.little, header.size),
            *(self.calling_ae, self.called_ae, self.received_at, self.association),
        )


def _received(
    name: str,
    study: str,
    series: str,
    instance: str,
    sop_class: str,
    transfer_syntax: str,
    size: int,
    own: Mapping[int, bytes],
    shared: Mapping[int, bytes],
    implicit: bool,
    little: bool,
    header_size: int,
    *sender: Any,
) -> Received:
    """The ``Received`` that ``Received.__reduce__`` took apart."""
    key, header = ObjectKey(study, series, instance), RawHeader(own, shared, implicit, little, header_size)
    return Received(name, key, sop_class, transfer_syntax, size, header, *sender)


@dataclass(frozen=True, slots=True)
class Rejection:
    """A whole object that was not taken, on its way to quarantine; ``detail`` holds no patient data."""

    name: str
    reason: str
    detail: str
    calling_ae: str
    at: float


@dataclass(frozen=True, slots=True)
class HeaderSet:
    """One distinct set of patient, study and series level attributes within one series."""

    id: int
    series: str
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """One indexed instance: its own attributes, and the ``HeaderSet`` that it shares with its neighbours."""

    series: str
    uid: str
    sop_class: str
    transfer_syntax: str
    header: int
    attributes: Attributes
    calling_ae: str


@dataclass(frozen=True, slots=True)
class StudyState:
    """A study as the completion rules see it; times are seconds since the epoch.

    ``version`` is the last one published (0: none yet), ``added`` counts the instances since then, and
    ``first_at`` is when the first of them came. ``deadline`` is None while nothing is waited for.
    """

    uid: str
    state: State
    version: int
    revision: int
    added: int
    first_at: float
    last_at: float
    quiet_seconds: float
    deadline: float | None
    conflict: str | None


@dataclass(frozen=True, slots=True)
class Event:
    """One CloudEvent with the final bytes of its resource; ``attributes`` in the order they are written.

    ``seq`` is its place in the outbox (0 before it has one); ``attributes`` hold everything but ``data``.
    """

    id: str
    output: str
    topic: str
    study: str
    attributes: Mapping[str, str | int]
    data: bytes
    seq: int = 0


# --- A study as the serialisers see it. Strings are decoded and trimmed, otherwise as sent: each target spells
# --- dates, numbers and codes in its own way. An empty string or tuple means absent. Sources: PS3.3, PS3.6.


@dataclass(frozen=True, slots=True)
class Organization:
    """An institution or department: its name, its codes, its address."""

    name: str = ""
    codes: tuple[Code, ...] = ()
    address: str = ""


@dataclass(frozen=True, slots=True)
class Patient:
    """Patient identification and demographics; ``other_ids`` are (0010,1002)."""

    id: str = ""
    issuer: Issuer = NO_ISSUER
    other_ids: tuple[Identifier, ...] = ()
    name: str = ""
    birth_date: str = ""
    sex: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """One item of Request Attributes Sequence (0040,0275)."""

    accession: Identifier | None = None
    study_uid: str = ""
    procedure_id: str = ""
    procedure: str = ""
    procedure_codes: tuple[Code, ...] = ()
    reason: str = ""
    reason_codes: tuple[Code, ...] = ()


@dataclass(frozen=True, slots=True)
class Device:
    """The equipment that made a series; ``station`` is (0008,1010), ``uid`` (0018,1002)."""

    manufacturer: str = ""
    model: str = ""
    serial: str = ""
    software: tuple[str, ...] = ()
    station: str = ""
    uid: str = ""


@dataclass(frozen=True, slots=True)
class BodyPart:
    """One way in which instances of a series name what they show, and how many of them do.

    ``region`` is the first item of Anatomic Region Sequence, ``modifiers`` its (0008,2220), ``examined`` (0018,0015).
    """

    region: Code | None
    modifiers: tuple[Code, ...]
    examined: str
    instances: int


@dataclass(frozen=True, slots=True)
class Labels:
    """What an instance that is no plain image is called; which one is its title depends on the SOP class."""

    concept: Code | None = None
    document_title: str = ""
    content_label: str = ""
    content_description: str = ""
    structure_set_label: str = ""
    structure_set_name: str = ""
    plan_label: str = ""
    dose_summation: str = ""


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance; ``number`` and ``frames`` are IS, ``rows`` is 0 for what is no image, ``zone`` places times
    that are read from its file later."""

    uid: str
    sop_class: str
    number: str = ""
    frames: str = ""
    rows: int = 0
    acquisition: Moment | None = None
    content: Moment | None = None
    image_type: tuple[str, ...] = ()
    laterality: str = ""
    labels: Labels | None = None
    zone: Zone = NO_ZONE


@dataclass(frozen=True, slots=True)
class Series:
    """One series. ``started`` and the three moments behind it are the earliest of its instances.

    ``representative`` is the UID of the image instance that single values of a series are taken from (empty
    without images); ``patient_size`` (m) and ``patient_weight`` (kg) are DS of its header. ``lateralities``
    are the distinct values present. ``settings`` are the imaging settings of the representative's stored file
    (DICOM keyword -> values as sent), None while nobody has read them.
    """

    uid: str
    number: str
    modality: str
    description: str
    description_codes: tuple[Code, ...]
    protocol: str
    started: Moment | None
    pps_started: Moment | None
    acquired: Moment | None
    content: Moment | None
    body_parts: tuple[BodyPart, ...]
    lateralities: tuple[str, ...]
    frame_of_reference: str
    devices: tuple[Device, ...]
    operators: tuple[Person, ...]
    performers: tuple[Person, ...]
    institution: Organization
    department: Organization
    performed_location: str
    specimens: tuple[Identifier, ...]
    requests: tuple[Request, ...]
    patient_size: str
    patient_weight: str
    representative: str
    instances: tuple[Instance, ...]
    settings: Mapping[str, Sequence[str]] | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """Something amiss in the data: a bounded rule name, the DICOM keyword, where (UID), how many instances.

    Never the values: findings are logged and counted (``data_quality_total{rule}``).
    """

    rule: str
    keyword: str
    uid: str
    instances: int


@dataclass(frozen=True, slots=True)
class Study:
    """A study merged from all its instances, the same whatever the order in which they came.

    ``procedure``, ``procedure_id``, ``requested_codes``, ``reasons`` and ``reason_codes`` are the request's
    attributes at the root of the data sets. ``accessions`` has the most frequent first. ``identities`` are the
    distinct patients found: more than one means that the study must not be published as one patient's.
    ``findings`` are the disagreements settled. ``documents`` are what its documents contain, in the order of
    their series and instances, as far as somebody asked for them.
    """

    uid: str
    patient: Patient
    id: str
    accessions: tuple[Identifier, ...]
    started: Moment | None
    description: str
    referrer: Person
    readers: tuple[Person, ...]
    procedure_codes: tuple[Code, ...]
    admitting: tuple[str, ...]
    admitting_codes: tuple[Code, ...]
    admission: Identifier | None
    procedure: str
    procedure_id: str
    requested_codes: tuple[Code, ...]
    reasons: tuple[str, ...]
    reason_codes: tuple[Code, ...]
    requests: tuple[Request, ...]
    institution: Organization
    department: Organization
    performed_location: str
    series: tuple[Series, ...]
    identities: tuple[Identifier, ...]
    findings: tuple[Finding, ...]
    documents: tuple[Document, ...] = ()

    @property
    def instance_count(self) -> int:
        return sum(len(series.instances) for series in self.series)
