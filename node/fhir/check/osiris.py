"""Constraint tables of Osiris OncoImagingStudy 1.1.0, R4
(https://ig-osiris.cancer.fr/ig/osiris/StructureDefinition-onco-imagingstudy.html), of its two extensions, and of
the profiles of what it contains. The spelling ``series-weightheigt`` is the published one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from node.fhir import osiris_terms
from node.fhir.check import r4
from node.fhir.check.datatypes import (
    CODEABLE_CONCEPT,
    CODING,
    CONTAINED_META,
    REFERENCE,
    UID_IDENTIFIER,
    claiming,
)
from node.fhir.check.primitives import CODE, DATE_TIME, DECIMAL, INTEGER, STRING, UNSIGNED_INT, URI, Primitive
from node.fhir.check.shapes import Extension, Json, Shape, constrain, element

_BASE: Final = "https://ig-osiris.cancer.fr/ig/osiris/StructureDefinition"
_UMLS: Final = "http://terminology.hl7.org/CodeSystem/umls"
_DICOM: Final = "https://dicom.nema.org/medical/dicom"
_ANALYSIS: Final = "https://github.com/siric-osiris/OSIRIS"

# Value set VSModality: 7 codes.
_MODALITIES: Final = frozenset(
    (one["system"], one["code"]) for one in (*osiris_terms.MODALITIES.values(), osiris_terms.OTHER_MODALITY)
)
# Value set AnalysisType: 5 codes.
ANALYSIS_TYPES: Final = frozenset(
    {(_ANALYSIS, f"C37-{number}") for number in (1, 2, 3, 4)} | {(_UMLS, "C0439673")}
)
_BODY_SITES: Final = frozenset(("http://snomed.info/sct", code) for code in osiris_terms.BODY_SITES)

_MEMBERS: Final = {STRING: "valueString", INTEGER: "valueInteger", DECIMAL: "valueDecimal"}


def _value(url: str, card: str, of: Primitive) -> Extension:
    return Extension(url, int(card[0]), 1, _MEMBERS[of], of)


MR_IMAGE: Final = Extension(
    "mr_image",
    0,
    1,
    parts=(
        _value("sequence_name", "1..1", STRING),
        _value("magnetic_field_strength", "1..1", DECIMAL),
        _value("mr_acquisition_type", "1..1", STRING),
        _value("repetition_time", "1..1", DECIMAL),
        _value("echo_time", "1..1", DECIMAL),
        _value("imaging_frequency", "1..1", DECIMAL),
        _value("flip_angle", "1..1", DECIMAL),
        _value("inversion_time", "1..1", DECIMAL),
        _value("receive_coil_name", "1..1", STRING),
    ),
)
CT_IMAGE: Final = Extension(
    "ct_image",
    0,
    1,
    parts=(
        _value("kvp", "0..1", INTEGER),
        _value("xray_tube_current", "1..1", INTEGER),
        _value("exposure_time", "1..1", INTEGER),
        _value("spiral_pitch_factor", "1..1", DECIMAL),
        _value("filter_type", "1..1", STRING),
        _value("convolution_kernel", "1..1", STRING),
    ),
)
DX_IMAGE: Final = Extension(
    "dx_image",
    0,
    1,
    parts=(
        _value("image_laterality", "1..1", STRING),
        _value("patient_orientation", "0..1", STRING),
        _value("kvp", "1..1", INTEGER),
        _value("exposure", "1..1", INTEGER),
        _value("exposure_time", "1..1", INTEGER),
    ),
)
PT_NM_IMAGE: Final = Extension(
    "pt_nm_image",
    0,
    1,
    parts=(
        _value("attenuation_correction_method", "1..1", STRING),
        _value("reconstruction_method", "1..1", STRING),
        _value("scatter_correction_method", "1..1", STRING),
    ),
)
# imaging_injection is in the profile too; nothing that could be referred to is published.
IMAGING_SETTINGS: Final = Extension(
    f"{_BASE}/imaging-settings",
    1,
    1,
    parts=(
        _value("slice_thickness", "1..1", STRING),
        _value("pixel_spacing", "1..1", STRING),
        _value("field_of_view", "0..1", INTEGER),
        _value("rows", "1..1", INTEGER),
        _value("columns", "1..1", INTEGER),
        MR_IMAGE,
        CT_IMAGE,
        DX_IMAGE,
        PT_NM_IMAGE,
    ),
)
WEIGHT_HEIGHT: Final = Extension(
    f"{_BASE}/series-weightheigt",
    0,
    1,
    parts=(_value("patient_weight", "0..1", DECIMAL), _value("patient_height", "0..1", DECIMAL)),
)

# Which block of settings a series of a modality has; the others have none.
BLOCKS: Final = {
    "MR": "mr_image",
    "CT": "ct_image",
    "DX": "dx_image",
    "PT": "pt_nm_image",
    "NM": "pt_nm_image",
}


def fitting_block(series: Json) -> Iterator[tuple[str, str]]:
    """imaging-settings has the block of the series' modality and no other."""
    modality = series.get("modality")
    code = modality.get("code") if type(modality) is dict and modality.get("system") == _DICOM else None
    wanted = BLOCKS.get(code) if type(code) is str else None
    found = _parts(series, IMAGING_SETTINGS.url) & set(BLOCKS.values())
    if wanted and wanted not in found:
        yield "extension(imaging-settings)", f"{wanted} is missing"
    if found - {wanted}:
        yield "extension(imaging-settings)", "has a block of another modality"


