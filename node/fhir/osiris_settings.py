"""The two extensions of an Osiris series: imaging settings, and the patient's weight and height.

https://ig-osiris.cancer.fr/ig/osiris/StructureDefinition/imaging-settings and .../series-weightheigt, 1.1.0. The
values are those of the series' representative image; DICOM PS3.3 C.7.6.2 to C.8.15.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Final, Literal, NamedTuple

from pydicom.datadict import tag_for_keyword

from node.fhir.datatypes import Json, string
from node.fhir.numbers import decimal, integer, number
from node.fhir.options import OsirisOptions
from node.fhir.table import Absent, Row, Section
from node.model import Series

DEFINITIONS: Final = "https://ig-osiris.cancer.fr/ig/osiris/StructureDefinition/"
IMAGING_SETTINGS: Final = DEFINITIONS + "imaging-settings"
WEIGHT_HEIGHT: Final = DEFINITIONS + "series-weightheigt"  # misspelt where it is published

Kind = Literal["string", "integer", "decimal"]
Value = str | int | float
Values = Mapping[str, Sequence[str]]  # DICOM keyword -> values as sent

_THOUSANDTHS: Final = frozenset({"ExposureInuAs", "ExposureTimeInuS"})  # of the unit that is wanted
_MAX_METRES: Final = 3  # a larger Patient's Size is in centimetres
_SENTINELS: Final[dict[Kind, str | int]] = {"string": "Unknown", "integer": 999999, "decimal": 999999}


class Setting(NamedTuple):
    """One member of an extension: its ``url``, cardinality and type, the DICOM keywords in the order in which
    they are asked, and how their values are read where that is not as the type has it."""

    url: str
    card: str
    kind: Kind
    keywords: tuple[str, ...]
    rule: str
    reading: Callable[[Sequence[str]], str | None] | None = None

    def value(self, values: Values) -> Value | None:
        """What the first keyword that has a legal value gives."""
        return next(
            (found for key in self.keywords if (found := self._of(key, values.get(key) or ())) is not None),
            None,
        )

    def _of(self, keyword: str, sent: Sequence[str]) -> Value | None:
        if self.reading is not None:
            return self.reading(sent)
        if self.kind == "string":
            return string("\\".join(sent))
        found = number(sent[0]) if sent else None
        if found is not None and keyword in _THOUSANDTHS:
            found /= 1000
        return integer(found) if self.kind == "integer" else decimal(found)

    def row(self) -> Row[Series, None]:
        """Its documentation."""
        source = ", ".join(_tag(keyword) for keyword in self.keywords)
        rule = f"{self.rule}, {self.kind}" if self.rule else self.kind
        return Row(self.url, self.card, source, rule, lambda series, _: self.value(series.settings or {}))


def _tag(keyword: str) -> str:
    tag = tag_for_keyword(keyword) or 0
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _thickness(sent: Sequence[str]) -> str | None:
    return string(sent[0]) if len(sent) == 1 and number(sent[0]) is not None else None


def _spacing(sent: Sequence[str]) -> str | None:
    """``[row, column]``, each as sent."""
    if len(sent) != 2 or any(number(one) is None for one in sent):
        return None
    return f"[{sent[0].strip()}, {sent[1].strip()}]"


def _orientation(sent: Sequence[str]) -> str | None:
    """``['P', 'F']``: how the directions of the rows and of the columns are written upstream."""
    named = [string(one) for one in sent]
    return f"['{named[0]}', '{named[1]}']" if len(named) == 2 and all(named) else None


_THICKNESS: Final = Setting(
    "slice_thickness", "1..1", "string", ("SliceThickness",), "mm, as sent", _thickness
)
_SPACING: Final = Setting(
    "pixel_spacing", "1..1", "string", ("PixelSpacing",), "mm, `[row, column]` as sent", _spacing
)
_PROJECTED: Final = Setting(
    "pixel_spacing",
    "1..1",
    "string",
    ("ImagerPixelSpacing", "PixelSpacing"),
    "for CR and DX: mm, `[row, column]` as sent",
    _spacing,
)
_FIELD_OF_VIEW: Final = Setting(
    "field_of_view", "0..1", "integer", ("ReconstructionDiameter",), "for CT and PT only: mm, rounded"
)
_ROWS: Final = Setting("rows", "1..1", "integer", ("Rows",), "")
_COLUMNS: Final = Setting("columns", "1..1", "integer", ("Columns",), "")

_MR: Final = (
    Setting("sequence_name", "1..1", "string", ("SequenceName", "PulseSequenceName"), ""),
    Setting("magnetic_field_strength", "1..1", "decimal", ("MagneticFieldStrength",), "T"),
    Setting("mr_acquisition_type", "1..1", "string", ("MRAcquisitionType",), ""),
    Setting("repetition_time", "1..1", "decimal", ("RepetitionTime",), "ms"),
    Setting("echo_time", "1..1", "decimal", ("EchoTime", "EffectiveEchoTime"), "ms"),
    Setting("imaging_frequency", "1..1", "decimal", ("ImagingFrequency", "TransmitterFrequency"), "MHz"),
    Setting("flip_angle", "1..1", "decimal", ("FlipAngle",), "degrees"),
    Setting("inversion_time", "1..1", "decimal", ("InversionTime", "InversionTimes"), "ms, the first"),
    Setting("receive_coil_name", "1..1", "string", ("ReceiveCoilName",), ""),
)
_CT: Final = (
    Setting("kvp", "0..1", "integer", ("KVP",), "kV, rounded"),
    Setting(
        "xray_tube_current", "1..1", "integer", ("XRayTubeCurrent", "XRayTubeCurrentInmA"), "mA, rounded"
    ),
    Setting("exposure_time", "1..1", "integer", ("ExposureTime", "ExposureTimeInms"), "ms, rounded"),
    Setting("spiral_pitch_factor", "1..1", "decimal", ("SpiralPitchFactor",), ""),
    Setting("filter_type", "1..1", "string", ("FilterType",), ""),
    Setting("convolution_kernel", "1..1", "string", ("ConvolutionKernel",), "several joined by a backslash"),
)
_DX: Final = (
    Setting("image_laterality", "1..1", "string", ("ImageLaterality",), ""),
    Setting("patient_orientation", "0..1", "string", ("PatientOrientation",), "`['P', 'F']`", _orientation),
    Setting("kvp", "1..1", "integer", ("KVP",), "kV, rounded"),
    Setting("exposure", "1..1", "integer", ("Exposure", "ExposureInuAs"), "mAs, or µAs / 1000, rounded"),
    Setting(
        "exposure_time", "1..1", "integer", ("ExposureTime", "ExposureTimeInuS"), "ms, or µs / 1000, rounded"
    ),
)
_PT_NM: Final = (
    Setting("attenuation_correction_method", "1..1", "string", ("AttenuationCorrectionMethod",), ""),
    Setting("reconstruction_method", "1..1", "string", ("ReconstructionMethod",), ""),
    Setting("scatter_correction_method", "1..1", "string", ("ScatterCorrectionMethod",), ""),
)

# Modality -> the block of its own: url and members.
BLOCKS: Final[dict[str, tuple[str, tuple[Setting, ...]]]] = {
    "MR": ("mr_image", _MR),
    "CT": ("ct_image", _CT),
    "DX": ("dx_image", _DX),
    "PT": ("pt_nm_image", _PT_NM),
    "NM": ("pt_nm_image", _PT_NM),
}

KEYWORDS: Final = frozenset(
    keyword
    for one in (_THICKNESS, _PROJECTED, _FIELD_OF_VIEW, _ROWS, _COLUMNS, *_MR, *_CT, *_DX, *_PT_NM)
    for keyword in one.keywords
)


def geometry(modality: str) -> tuple[Setting, ...]:
    """The members that every series has; of CT and PT also the field of view."""
    spacing = _PROJECTED if modality in ("CR", "DX") else _SPACING
    field = (_FIELD_OF_VIEW,) if modality in ("CT", "PT") else ()
    return (_THICKNESS, spacing, *field, _ROWS, _COLUMNS)


def lacking(kind: Kind, options: OsirisOptions, why: Absent) -> Value | Absent:
    """What stands for a mandatory value that nobody knows, by ``options.missing``."""
    return _SENTINELS[kind] if options.missing == "sentinel" else why


def primitive(name: str, value: Value | Absent) -> Json:
    """A member that has a value, or says why it has none."""
    return {"_" + name: value.element()} if isinstance(value, Absent) else {name: value}


def imaging_settings(series: Series, modality: str, options: OsirisOptions) -> Json:
    """The extension that every series must have, complete; what is no image has not-applicable values."""
    values: Values = series.settings or {}
    if series.representative and not values.get("Rows"):
        values = {**values, **_indexed(series)}
    why = Absent("unknown" if series.representative else "not-applicable")
    members = _members(geometry(modality), values, options, why)
    if modality in BLOCKS:
        url, block = BLOCKS[modality]
        members.append({"url": url, "extension": _members(block, values, options, why)})
    return {"url": IMAGING_SETTINGS, "extension": members}


def _indexed(series: Series) -> Values:
    """What is known of the representative without its file."""
    rows = next((one.rows for one in series.instances if one.uid == series.representative), 0)
    return {"Rows": (str(rows),)} if rows else {}


def _members(settings: Sequence[Setting], values: Values, options: OsirisOptions, why: Absent) -> list[Json]:
    found = []
    for one in settings:
        value: Value | Absent | None = one.value(values)
        if value is None and one.card.startswith("1"):
            value = lacking(one.kind, options, why)
        if value is not None:
            found.append(_member(one.url, one.kind, value))
    return found


def _member(url: str, kind: Kind, value: Value | Absent) -> Json:
    return {"url": url, **primitive(f"value{kind.capitalize()}", value)}


def _weight(series: Series, _: None) -> int | float | None:
    return _positive(number(series.patient_weight))


def _height(series: Series, _: None) -> int | float | None:
    size = number(series.patient_size)
    return None if size_impossible(series) else _positive(size)


def size_impossible(series: Series) -> bool:
    """Whether Patient's Size (0010,1020) is none that a patient can have, so that it is not published."""
    size = number(series.patient_size)
    return size is not None and size > _MAX_METRES


