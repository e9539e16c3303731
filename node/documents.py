"""What documents contain, as read from their stored files: key objects, reports, structure sets, segmentations,
presentation states. All frozen, nothing interpreted for a target yet.

Strings are decoded and trimmed, otherwise as sent; UIDs and numbers that are not legal are left out by the
reader. Numbers of coordinates are Python floats, already the shortest that round-trips as float32 where the
VR was FL. Sources: PS3.3 A.35 (documents), C.8.8 (RT), C.8.20 (segmentation), C.11 (presentation states),
PS3.16 TID 1500 and 2010.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from node.terms import NOBODY, Code, Person

# What a target needs of the stored files, beside what the index knows: the imaging settings of each series,
# everything that documents contain, or only whether key object documents take images back.
Need = Literal["settings", "documents", "rejections"]


@dataclass(frozen=True, slots=True)
class SopReference:
    """One referenced instance: Referenced Frame Number (0008,1160) and Segment Number (0062,000B) in order."""

    sop_class: str
    instance: str
    frames: tuple[int, ...] = ()
    segments: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where a referenced instance lives: from (0040,A375), (0040,A385), or from the node's own index."""

    study: str
    series: str
    instance: str


@dataclass(frozen=True, slots=True)
class SeriesReference:
    """One item of Referenced Series Sequence (0008,1115)."""

    series: str
    instances: tuple[SopReference, ...]


@dataclass(frozen=True, slots=True)
class Observer:
    """Who made the observations: TID 1003 (``person``) or TID 1004 (the rest; ``name`` is 121013)."""

    kind: Literal["person", "device"]
    person: Person = NOBODY
    uid: str = ""
    name: str = ""
    manufacturer: str = ""
    model: str = ""
    serial: str = ""


@dataclass(frozen=True, slots=True)
class When:
    """Date and time as DA and TM, or as one DT; placed by the instance's zone (``model.Instance.zone``)."""

    date: str = ""
    time: str = ""
    datetime: str = ""


@dataclass(frozen=True, slots=True)
class KeyReference:
    """One IMAGE, WAVEFORM or COMPOSITE item of a key object selection, with the presentation state it names.

    ``path`` is the item's place in the content tree, 1-based positions from the root: ``1.4``.
    """

    path: str
    value_type: str
    reference: SopReference
    presentation_state: SopReference | None = None


@dataclass(frozen=True, slots=True)
class KeyObjects:
    """Key Object Selection Document, TID 2010; ``modifiers`` are the codes of 113011."""

    title: Code | None
    description: str
    modifiers: tuple[Code, ...]
    references: tuple[KeyReference, ...]
    observers: tuple[Observer, ...]
    evidence: tuple[Evidence, ...]
    content: When

    @property
    def title_code(self) -> str:
        """The title's code of DCM (CID 7010); empty where it is of another scheme, in which it means something else."""
        return self.title.value if self.title and self.title.scheme == "DCM" else ""


@dataclass(frozen=True, slots=True)
class Region:
    """SCOORD (``dimensions`` 2: column, row) or SCOORD3D (3: mm in ``frame_of_reference``), flat, as sent.

    ``graphic_type`` is (0070,0023) upper case, ``origin`` Pixel Origin Interpretation (0048,0301).
    """

    dimensions: Literal[2, 3]
    graphic_type: str
    coordinates: tuple[float, ...]
    frame_of_reference: str = ""
    origin: str = ""

    @property
    def weight(self) -> int:
        """How many coordinates it counts as: of several points in an image each is published as a region of its
        own, which takes the room of sixteen numbers."""
        several = self.dimensions == 2 and self.graphic_type == "MULTIPOINT"
        return len(self.coordinates) * (8 if several else 1)


@dataclass(frozen=True, slots=True)
class GroupItem:
    """One content item of a measurement group that selects something; fields that its kind lacks are empty.

    ``path`` as in ``KeyReference``. ``reference`` is what the item itself names (IMAGE, COMPOSITE), or what its
    region was SELECTED FROM (SCOORD). ``rois`` are the values of child TEXT items 130489. ``series`` is the
    value of a UIDREF item.
    """

    path: str
    concept: Code
    value_type: str
    reference: SopReference | None = None
    region: Region | None = None
    rois: tuple[str, ...] = ()
    series: str = ""


@dataclass(frozen=True, slots=True)
class MeasurementGroup:
    """A container 125007 below 126010 (TID 1410, 1411, 1501); ``uid`` is Observation UID (0040,A171).

    ``tracking_uid`` is 112040, ``tracking_id`` 112039, ``finding_site`` 363698007 (or SRT G-C0E3) with its
    ``laterality``, ``observed`` Observation DateTime (0040,A032).
    """

    path: str
    uid: str
    tracking_uid: str
    tracking_id: str
    finding_site: Code | None
    laterality: Code | None
    observed: When
    items: tuple[GroupItem, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """A structured report; ``template`` is (0040,DB00) of the root, ``groups`` are empty without measurements."""

    title: Code | None
    template: str
    groups: tuple[MeasurementGroup, ...]
    observers: tuple[Observer, ...]
    evidence: tuple[Evidence, ...]
    content: When


@dataclass(frozen=True, slots=True)
class Roi:
    """One item of Structure Set ROI Sequence (3006,0020): number, name, and its coded identification.

    ``code`` is RT ROI Identification Code (3006,0086) of the observation that refers to it.
    """

    number: int
    name: str
    code: Code | None


@dataclass(frozen=True, slots=True)
class StructureSet:
    """RT Structure Set; ``frame_of_reference`` is of (3006,0010), else of the root."""

    label: str
    created: When
    frame_of_reference: str
    rois: tuple[Roi, ...]


@dataclass(frozen=True, slots=True)
class Segment:
    """One item of Segment Sequence (0062,0002)."""

    number: int
    label: str
    region: Code | None
    region_modifiers: tuple[Code, ...]
    property_category: Code | None
    property_type: Code | None
    tracking_uid: str


@dataclass(frozen=True, slots=True)
class Segmentation:
    """Segmentation or label map; ``sources`` are what (0008,1115) or the source image sequences name."""

    label: str
    frame_of_reference: str
    segments: tuple[Segment, ...]
    sources: tuple[SeriesReference, ...]
    content: When


@dataclass(frozen=True, slots=True)
class PresentationState:
    """Softcopy presentation state; ``references`` are (0008,1115) of the root or of its modules' items."""

    label: str
    description: str
    references: tuple[SeriesReference, ...]
    created: When


Content = KeyObjects | Report | StructureSet | Segmentation | PresentationState


@dataclass(frozen=True, slots=True)
class Document:
    """One document instance of the study at hand: ``content`` is None when it could not be read (``unread``
    says why, in words without values)."""

    instance: str
    sop_class: str
    series: str
    content: Content | None
    unread: str = ""