def weight_of_pet(series: Json) -> Iterator[tuple[str, str]]:
    """series-weightheigt is "obligatory if series.modality is PT"."""
    modality = series.get("modality")
    pet = type(modality) is dict and (modality.get("system"), modality.get("code")) == (_DICOM, "PT")
    if pet and _parts(series, WEIGHT_HEIGHT.url) != {"patient_weight", "patient_height"}:
        yield "extension(series-weightheigt)", "weight and height are missing"


def _parts(series: Json, url: str) -> set[str]:
    """The urls inside the extension ``url`` of a series that may be malformed."""
    listed = series.get("extension")
    for one in listed if type(listed) is list else ():
        inner = one.get("extension") if type(one) is dict and one.get("url") == url else None
        if type(inner) is list:
            return {part["url"] for part in inner if type(part) is dict and type(part.get("url")) is str}
    return set()


_PERFORMER: Final = constrain(
    r4.PERFORMER, "ImagingStudy.series.performer (Osiris)", element("actor", "1..1", REFERENCE, "Device")
)
_SERIES: Final = constrain(
    r4.SERIES,
    "ImagingStudy.series (Osiris)",
    element("modality", "1..1", CODING, only=_MODALITIES),
    element("description", "1..1", STRING),
    element("numberOfInstances", "1..1", UNSIGNED_INT),
    element("bodySite", "0..1", CODING, only=_BODY_SITES),
    element("started", "1..1", DATE_TIME),
    element("performer", "0..*", _PERFORMER),
    rules=(fitting_block, weight_of_pet),
    extensions=(WEIGHT_HEIGHT, IMAGING_SETTINGS),
)
_STUDY_UID: Final = constrain(
    UID_IDENTIFIER,
    "Identifier (Study Instance UID)",
    element("system", "1..1", URI, pattern="urn:dicom:uid"),
    element("value", "1..1", STRING),
)
STUDY: Final = constrain(
    r4.STUDY,
    "onco-imagingstudy",
    element("meta", "1..1", claiming(f"{_BASE}/onco-imagingstudy")),
    element("identifier", "1..1", _STUDY_UID),
    element("modality", "1..*", CODING, only=_MODALITIES),
    element("subject", "1..1", REFERENCE, "Patient"),
    element("started", "1..1", DATE_TIME),
    element("endpoint", "1..1", REFERENCE, "Endpoint"),
    element("numberOfSeries", "1..1", UNSIGNED_INT),
    element("location", "0..1", REFERENCE, "Location"),
    element("reasonReference", "1..1", REFERENCE, "Observation"),
    element("description", "1..1", STRING),
    element("series", "1..*", _SERIES),
)

# All contained resources are what these profiles are for: an archive, a scanner, a department, an analysis.
_ENDPOINT: Final = constrain(
    r4.ENDPOINT,
    "imaging-pacs",
    element("meta", "0..1", claiming(f"{_BASE}/imaging-pacs", CONTAINED_META)),
    element("name", "1..1", STRING),
)
_DEVICE_NAME: Final = constrain(
    r4.DEVICE_NAME, "Device.deviceName (Osiris)", element("type", "1..1", CODE, pattern="manufacturer-name")
)
_DEVICE: Final = constrain(
    r4.DEVICE,
    "imaging-device",
    element("meta", "0..1", claiming(f"{_BASE}/imaging-device", CONTAINED_META)),
    element("manufacturer", "1..1", STRING),
    element("deviceName", "1..1", _DEVICE_NAME),
    element("version", "1..1", r4.VERSION),
)
_LOCATION: Final = constrain(
    r4.LOCATION,
    "imaging-service",
    element("meta", "0..1", claiming(f"{_BASE}/imaging-service", CONTAINED_META)),
)
_OBSERVATION: Final = constrain(
    r4.OBSERVATION,
    "analysis",
    element("meta", "0..1", claiming(f"{_BASE}/analysis", CONTAINED_META)),
    element("category", "0..1", CODEABLE_CONCEPT),
    element("code", "1..1", CODEABLE_CONCEPT, only=ANALYSIS_TYPES),
    element("subject", "0..1", REFERENCE, "Patient"),
    element("effectiveDateTime", "1..1", DATE_TIME),
)
CONTAINED: Final[dict[str, Shape]] = {
    "Endpoint": _ENDPOINT,
    "Device": _DEVICE,
    "Location": _LOCATION,
    "Observation": _OBSERVATION,
}