def _positive(found: Decimal | None) -> int | float | None:
    return decimal(found) if found is not None and found > 0 else None


_MEASURES: Final[tuple[Row[Series, None], ...]] = (
    Row("patient_weight", "0..1", "(0010,1030)", "kg, above 0, decimal; of PT always there", _weight),
    Row("patient_height", "0..1", "(0010,1020)", "m, above 0, up to 3, decimal; of PT always there", _height),
)


def weight_height(series: Series, modality: str, options: OsirisOptions) -> Json | None:
    """The extension with weight (kg) and height (m): both for PT, else what is known."""
    members = []
    for row in _MEASURES:
        value: Value | Absent | None = row.value(series, None)
        if value is None and modality == "PT":
            value = lacking("decimal", options, Absent())
        if value is not None:
            members.append(_member(row.element, "decimal", value))
    return {"url": WEIGHT_HEIGHT, "extension": members} if members else None


def _section(path: str, settings: Sequence[Setting]) -> Section:
    return Section(path, tuple(one.row() for one in settings))


_PATH: Final = "ImagingStudy.series.extension:"

SECTIONS: Final = (
    Section(_PATH + "series-weightheigt", _MEASURES),
    _section(_PATH + "imaging-settings", (_THICKNESS, _SPACING, _PROJECTED, _FIELD_OF_VIEW, _ROWS, _COLUMNS)),
    _section(_PATH + "imaging-settings.extension:mr_image", _MR),
    _section(_PATH + "imaging-settings.extension:ct_image", _CT),
    _section(_PATH + "imaging-settings.extension:dx_image", _DX),
    _section(_PATH + "imaging-settings.extension:pt_nm_image", _PT_NM),
)
