"""The elements of a header that the node keeps, in one table: what they are and at which level they are kept.

``header.py`` looks for these tags, ``extract/`` decodes them by the VR given here (PS3.6), C-FIND answers
with their keywords. SHARED values repeat in every instance of a series and are stored once per distinct set;
OWN values belong to one instance.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

SHARED: Final = "shared"
OWN: Final = "own"


class Element(NamedTuple):
    """One row: DICOM keyword, value representation, the level it is kept at, and its C-FIND level.

    ``find`` is the level of the query/retrieve information model (PS3.4 C.6) whose answers carry the key,
    None for elements that only the mapping reads.
    """

    keyword: str
    vr: str
    kept: Literal["shared", "own"]
    find: Literal["PATIENT", "STUDY", "SERIES", "IMAGE"] | None


_PATIENT = {
    0x00100010: ("PatientName", "PN"),
    0x00100020: ("PatientID", "LO"),
    0x00100021: ("IssuerOfPatientID", "LO"),
    0x00100024: ("IssuerOfPatientIDQualifiersSequence", "SQ"),
    0x00100030: ("PatientBirthDate", "DA"),
    0x00100032: ("PatientBirthTime", "TM"),
    0x00100040: ("PatientSex", "CS"),
    0x00101000: ("OtherPatientIDs", "LO"),
    0x00101001: ("OtherPatientNames", "PN"),
    0x00101002: ("OtherPatientIDsSequence", "SQ"),
    0x00102160: ("EthnicGroup", "SH"),
    0x00104000: ("PatientComments", "LT"),
}

_STUDY = {
    0x00080005: ("SpecificCharacterSet", "CS"),
    0x00080020: ("StudyDate", "DA"),
    0x00080030: ("StudyTime", "TM"),
    0x00080050: ("AccessionNumber", "SH"),
    0x00080051: ("IssuerOfAccessionNumberSequence", "SQ"),
    0x00080090: ("ReferringPhysicianName", "PN"),
    0x00080096: ("ReferringPhysicianIdentificationSequence", "SQ"),
    0x00080201: ("TimezoneOffsetFromUTC", "SH"),
    0x00081030: ("StudyDescription", "LO"),
    0x00081032: ("ProcedureCodeSequence", "SQ"),
    0x00081060: ("NameOfPhysiciansReadingStudy", "PN"),
    0x00081062: ("PhysiciansReadingStudyIdentificationSequence", "SQ"),
    0x00081080: ("AdmittingDiagnosesDescription", "LO"),
    0x00081084: ("AdmittingDiagnosesCodeSequence", "SQ"),
    0x00101010: ("PatientAge", "AS"),
    0x00101020: ("PatientSize", "DS"),
    0x00101030: ("PatientWeight", "DS"),
    0x00102180: ("Occupation", "SH"),
    0x001021B0: ("AdditionalPatientHistory", "LT"),
    0x00200010: ("StudyID", "SH"),
    0x00201070: ("OtherStudyNumbers", "IS"),
    0x00321032: ("RequestingPhysician", "PN"),
    0x00321033: ("RequestingService", "LO"),
    0x00321060: ("RequestedProcedureDescription", "LO"),
    0x00321064: ("RequestedProcedureCodeSequence", "SQ"),
    0x00380010: ("AdmissionID", "LO"),
    0x00380014: ("IssuerOfAdmissionIDSequence", "SQ"),
    0x00401001: ("RequestedProcedureID", "SH"),
    0x00401002: ("ReasonForTheRequestedProcedure", "LO"),
    0x0040100A: ("ReasonForRequestedProcedureCodeSequence", "SQ"),
}

_SERIES = {
    0x00080021: ("SeriesDate", "DA"),
    0x00080031: ("SeriesTime", "TM"),
    0x00080060: ("Modality", "CS"),
    0x00080070: ("Manufacturer", "LO"),
    0x00080080: ("InstitutionName", "LO"),
    0x00080081: ("InstitutionAddress", "ST"),
    0x00080082: ("InstitutionCodeSequence", "SQ"),
    0x00081010: ("StationName", "SH"),
    0x0008103E: ("SeriesDescription", "LO"),
    0x0008103F: ("SeriesDescriptionCodeSequence", "SQ"),
    0x00081040: ("InstitutionalDepartmentName", "LO"),
    0x00081041: ("InstitutionalDepartmentTypeCodeSequence", "SQ"),
    0x00081050: ("PerformingPhysicianName", "PN"),
    0x00081052: ("PerformingPhysicianIdentificationSequence", "SQ"),
    0x00081070: ("OperatorsName", "PN"),
    0x00081072: ("OperatorIdentificationSequence", "SQ"),
    0x00081090: ("ManufacturerModelName", "LO"),
    0x00082218: ("AnatomicRegionSequence", "SQ"),
    0x00180010: ("ContrastBolusAgent", "LO"),
    0x00180015: ("BodyPartExamined", "CS"),
    0x00180024: ("SequenceName", "SH"),
    0x00181000: ("DeviceSerialNumber", "LO"),
    0x00181002: ("DeviceUID", "UI"),
    0x00181020: ("SoftwareVersions", "LO"),
    0x00181030: ("ProtocolName", "LO"),
    0x00181090: ("CardiacNumberOfImages", "IS"),
    0x00181400: ("AcquisitionDeviceProcessingDescription", "LO"),
    0x00200011: ("SeriesNumber", "IS"),
    0x00200052: ("FrameOfReferenceUID", "UI"),
    0x00200060: ("Laterality", "CS"),
    0x00201002: ("ImagesInAcquisition", "IS"),
    0x00200105: ("NumberOfTemporalPositions", "IS"),
    0x00400243: ("PerformedLocation", "SH"),
    0x00400244: ("PerformedProcedureStepStartDate", "DA"),
    0x00400245: ("PerformedProcedureStepStartTime", "TM"),
    0x00400253: ("PerformedProcedureStepID", "SH"),
    0x00400254: ("PerformedProcedureStepDescription", "LO"),
    0x00400275: ("RequestAttributesSequence", "SQ"),
    0x00400512: ("ContainerIdentifier", "LO"),
    0x00400560: ("SpecimenDescriptionSequence", "SQ"),
    0x00540081: ("NumberOfSlices", "US"),
    0x00540101: ("NumberOfTimeSlices", "US"),
    0x00541000: ("SeriesType", "CS"),
}

# Enhanced objects keep per image values here; of all that is in it only what extract.attributes.FROM_GROUPS
# names is kept.
SHARED_FUNCTIONAL_GROUPS: Final = 0x52009229

_INSTANCE = {
    0x00080008: ("ImageType", "CS"),
    0x00080012: ("InstanceCreationDate", "DA"),
    0x00080013: ("InstanceCreationTime", "TM"),
    0x00080016: ("SOPClassUID", "UI"),
    0x00080022: ("AcquisitionDate", "DA"),
    0x00080023: ("ContentDate", "DA"),
    0x0008002A: ("AcquisitionDateTime", "DT"),
    0x00080032: ("AcquisitionTime", "TM"),
    0x00080033: ("ContentTime", "TM"),
    0x00200012: ("AcquisitionNumber", "IS"),
    0x00200013: ("InstanceNumber", "IS"),
    0x00200032: ("ImagePositionPatient", "DS"),
    0x00200037: ("ImageOrientationPatient", "DS"),
    0x00200062: ("ImageLaterality", "CS"),
    0x00200100: ("TemporalPositionIdentifier", "IS"),
    0x00204000: ("ImageComments", "LT"),
    0x00280008: ("NumberOfFrames", "IS"),
    0x00280010: ("Rows", "US"),
    0x00280011: ("Columns", "US"),
    0x00280100: ("BitsAllocated", "US"),
    0x0040A043: ("ConceptNameCodeSequence", "SQ"),
    0x00420010: ("DocumentTitle", "ST"),
    0x00541330: ("ImageIndex", "US"),
    0x00700080: ("ContentLabel", "CS"),
    0x00700081: ("ContentDescription", "LO"),
    0x30040004: ("DoseType", "CS"),
    0x3004000A: ("DoseSummationType", "CS"),
    0x30060002: ("StructureSetLabel", "SH"),
    0x30060004: ("StructureSetName", "LO"),
    0x300A0002: ("RTPlanLabel", "SH"),
}

# Kept for the mapping alone: C-FIND answers without them.
_MAPPING = {
    0x00080110: ("CodingSchemeIdentificationSequence", "SQ"),
}

ELEMENTS: Final[dict[int, Element]] = {
    **{tag: Element(k, vr, SHARED, None) for tag, (k, vr) in _MAPPING.items()},
    **{tag: Element(k, vr, SHARED, "PATIENT") for tag, (k, vr) in _PATIENT.items()},
    **{tag: Element(k, vr, SHARED, "STUDY") for tag, (k, vr) in _STUDY.items()},
    **{tag: Element(k, vr, SHARED, "SERIES") for tag, (k, vr) in _SERIES.items()},
    **{tag: Element(k, vr, OWN, "IMAGE") for tag, (k, vr) in _INSTANCE.items()},
}

SOP_CLASS_UID: Final = 0x00080016
SOP_INSTANCE_UID: Final = 0x00080018
STUDY_INSTANCE_UID: Final = 0x0020000D
SERIES_INSTANCE_UID: Final = 0x0020000E
CHARACTER_SET: Final = 0x00080005

IDENTIFYING: Final = (SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, SERIES_INSTANCE_UID)
WANTED: Final[frozenset[int]] = frozenset(ELEMENTS) | {*IDENTIFYING, SHARED_FUNCTIONAL_GROUPS}
SHARED_TAGS: Final = tuple(sorted(tag for tag, element in ELEMENTS.items() if element.kept == SHARED))
LAST_WANTED: Final = max(WANTED)

BY_KEYWORD: Final[dict[str, Element]] = {element.keyword: element for element in ELEMENTS.values()}
