"""Imaging settings of one image, in the attributes of classic or of enhanced objects.

Source: PS3.3 C.7.6.2, C.8.2 to C.8.4, C.8.9, C.8.11 (classic); C.7.6.16, C.8.13, C.8.15 (functional groups).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

from node.content.items import EMPTY, Item

Settings = Mapping[str, tuple[str, ...]]

# Attributes of the root of a classic object, or of an enhanced one.
_CLASSIC: Final = (
    "SliceThickness",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "ReconstructionDiameter",
    "Rows",
    "Columns",
    "SequenceName",
    "PulseSequenceName",
    "MagneticFieldStrength",
    "MRAcquisitionType",
    "RepetitionTime",
    "EchoTime",
    "ImagingFrequency",
    "FlipAngle",
    "InversionTime",
    "ReceiveCoilName",
    "KVP",
    "XRayTubeCurrent",
    "ExposureTime",
    "ExposureTimeInuS",
    "Exposure",
    "ExposureInuAs",
    "SpiralPitchFactor",
    "FilterType",
    "ConvolutionKernel",
    "ImageLaterality",
    "PatientOrientation",
    "AttenuationCorrectionMethod",
    "ReconstructionMethod",
    "ScatterCorrectionMethod",
)

# Functional group macro -> its attributes. The last two hold what a converter found no macro for (C.7.6.16.2).
_GROUPS: Final[dict[str, tuple[str, ...]]] = {
    "PixelMeasuresSequence": ("SliceThickness", "PixelSpacing"),
    "MRTimingAndRelatedParametersSequence": ("RepetitionTime", "FlipAngle"),
    "MREchoSequence": ("EffectiveEchoTime",),
    "MRImagingModifierSequence": ("TransmitterFrequency",),
    "MRModifierSequence": ("InversionTimes",),
    "MRReceiveCoilSequence": ("ReceiveCoilName",),
    "CTXRayDetailsSequence": ("KVP", "FilterType"),
    "CTExposureSequence": ("XRayTubeCurrentInmA", "ExposureTimeInms"),
    "CTTableDynamicsSequence": ("SpiralPitchFactor",),
    "CTReconstructionSequence": ("ReconstructionDiameter", "ConvolutionKernel"),
    "UnassignedSharedConvertedAttributesSequence": _CLASSIC,
    "UnassignedPerFrameConvertedAttributesSequence": _CLASSIC,
}

_SHARED: Final = "SharedFunctionalGroupsSequence"
_PER_FRAME: Final = "PerFrameFunctionalGroupsSequence"
ROOT: Final = ("SpecificCharacterSet", *_CLASSIC, _SHARED, _PER_FRAME)

# Private description of a series: element 40 of the block that ELSCINT1 reserved in group 00E1.
PRIVATE_DESCRIPTION: Final = "ELSCINT1:PrivateDescription"
_GROUP, _CREATOR, _ELEMENT = 0x00E1, "ELSCINT1", 0x40
PRIVATE_TAGS: Final = tuple(
    _GROUP << 16 | number for block in range(0x10, 0x100) for number in (block, block << 8 | _ELEMENT)
)


def read(root: Item, frames: Iterator[Item]) -> Settings:
    """DICOM keyword -> values as sent; what is absent or empty is not in it.

    An attribute of the root wins, then Shared Functional Groups, then the first frame's groups.
    """
    found = _present(root, _CLASSIC)
    for groups in (root.first(_SHARED), next(islice(frames, 1), EMPTY)):
        for macro, keywords in _GROUPS.items():
            found = _present(groups.first(macro), keywords) | found
    description = root.private_text(_GROUP, _CREATOR, _ELEMENT)
    return found | ({PRIVATE_DESCRIPTION: (description,)} if description else {})


def _present(item: Item, keywords: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    return {keyword: values for keyword in keywords if keyword in item and (values := item.strings(keyword))}
