"""The header of the bench's objects: as many elements, and of the kinds, that scanners send.

A header of a few elements would flatter whoever parses all of it. CT and MR of Siemens, Philips and GE have about
110, 130 and 260 elements, items of sequences and private ones counted; this one has 127.

Nor are the headers of a series alike, and bytes that repeat would flatter whoever remembers them. From one image
to the next of real series these change (MR, CT and PET of three vendors, compared element by element):

* in value: SOP Instance UID, Instance Number, Image Position, Slice Location, window, Rescale Slope, largest pixel
  value, numbers in private elements; where the scanner writes them for each image also the times of creation,
  acquisition and content, Acquisition Number, tube current, exposure, UIDs of images referred to;
* in length: of these the ones that are written as text with as many digits as they need, SOP Instance UIDs that
  count among them; and now and then Software Versions (what the memory held behind it).

So do these, with one difference: the lengths change with nearly each object here, in a series with each second at
most and often with each hundredth. Who takes them from the object before is wrong more often than in real life.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

from pydicom.dataset import Dataset

from tests.bench.replay import INSTANCE, SERIES, STUDY, uid

# PS3.3 C.7, A.3: the modules of a CT or MR image, with the values one scanner or another writes.
_VALUES: Final[dict[str, Any]] = {
    "SpecificCharacterSet": "ISO_IR 100",
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"],
    "InstanceCreationDate": "20240501",
    "StudyDate": "20240501",
    "SeriesDate": "20240501",
    "AcquisitionDate": "20240501",
    "ContentDate": "20240501",
    "StudyTime": "101500.418000",
    "SeriesTime": "101622.129000",
    "AccessionNumber": "BENCH",
    "Manufacturer": "Bench",
    "InstitutionName": "Bench hospital",
    "InstitutionAddress": "1 Bench street, Bench town",
    "ReferringPhysicianName": "Referring^Bench",
    "StationName": "BENCH01",
    "StudyDescription": "Thorax^01_Thorax_Routine (Adult)",
    "SeriesDescription": "Thorax 1.0 Br40",
    "InstitutionalDepartmentName": "Radiology",
    "PhysiciansOfRecord": "Record^Bench",
    "PerformingPhysicianName": "Performing^Bench",
    "OperatorsName": "Operator^Bench",
    "ManufacturerModelName": "Bench 64",
    "PatientName": "Bench^Load",
    "PatientID": "BENCH",
    "IssuerOfPatientID": "BENCH",
    "PatientBirthDate": "19700101",
    "PatientSex": "O",
    "PatientAge": "054Y",
    "PatientSize": "1.75",
    "PatientWeight": "70",
    "PregnancyStatus": 4,
    "ContrastBolusAgent": "APPLIED",
    "BodyPartExamined": "CHEST",
    "ScanOptions": "SPIRAL",
    "SliceThickness": "1",
    "KVP": "120",
    "DataCollectionDiameter": "500",
    "DeviceSerialNumber": "60001",
    "ProtocolName": "01_Thorax_Routine",
    "ReconstructionDiameter": "358",
    "DistanceSourceToDetector": "1085.6",
    "DistanceSourceToPatient": "595",
    "GantryDetectorTilt": "0",
    "TableHeight": "160",
    "RotationDirection": "CW",
    "ExposureTime": "500",
    "FilterType": "0",
    "GeneratorPower": "21",
    "FocalSpots": "1.2",
    "DateOfLastCalibration": "20240501",
    "TimeOfLastCalibration": "071145.000000",
    "ConvolutionKernel": ["Br40d", "3"],
    "PatientPosition": "HFS",
    "SingleCollimationWidth": 0.6,
    "TotalCollimationWidth": 38.4,
    "TableSpeed": 76.8,
    "TableFeedPerRotation": 38.4,
    "SpiralPitchFactor": 1.0,
    "CTDIvol": 5.08,
    "StudyID": "1",
    "SeriesNumber": 1,
    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
    "FrameOfReferenceUID": "2.25.30000000000000000000000000000000000042",
    "PositionReferenceIndicator": "",
    "ImageComments": "",
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "PixelSpacing": [0.7, 0.7],
    "BitsAllocated": 16,
    "BitsStored": 12,
    "HighBit": 11,
    "PixelRepresentation": 0,
    "RescaleIntercept": "-1024",
    "RescaleSlope": "1",
    "WindowCenterWidthExplanation": ["WINDOW1", "WINDOW2"],
    "RequestingPhysician": "Requesting^Bench",
    "RequestedProcedureDescription": "CT chest",
    "PerformedProcedureStepStartDate": "20240501",
    "PerformedProcedureStepStartTime": "101500.418000",
    "PerformedProcedureStepID": "1",
    "PerformedProcedureStepDescription": "Thorax^01_Thorax_Routine (Adult)",
}
_CODE: Final = {"CodeValue": "CTCHEST", "CodingSchemeDesignator": "99BENCH", "CodeMeaning": "CT chest"}
# One item each.
_SEQUENCES: Final[dict[str, dict[str, Any]]] = {
    "ReferencedStudySequence": {
        "ReferencedSOPClassUID": "1.2.840.10008.3.1.2.3.1",
        "ReferencedSOPInstanceUID": "2.25.30000000000000000000000000000000000043",
    },
    "ReferencedImageSequence": {
        "ReferencedSOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
        "ReferencedSOPInstanceUID": "2.25.30000000000000000000000000000000000044",
    },
    "ProcedureCodeSequence": _CODE,
    "RequestedProcedureCodeSequence": _CODE,
    "RequestAttributesSequence": {
        "ScheduledProcedureStepDescription": "CT chest",
        "ScheduledProcedureStepID": "1",
        "RequestedProcedureID": "1",
    },
}
# Of what changes: beginnings and ends of different lengths, and the whole values of some.
_ACROSS: Final = ("-178.6", "-8.25", "12.75", "-118.49509745")
_ALONG: Final = ("-1021.", "-977.", "-84.", "-7.", "7.", "42.", "118.", "1024.")
_WINDOWS: Final = ("", "21.", "213.28", "1024.5")
_SOFTWARE: Final = (*["syngo CT 2012B"] * 15, "syngo CT 2012B R04")

# So many digits -> digits that are another object's in each object
Live = Callable[[int], str]
VARIANTS: Final = 32  # objects, one after another, of different lengths; then they begin again


def _changing(variant: int, live: Live) -> dict[str, Any]:
    """The values of the ``variant``-th kind of object; its lengths follow from that alone."""
    chance = random.Random(variant)
    along = chance.choice(_ALONG) + live(5)
    across = [chance.choice(_ACROSS), chance.choice(_ACROSS)]
    smallest = chance.randrange(100)
    return {
        "InstanceCreationTime": "101733.5" + live(5),
        "AcquisitionTime": "101648.4" + live(5),
        "ContentTime": "101648.7" + live(5),
        "SoftwareVersions": chance.choice(_SOFTWARE),
        "XRayTubeCurrent": live(chance.choice((2, 3))),
        "Exposure": live(chance.choice((1, 2, 3))),
        "AcquisitionNumber": live(chance.choice((1, 2))),
        "InstanceNumber": live(1 + variant % 4),
        "ImagePositionPatient": [*across, along],
        "SliceLocation": along,
        "SmallestImagePixelValue": smallest,
        "LargestImagePixelValue": smallest + chance.randrange(3000),
        "WindowCenter": [chance.choice(_WINDOWS) + live(3), "-600"],
        "WindowWidth": [chance.choice(_WINDOWS) + live(4), "1200"],
    }


def _private(variant: int, live: Live) -> tuple[tuple[str, Any], ...]:
    """VR and value of each private element."""
    return (
        ("LO", "BENCH CT"),
        ("DS", "1." + live(5)),
        ("IS", live(4)),
        ("UI", "2.25.30000000000000000000000000000000" + live(5)),
        ("OB", random.Random(variant).randbytes(64)),
    )


def instance_uid(variant: int, serial: int) -> str:
    """The SOP Instance UID of an object: of four lengths in turn, as UIDs that count are of several."""
    return uid(INSTANCE, serial, 37 - variant % 4)


def header(sop_class: str, modality: str, variant: int, live: Live) -> Dataset:
    """All but what describes the pixels' number; its three UIDs are the sender's placeholders.

    Two of one ``variant`` differ in nothing but the digits that ``live`` gives, not even in length.
    """
    data_set = Dataset()
    for keyword, value in (_VALUES | _changing(variant, live)).items():
        setattr(data_set, keyword, value)
    for keyword, values in _SEQUENCES.items():
        item = Dataset()
        for inner, value in values.items():
            setattr(item, inner, value)
        setattr(data_set, keyword, [item])
    referred = "2.25.3000000000000000000000000000000" + live(5)
    data_set.ReferencedImageSequence[0].ReferencedSOPInstanceUID = referred
    block = data_set.private_block(0x0019, "BENCH HEADER", create=True)
    for number, (vr, value) in enumerate(_private(variant, live)):
        block.add_new(number, vr, value)
    data_set.Modality = modality
    data_set.SOPClassUID = sop_class
    data_set.SOPInstanceUID = instance_uid(variant, 0)
    data_set.SeriesInstanceUID = uid(SERIES, 0)
    data_set.StudyInstanceUID = uid(STUDY, 0)
    return data_set
