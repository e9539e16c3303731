"""The header of the bench's objects: as many elements, and of the kinds, that scanners send.

A header of a few elements would flatter whoever parses all of it. CT and MR of Siemens, Philips and GE have about
110, 130 and 260 elements, items of sequences and private ones counted; this one has 126.
"""

from __future__ import annotations

from typing import Any, Final

from pydicom.dataset import Dataset

from tests.bench.replay import INSTANCE, SERIES, STUDY, uid

# PS3.3 C.7, A.3: the modules of a CT or MR image, with the values one scanner or another writes.
_VALUES: Final[dict[str, Any]] = {
    "SpecificCharacterSet": "ISO_IR 100",
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"],
    "InstanceCreationDate": "20240501",
    "InstanceCreationTime": "101733.512000",
    "StudyDate": "20240501",
    "SeriesDate": "20240501",
    "AcquisitionDate": "20240501",
    "ContentDate": "20240501",
    "StudyTime": "101500.418000",
    "SeriesTime": "101622.129000",
    "AcquisitionTime": "101648.470004",
    "ContentTime": "101648.470004",
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
    "SoftwareVersions": "syngo CT 2012B",
    "ProtocolName": "01_Thorax_Routine",
    "ReconstructionDiameter": "358",
    "DistanceSourceToDetector": "1085.6",
    "DistanceSourceToPatient": "595",
    "GantryDetectorTilt": "0",
    "TableHeight": "160",
    "RotationDirection": "CW",
    "ExposureTime": "500",
    "XRayTubeCurrent": "180",
    "Exposure": "75",
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
    "AcquisitionNumber": 2,
    "InstanceNumber": 1,
    "ImagePositionPatient": [-178.6, -339.1, -1021.5],
    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
    "FrameOfReferenceUID": "2.25.10000000000000000000000000000000000042",
    "PositionReferenceIndicator": "",
    "SliceLocation": "-1021.5",
    "ImageComments": "",
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "PixelSpacing": [0.7, 0.7],
    "BitsAllocated": 16,
    "BitsStored": 12,
    "HighBit": 11,
    "PixelRepresentation": 0,
    "SmallestImagePixelValue": 0,
    "LargestImagePixelValue": 4095,
    "WindowCenter": [50, -600],
    "WindowWidth": [350, 1200],
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
        "ReferencedSOPInstanceUID": "2.25.10000000000000000000000000000000000043",
    },
    "ReferencedImageSequence": {
        "ReferencedSOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
        "ReferencedSOPInstanceUID": "2.25.10000000000000000000000000000000000044",
    },
    "ProcedureCodeSequence": _CODE,
    "RequestedProcedureCodeSequence": _CODE,
    "RequestAttributesSequence": {
        "ScheduledProcedureStepDescription": "CT chest",
        "ScheduledProcedureStepID": "1",
        "RequestedProcedureID": "1",
    },
}
_PRIVATE: Final = (("LO", "BENCH CT"), ("DS", "1.5"), ("IS", "12"), ("OB", bytes(64)))


def header(sop_class: str, modality: str) -> Dataset:
    """All but what describes the pixels' number; its three UIDs are the sender's placeholders."""
    data_set = Dataset()
    for keyword, value in _VALUES.items():
        setattr(data_set, keyword, value)
    for keyword, values in _SEQUENCES.items():
        item = Dataset()
        for inner, value in values.items():
            setattr(item, inner, value)
        setattr(data_set, keyword, [item])
    block = data_set.private_block(0x0019, "BENCH HEADER", create=True)
    for number, (vr, value) in enumerate(_PRIVATE):
        block.add_new(number, vr, value)
    data_set.Modality = modality
    data_set.SOPClassUID = sop_class
    data_set.SOPInstanceUID = uid(INSTANCE, 0)
    data_set.SeriesInstanceUID = uid(SERIES, 0)
    data_set.StudyInstanceUID = uid(STUDY, 0)
    return data_set
