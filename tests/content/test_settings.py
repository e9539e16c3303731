from io import BytesIO
from typing import Any

import pytest
from pydicom.dataset import Dataset

from node.content import parse
from node.content.settings import PRIVATE_DESCRIPTION
from tests.content.made import read, stored
from tests.studies import ENCODINGS, item


def settings(dataset: Dataset, **how: Any) -> Any:
    return read(dataset, "settings", **how)


def enhanced(shared: Dataset | None, *frames: Dataset, **root: Any) -> Dataset:
    found = item(Rows=64, Columns=32, **root)
    if shared is not None:
        found.SharedFunctionalGroupsSequence = [shared]
    if frames:
        found.PerFrameFunctionalGroupsSequence = list(frames)
    return found


CLASSIC = {
    "SliceThickness": "1.5",
    "PixelSpacing": ["0.63671875", "0.5"],
    "ImagerPixelSpacing": ["0.1", "0.1"],
    "ReconstructionDiameter": "326.0",
    "SequenceName": "*tfl3d1",
    "MagneticFieldStrength": "3",
    "MRAcquisitionType": "3D",
    "RepetitionTime": "2300",
    "EchoTime": "2.98",
    "ImagingFrequency": "123.2",
    "FlipAngle": "9",
    "InversionTime": "900",
    "ReceiveCoilName": "Head",
    "KVP": "120.0",
    "XRayTubeCurrent": "200",
    "ExposureTime": "500",
    "ExposureTimeInuS": "500000",
    "Exposure": "10",
    "ExposureInuAs": "10000",
    "FilterType": "BODY",
    "ConvolutionKernel": ["B30f", "x"],
    "ImageLaterality": "L",
    "PatientOrientation": ["P", "F"],
    "AttenuationCorrectionMethod": "CT",
    "ReconstructionMethod": "OSEM",
    "ScatterCorrectionMethod": "Model",
}


@pytest.mark.parametrize("syntax", ENCODINGS)
def test_classic_elements_as_sent(syntax: str) -> None:
    found = settings(item(Rows=512, Columns=256, SpiralPitchFactor=0.984375, **CLASSIC), syntax=syntax)
    expected = {
        keyword: tuple(value) if isinstance(value, list) else (value,) for keyword, value in CLASSIC.items()
    }
    assert found == {**expected, "Rows": ("512",), "Columns": ("256",), "SpiralPitchFactor": ("0.984375",)}


# Every row of the enhanced columns: macro, element, value in the object, value expected.
ENHANCED = [
    ("PixelMeasuresSequence", "SliceThickness", "2.5", ("2.5",)),
    ("PixelMeasuresSequence", "PixelSpacing", ["0.7", "0.7"], ("0.7", "0.7")),
    ("MRTimingAndRelatedParametersSequence", "RepetitionTime", "10.5", ("10.5",)),
    ("MRTimingAndRelatedParametersSequence", "FlipAngle", "15", ("15",)),
    ("MREchoSequence", "EffectiveEchoTime", 4.6, ("4.6",)),
    ("MRImagingModifierSequence", "TransmitterFrequency", 127.768401, ("127.768401",)),
    ("MRModifierSequence", "InversionTimes", [100.0, 200.5], ("100", "200.5")),
    ("MRReceiveCoilSequence", "ReceiveCoilName", "SENSE", ("SENSE",)),
    ("CTXRayDetailsSequence", "KVP", "120", ("120",)),
    ("CTXRayDetailsSequence", "FilterType", "FLAT", ("FLAT",)),
    ("CTExposureSequence", "XRayTubeCurrentInmA", 381.0, ("381",)),
    ("CTExposureSequence", "ExposureTimeInms", 1.5e20, ("1.5e+20",)),
    ("CTTableDynamicsSequence", "SpiralPitchFactor", 1.375, ("1.375",)),
    ("CTReconstructionSequence", "ReconstructionDiameter", "500", ("500",)),
    ("CTReconstructionSequence", "ConvolutionKernel", ["a", "b"], ("a", "b")),
    ("UnassignedSharedConvertedAttributesSequence", "EchoTime", "3", ("3",)),
    ("UnassignedPerFrameConvertedAttributesSequence", "ExposureTime", "7", ("7",)),
]


@pytest.mark.parametrize(("macro", "keyword", "value", "expected"), ENHANCED)
@pytest.mark.parametrize("where", ["shared", "frame"])
def test_enhanced_elements(macro: str, keyword: str, value: Any, expected: Any, where: str) -> None:
    groups = item(**{macro: [item(**{keyword: value})]})
    dataset = enhanced(groups) if where == "shared" else enhanced(None, groups, item())
    assert settings(dataset) == {"Rows": ("64",), "Columns": ("32",), keyword: expected}


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", ENCODINGS)
def test_only_the_first_frame_counts_in_every_encoding(syntax: str, undefined: bool) -> None:
    frames = [item(PixelMeasuresSequence=[item(SliceThickness=str(number))]) for number in (4, 5, 6)]
    found = settings(enhanced(None, *frames), syntax=syntax, undefined=undefined)
    assert found["SliceThickness"] == ("4",)


def test_root_before_shared_before_first_frame() -> None:
    def groups(thickness: str, spacing: list[str], kvp: str) -> Dataset:
        measures = item(SliceThickness=thickness, PixelSpacing=spacing)
        return item(PixelMeasuresSequence=[measures], CTXRayDetailsSequence=[item(KVP=kvp)])

    shared, frame = groups("2", ["2", "2"], ""), groups("3", ["3", "3"], "3")
    found = settings(enhanced(shared, frame, SliceThickness="1"))
    assert (found["SliceThickness"], found["PixelSpacing"], found["KVP"]) == (("1",), ("2", "2"), ("3",))


def test_empty_values_are_absent() -> None:
    assert settings(item(SliceThickness="", SequenceName=" ", Rows=1)) == {"Rows": ("1",)}


def test_private_description_only_with_its_creator() -> None:
    dataset = item(Rows=1)
    dataset.add_new(0x00E10012, "LO", "ELSCINT1")
    dataset.add_new(0x00E11240, "SH", "Lung, sharp")
    assert settings(dataset)[PRIVATE_DESCRIPTION] == ("Lung, sharp",)
    dataset[0x00E10012].value = "OTHER"
    assert PRIVATE_DESCRIPTION not in settings(dataset)


def test_pixels_and_what_lies_behind_are_not_looked_at() -> None:
    dataset = item(Rows=1)
    dataset.add_new(0x7FE00010, "OW", bytes(100))
    assert parse(BytesIO(stored(dataset)[:-50]), "settings") == {"Rows": ("1",)}
