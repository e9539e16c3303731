"""What the dicom-sr implementation guide selects: a purpose each, its profile, and what that profile asks for.

Source: HL7 DICOM SR to FHIR 1.0.0, build of 2025-05-01 (region-in-space and its siblings); PS3.16 TID 1410,
1411, 1501 and Annex D. The pattern of a profile fixes every coding of ``code``, displays included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from node.documents import Region
from node.fhir import terminology
from node.fhir.datatypes import Json, compact
from node.fhir.options import FhirOptions

_PROFILE: Final = "http://hl7.org/fhir/uv/dicom-sr/StructureDefinition/"

# PS3.4 Table B.5-1 as the guide's SOP class codings spell it: bare UIDs of this system.
_SOP_CLASSES: Final = "https://dicom.nema.org/medical/dicom/current/output/chtml/part04/sect_B.5"

_STORAGE: Final = "1.2.840.10008.5.1.4.1.1."
RT_STRUCTURE_SET: Final = _STORAGE + "481.3"

# The code that region-in-space fixes for RT Structure Set Storage: its first digit is one too many, in the
# published build and in its sources up to 2026-05. A true UID would not match, so the truth goes beside it.
_FIXED_RT_STRUCTURE_SET: Final = "11.2.840.10008.5.1.4.1.1.481.3"
_ALTERNATE_CODES: Final = "http://hl7.org/fhir/StructureDefinition/alternate-codes"


@dataclass(frozen=True, slots=True)
class Entry:
    """One selected instance: ``subset`` are frame, segment or ROI numbers or an Observation UID, as text."""

    uid: str
    sop_class: str
    subset: tuple[str, ...] = ()
    region: Region | None = None


@dataclass(frozen=True, slots=True)
class Concept:
    """A purpose: ``code`` and ``meaning`` of DCM.

    ``profile`` is the guide's id of the profile (empty: it has none yet), ``display`` how its pattern spells the
    meaning where that differs. The rest is what the profile asks of every instance: one ``sop_class``, ``subset``
    exactly one or any, a ``region`` in the image; or of the selection: a ``frame`` of reference.
    """

    code: str
    meaning: str
    profile: str = ""
    display: str = ""
    sop_class: str = ""
    subset: Literal["", "one", "some"] = ""
    region: bool = False
    frame: bool = False


_SEG: Final = _STORAGE + "66.4"

IMAGE_REGION_2D: Final = Concept("111030", "Image Region", "image-region-2d", region=True)
IMAGE_REGION_3D: Final = Concept("111030", "Image Region", "image-region-3d", frame=True)
VOLUME_SURFACE: Final = Concept("121231", "Volume Surface", "volume-surface", frame=True)
SEGMENT: Final = Concept("121191", "Referenced Segment", "referenced-segment", sop_class=_SEG, subset="one")
SEGMENTATION_FRAME: Final = Concept(
    "121214",
    "Referenced Segmentation Frame",
    "referenced-segmentation-frame",
    sop_class=_SEG,
    subset="one",
)
REGION_IN_SPACE: Final = Concept(
    "130488",
    "Region in Space",
    "region-in-space",
    display="Region In Space",
    sop_class=RT_STRUCTURE_SET,
    subset="some",
)
REAL_WORLD_VALUES: Final = Concept(
    "126100",
    "Real World Value Map used for measurement",
    "real-world-value-map",
    sop_class=_STORAGE + "67",
)
ILLUSTRATION: Final = Concept("121200", "Illustration of ROI", "illustration-of-roi")
EXPLANATION: Final = Concept(
    "130401", "Visual explanation", "visual-explanation", display="Visual Explanation"
)
# The published build has no profile for these two.
SOURCE_IMAGE: Final = Concept("121233", "Source image for segmentation")
ORIGINAL_SOURCE: Final = Concept("111040", "Original Source")

CONCEPTS: Final = (
    IMAGE_REGION_2D,
    IMAGE_REGION_3D,
    VOLUME_SURFACE,
    SEGMENT,
    SEGMENTATION_FRAME,
    REGION_IN_SPACE,
    REAL_WORLD_VALUES,
    ILLUSTRATION,
    EXPLANATION,
    SOURCE_IMAGE,
    ORIGINAL_SOURCE,
)

_SUBSETS: Final = {"": (0, None), "one": (1, 1), "some": (1, None)}


def satisfied(concept: Concept, entries: Sequence[Entry], frame: str, options: FhirOptions) -> bool:
    """Whether a selection of ``entries`` in the frame of reference ``frame`` fits the concept's profile."""
    if not concept.profile or not entries or (concept.frame and not frame):
        return False
    if concept is REGION_IN_SPACE and options.sel.rtstruct_sopclass != "profile":
        return False
    least, most = _SUBSETS[concept.subset]
    return all(
        concept.sop_class in ("", one.sop_class)
        and len(one.subset) >= least
        and (most is None or len(one.subset) <= most)
        and (one.region is not None or not concept.region)
        for one in entries
    )


def profile(concept: Concept) -> str:
    """The canonical URL of the concept's profile."""
    return _PROFILE + concept.profile


def code(concept: Concept, claimed: bool, text: str | None = None) -> Json:
    """``code`` of a selection: its one coding as the profile fixes it where that is claimed."""
    display = (claimed and concept.display) or concept.meaning
    coding = {"system": terminology.DCM, "code": concept.code, "display": display}
    return compact(coding=[coding], text=text)


def sop_class(uid: str, concept: Concept | None, claimed: bool) -> Json:
    """A SOP class: as in other resources, or as the guide spells it where its profile is claimed."""
    true = terminology.sop_class(uid)
    if not claimed or "display" not in true:  # a private class is not in the guide's system
        return true
    found = {"system": _SOP_CLASSES, "code": uid, "display": true["display"]}
    if concept is not REGION_IN_SPACE:
        return found
    truth = {"url": _ALTERNATE_CODES, "valueCodeableConcept": {"coding": [true]}}
    return found | {"code": _FIXED_RT_STRUCTURE_SET, "_code": {"extension": [truth]}}
