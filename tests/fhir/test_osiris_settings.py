from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from typing import Any

import orjson
import pytest
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from node import content
from node.assemble import quality
from node.content import settings as content_settings
from node.fhir import osiris
from node.fhir import osiris_settings as of
from node.fhir.options import FhirOptions, OsirisOptions
from node.fhir.targets import PROFILES
from node.model import Finding, Series
from tests.fhir.golden_r4 import CT_SETTINGS, OSIRIS_URL, absent
from tests.studies import assembled, ct, item, rtstruct

ABSENT = OsirisOptions()
SENTINEL = OsirisOptions(missing="sentinel")
UNKNOWN = {"string": "Unknown", "integer": 999999, "decimal": 999999}


def series(modality: str = "CT", settings: dict[str, Any] | None = None, **changes: Any) -> Series:
    (found,) = assembled([ct(1, Modality=modality, **changes)]).series
    return replace(found, settings=settings)


def parts(extension: dict[str, Any]) -> dict[str, Any]:
    """The members of an extension: url -> value, the members of a block, or Ellipsis for one without value."""
    found: dict[str, Any] = {}
    for one in extension["extension"]:
        value = next((value for name, value in one.items() if name.startswith("value")), ...)
        found[one["url"]] = parts(one) if "extension" in one else value
    return found


def made(modality: str, settings: dict[str, Any] | None, options: OsirisOptions = ABSENT) -> dict[str, Any]:
    return parts(of.imaging_settings(series(modality, settings), modality, options))


def parsed(dataset: Dataset) -> Any:
    """The imaging settings that the node reads from the stored file of a data set."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    buffer.seek(0)
    return content.parse(buffer, "settings")


# --- urls and tables


def test_the_urls_are_those_that_are_published() -> None:
    """A correctly spelt url would only be an extension that nobody knows."""
    base = "https://ig-osiris.cancer.fr/ig/osiris/StructureDefinition/"
    assert base + "series-weightheigt" == of.WEIGHT_HEIGHT
    assert of.IMAGING_SETTINGS == base + "imaging-settings" == OSIRIS_URL + "imaging-settings"


def test_the_reader_of_files_reads_all_that_is_asked_for() -> None:
    groups = {keyword for keywords in content_settings._GROUPS.values() for keyword in keywords}
    assert groups | set(content_settings.ROOT) >= of.KEYWORDS
    assert osiris.PRIVATE_DESCRIPTION == content_settings.PRIVATE_DESCRIPTION


def test_every_keyword_is_dicoms() -> None:
    assert all(tag_for_keyword(keyword) for keyword in of.KEYWORDS)
    assert len(of.KEYWORDS) == 35


def test_sizes_of_the_blocks() -> None:
    assert {modality: len(block) for modality, (_, block) in of.BLOCKS.items()} == {
        "MR": 9, "CT": 6, "DX": 5, "PT": 3, "NM": 3,
    }  # fmt: skip


def test_the_documentation_names_the_attributes() -> None:
    rows = {row.element: row for section in of.SECTIONS for row in section.rows}
    assert rows["echo_time"].source == "(0018,0081), (0018,9082)"
    assert rows["exposure"].source == "(0018,1152), (0018,1153)"
    assert rows["slice_thickness"].rule == "mm, as sent, string"
    assert rows["patient_height"].source == "(0010,1020)"
    assert rows["receive_coil_name"].value(series("MR", {"ReceiveCoilName": ("HEAD",)}), None) == "HEAD"


# --- values


def test_classic_ct() -> None:
    assert made("CT", CT_SETTINGS) == {
        "slice_thickness": "1.50",
        "pixel_spacing": "[0.63671875, 0.63671875]",
        "field_of_view": 326,
        "rows": 512,
        "columns": 512,
        "ct_image": {
            "kvp": 120,
            "xray_tube_current": 70,
            "exposure_time": 870,
            "spiral_pitch_factor": 0.984,
            "filter_type": "BODY FILTER",
            "convolution_kernel": "B30f\\2",
        },
    }


CLASSIC: dict[str, dict[str, Any]] = {
    "MR": {
        "SequenceName": "*tse2d1",
        "MagneticFieldStrength": "1.5",
        "MRAcquisitionType": "2D",
        "RepetitionTime": "4000",
        "EchoTime": "93",
        "ImagingFrequency": "63.682104",
        "FlipAngle": "150",
        "InversionTime": "2500",
        "ReceiveCoilName": "HeadMatrix",
    },
    "DX": {
        "ImageLaterality": "R",
        "PatientOrientation": ["P", "F"],
        "KVP": "125",
        "ExposureInuAs": "2500",
        "ExposureTimeInuS": "4500",
        "ImagerPixelSpacing": ["0.15", "0.15"],
        "PixelSpacing": ["0.139", "0.139"],
    },
    "PT": {
        "AttenuationCorrectionMethod": "measured,AC_CT",
        "ReconstructionMethod": "OSEM3D 2i24s",
        "ScatterCorrectionMethod": "Model-based",
        "ReconstructionDiameter": "815.5",
    },
}
EXPECTED: dict[str, dict[str, Any]] = {
    "MR": {
        "pixel_spacing": ...,
        "mr_image": {
            "sequence_name": "*tse2d1",
            "magnetic_field_strength": 1.5,
            "mr_acquisition_type": "2D",
            "repetition_time": 4000,
            "echo_time": 93,
            "imaging_frequency": 63.682104,
            "flip_angle": 150,
            "inversion_time": 2500,
            "receive_coil_name": "HeadMatrix",
        },
    },
    "DX": {
        "pixel_spacing": "[0.15, 0.15]",
        "dx_image": {
            "image_laterality": "R",
            "patient_orientation": "['P', 'F']",
            "kvp": 125,
            "exposure": 2,
            "exposure_time": 4,
        },
    },
    "PT": {
        "pixel_spacing": ...,
        "field_of_view": 816,
        "pt_nm_image": {
            "attenuation_correction_method": "measured,AC_CT",
            "reconstruction_method": "OSEM3D 2i24s",
            "scatter_correction_method": "Model-based",
        },
    },
}


@pytest.mark.parametrize("modality", CLASSIC)
def test_classic_objects(modality: str) -> None:
    found = made(modality, parsed(ct(1, Modality=modality, **CLASSIC[modality])))
    assert found == {"slice_thickness": ..., "rows": 512, "columns": 512, **EXPECTED[modality]}


def test_enhanced_mr() -> None:
    timing = item(RepetitionTime="1500", FlipAngle="15")
    shared = item(
        MRTimingAndRelatedParametersSequence=Sequence([timing]),
        MRReceiveCoilSequence=Sequence([item(ReceiveCoilName="8CH")]),
        MRImagingModifierSequence=Sequence([item(TransmitterFrequency=[127.7, 10.0])]),
    )
    frame = item(
        PixelMeasuresSequence=Sequence([item(SliceThickness="3.0", PixelSpacing=["0.9", "0.8"])]),
        MREchoSequence=Sequence([item(EffectiveEchoTime=2.27)]),
        MRModifierSequence=Sequence([item(InversionTimes=[900.5, 1000.0])]),
    )
    enhanced = ct(
        1,
        Modality="MR",
        PulseSequenceName="*fl3d1",
        MagneticFieldStrength="3",
        MRAcquisitionType="3D",
        SharedFunctionalGroupsSequence=Sequence([shared]),
        PerFrameFunctionalGroupsSequence=Sequence([frame]),
    )
    assert made("MR", parsed(enhanced)) == {
        "slice_thickness": "3.0",
        "pixel_spacing": "[0.9, 0.8]",
        "rows": 512,
        "columns": 512,
        "mr_image": {
            "sequence_name": "*fl3d1",
            "magnetic_field_strength": 3,
            "mr_acquisition_type": "3D",
            "repetition_time": 1500,
            "echo_time": 2.27,
            "imaging_frequency": 127.7,
            "flip_angle": 15,
            "inversion_time": 900.5,
            "receive_coil_name": "8CH",
        },
    }


def test_enhanced_ct() -> None:
    shared = item(
        CTXRayDetailsSequence=Sequence([item(KVP="120", FilterType="FLAT")]),
        CTExposureSequence=Sequence([item(XRayTubeCurrentInmA=222.5, ExposureTimeInms=500.5)]),
        CTTableDynamicsSequence=Sequence([item(SpiralPitchFactor=0.9)]),
        CTReconstructionSequence=Sequence([item(ReconstructionDiameter="350", ConvolutionKernel=["A", "B"])]),
    )
    found = made("CT", parsed(ct(1, SharedFunctionalGroupsSequence=Sequence([shared]))))
    assert found["field_of_view"] == 350
    assert found["ct_image"] == {
        "kvp": 120,
        "xray_tube_current": 222,
        "exposure_time": 500,
        "spiral_pitch_factor": 0.9,
        "filter_type": "FLAT",
        "convolution_kernel": "A\\B",
    }


def test_classic_attributes_come_before_those_of_enhanced_objects() -> None:
    both = {
        "EchoTime": ("5",),
        "EffectiveEchoTime": ("6",),
        "InversionTime": ("x",),
        "InversionTimes": ("7",),
    }
    found = made("MR", both)["mr_image"]
    assert found["echo_time"] == 5
    assert found["inversion_time"] == 7


@pytest.mark.parametrize(
    ("modality", "spacing"), [("DX", "[1, 1]"), ("CR", "[1, 1]"), ("CT", "[2, 2]"), ("MG", "[2, 2]")]
)
def test_spacing_at_the_detector_is_for_projections(modality: str, spacing: str) -> None:
    settings = {"ImagerPixelSpacing": ("1", "1"), "PixelSpacing": ("2", "2")}
    assert made(modality, settings)["pixel_spacing"] == spacing
    assert made(modality, {"PixelSpacing": ("2", "2")})["pixel_spacing"] == "[2, 2]"


@pytest.mark.parametrize("values", [("1",), ("1", "2", "3"), ("1", "x"), ("", ""), ()])
def test_a_spacing_that_is_none_is_missing(values: tuple[str, ...]) -> None:
    assert made("CT", {"PixelSpacing": values})["pixel_spacing"] is ...


# --- missing values


@pytest.mark.parametrize("modality", [*of.BLOCKS, "CR", "US"])
@pytest.mark.parametrize("options", [ABSENT, SENTINEL], ids=["absent", "sentinel"])
def test_complete_and_never_mixed(modality: str, options: OsirisOptions) -> None:
    extension = of.imaging_settings(series(modality), modality, options)
    text = orjson.dumps(extension)
    sentinels = b"Unknown" in text or b"999999" in text
    assert sentinels == (options is SENTINEL)
    assert (b"data-absent-reason" in text) == (options is ABSENT)
    found = parts(extension)
    url, block = of.BLOCKS.get(modality, ("", ()))
    assert set(found) == {"slice_thickness", "pixel_spacing", "rows", "columns", url} - {""}
    assert found["rows"] == 512, "the index knows it without the file"
    if block:
        needed = {
            one.url: UNKNOWN[one.kind] if options is SENTINEL else ... for one in block if one.card == "1..1"
        }
        assert found[url] == needed


def test_what_is_no_image_has_no_settings() -> None:
    (structures,) = assembled([rtstruct()]).series
    extension = of.imaging_settings(structures, "RTSTRUCT", ABSENT)
    rows = next(one for one in extension["extension"] if one["url"] == "rows")
    assert rows == {"url": "rows", **absent("valueInteger", "not-applicable")}
    assert set(parts(of.imaging_settings(structures, "RTSTRUCT", SENTINEL)).values()) == {"Unknown", 999999}


def test_the_file_beats_the_index() -> None:
    assert made("CT", {"Rows": ("256",)})["rows"] == 256
    assert made("CT", {"Rows": ()})["rows"] == 512


# --- weight and height


@pytest.mark.parametrize(
    ("weight", "size", "expected"),
    [
        ("72.5", "1.68", {"patient_weight": 72.5, "patient_height": 1.68}),
        ("80", "", {"patient_weight": 80}),
        ("", "3", {"patient_height": 3}),
        ("", "168", None),
        ("0", "0", None),
        ("-1", "x", None),
        ("", "", None),
    ],
)
def test_weight_and_height(weight: str, size: str, expected: dict[str, float] | None) -> None:
    one = replace(series(), patient_weight=weight, patient_size=size)
    found = of.weight_height(one, "CT", ABSENT)
    assert (found and parts(found)) == expected


@pytest.mark.parametrize(
    ("size", "impossible"),
    [("168", True), ("3.01", True), ("3", False), ("1.68", False), ("", False), ("x", False)],
)
def test_a_size_in_centimetres_is_counted(size: str, impossible: bool) -> None:
    one = replace(series(), patient_size=size)
    found = PROFILES["osiris"].findings(replace(assembled([ct()]), series=(one,)), FhirOptions())
    expected = Finding("patient-size-impossible", "PatientSize", one.uid, len(one.instances))
    assert found == ((expected,) if impossible else ())
    assert set(quality.TARGETS) <= set(quality.NAMES)


def test_weight_and_height_of_pet_are_always_there() -> None:
    one = replace(series(), patient_weight="70", patient_size="")
    found = of.weight_height(one, "PT", ABSENT)
    assert found is not None
    assert found["url"].endswith("series-weightheigt")
    assert found["extension"][1] == {"url": "patient_height", **absent("valueDecimal")}
    sentinel = of.weight_height(one, "PT", SENTINEL)
    assert sentinel is not None
    assert parts(sentinel) == {"patient_weight": 70, "patient_height": 999999}
