"""Studies made by code, on the way that real ones take: pydicom writes a data set, the scan reads it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import orjson
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from node import assemble, extract, header
from node.elements import SHARED_TAGS
from node.model import HeaderSet, InstanceRow, RawHeader, Study

IMPLICIT = str(ImplicitVRLittleEndian)
EXPLICIT = str(ExplicitVRLittleEndian)
BIG = str(ExplicitVRBigEndian)
ENCODINGS = (IMPLICIT, EXPLICIT, BIG)

STUDY = "1.2.826.0.1.3680043.8.498.77"
CT = "1.2.840.10008.5.1.4.1.1.2"
RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"


def encoded(dataset: Dataset, syntax: str = EXPLICIT) -> bytes:
    """The data set's bytes, without file meta information."""
    buffer = BytesIO()
    from pydicom.filebase import DicomFileLike

    out = DicomFileLike(buffer)
    out.is_implicit_VR = syntax == IMPLICIT
    out.is_little_endian = syntax != BIG
    write_dataset(out, dataset)
    return buffer.getvalue()


def scanned(dataset: Dataset, syntax: str = EXPLICIT) -> RawHeader:
    data = encoded(dataset, syntax)
    return header.scan(lambda offset, size: data[offset : offset + size], syntax)


def item(**elements: Any) -> Dataset:
    found = Dataset()
    for keyword, value in elements.items():
        setattr(found, keyword, value)
    return found


def coded(value: str, scheme: str, meaning: str) -> Dataset:
    return item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def rows(
    datasets: Iterable[Dataset], charset: str | None = None
) -> tuple[list[HeaderSet], list[InstanceRow]]:
    """Header sets and instance rows as the index would hold them, through JSON and back."""
    sets: dict[tuple[str, bytes], HeaderSet] = {}
    instances = []
    for dataset in datasets:
        raw = scanned(dataset)
        series = str(dataset.SeriesInstanceUID)
        key = series, extract.digest(raw, charset)
        if key not in sets:
            shared = orjson.loads(orjson.dumps(extract.shared(raw, charset)))
            sets[key] = HeaderSet(len(sets) + 1, series, shared)
        own = orjson.loads(orjson.dumps(extract.own(raw, charset)))
        instances.append(
            InstanceRow(
                series,
                str(dataset.SOPInstanceUID),
                str(dataset.SOPClassUID),
                EXPLICIT,
                sets[key].id,
                own,
                "CT1",
            )
        )
    return list(sets.values()), instances


def assembled(datasets: Iterable[Dataset]) -> Study:
    return assemble.study(STUDY, *rows(datasets))


def ct(number: int = 1, series: int = 1, /, **changes: Any) -> Dataset:
    """One CT instance with everything that the mapping reads; ``changes`` replace elements, None removes one."""
    found = item(
        SpecificCharacterSet="ISO_IR 192",
        SOPClassUID=CT,
        SOPInstanceUID=f"{STUDY}.{series}.{number}",
        StudyInstanceUID=STUDY,
        SeriesInstanceUID=f"{STUDY}.{series}",
        TimezoneOffsetFromUTC="+0100",
        **_PATIENT,
        **_STUDY,
        **_SERIES,
        SeriesNumber=series,
        InstanceNumber=number,
        ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
        AcquisitionDate="20260310",
        AcquisitionTime=f"0818{number % 60:02d}",
        ContentDate="20260310",
        ContentTime="082000",
        Rows=512,
        Columns=512,
    )
    for keyword, value in changes.items():
        if value is None:
            delattr(found, keyword)
        else:
            setattr(found, keyword, value)
    return found


def rtstruct(**changes: Any) -> Dataset:
    """The structure set that goes with the CT."""
    removed = (
        "Rows",
        "Columns",
        "ImageType",
        "AcquisitionDate",
        "AcquisitionTime",
        "BodyPartExamined",
        "Laterality",
    )
    return ct(
        1,
        900,
        SOPClassUID=RTSTRUCT,
        Modality="RTSTRUCT",
        SeriesDescription="Contours",
        StructureSetLabel="Lung contours",
        SeriesTime=None,
        **dict.fromkeys(removed),
        **changes,
    )


_PATIENT: dict[str, Any] = {
    "PatientName": "Müller^Jörg^Karl",
    "PatientID": "PAT-0042",
    "IssuerOfPatientID": "HOSP",
    "IssuerOfPatientIDQualifiersSequence": Sequence(
        [item(UniversalEntityID="1.2.250.1.999.1", UniversalEntityIDType="ISO")]
    ),
    "PatientBirthDate": "19700101",
    "PatientSex": "M",
    "PatientSize": "1.8",
    "PatientWeight": "80",
}

_STUDY: dict[str, Any] = {
    "StudyDate": "20260310",
    "StudyTime": "081530.25",
    "StudyID": "S42",
    "StudyDescription": "CT THORAX",
    "AccessionNumber": "A20260042",
    "IssuerOfAccessionNumberSequence": Sequence(
        [item(LocalNamespaceEntityID="RIS", UniversalEntityID="1.2.250.1.999.2", UniversalEntityIDType="ISO")]
    ),
    "ReferringPhysicianName": "Hippocrates^Kos",
    "ReferringPhysicianIdentificationSequence": Sequence(
        [
            item(
                PersonIdentificationCodeSequence=Sequence([coded("4711", "99DOC", "Doctor")]),
                InstitutionName="K",
            )
        ]
    ),
    "ProcedureCodeSequence": Sequence([coded("24627-2", "LN", "CT Chest")]),
    "AdmissionID": "V1",
    "AdmittingDiagnosesDescription": "Cough",
    "ReasonForTheRequestedProcedure": "Suspected pulmonary nodule",
    "RequestedProcedureDescription": "Chest",
    "RequestedProcedureID": "RP1",
}

_SERIES: dict[str, Any] = {
    "Modality": "CT",
    "SeriesDate": "20260310",
    "SeriesTime": "081702",
    "SeriesDescription": "Thorax 1.5mm",
    "ProtocolName": "Thorax",
    "BodyPartExamined": "CHEST",
    "Laterality": "L",
    "Manufacturer": "ACME Imaging",
    "ManufacturerModelName": "Spiral 64",
    "DeviceSerialNumber": "SN-7",
    "SoftwareVersions": ["VB20A", "1.2"],
    "StationName": "CTStation1",
    "InstitutionName": "Hospital A",
    "InstitutionalDepartmentName": "Radiology",
    "OperatorsName": "Curie^Marie",
    "PerformingPhysicianName": "Röntgen^Wilhelm",
    "FrameOfReferenceUID": f"{STUDY}.9",
    "RequestAttributesSequence": Sequence(
        [
            item(
                RequestedProcedureID="RP1",
                ReasonForRequestedProcedureCodeSequence=Sequence([coded("R-42039", "SRT", "Nodule")]),
            )
        ]
    ),
    "SpecimenDescriptionSequence": Sequence([item(SpecimenIdentifier="SP-1")]),
}


def made_study(folder: Path, uid: str, series: dict[str, int], pixels: int = 64) -> list[Path]:
    """Files of one study: a series of so many instances for each modality (CT, MR, PT)."""
    folder.mkdir(parents=True, exist_ok=True)
    classes = {"CT": CT, "MR": "1.2.840.10008.5.1.4.1.1.4", "PT": "1.2.840.10008.5.1.4.1.1.128"}
    files = []
    for number, (modality, count) in enumerate(series.items(), 1):
        series_uid = generate_uid()
        for index in range(1, count + 1):
            data = item(
                SOPClassUID=classes[modality],
                SOPInstanceUID=generate_uid(),
                StudyInstanceUID=uid,
                SeriesInstanceUID=series_uid,
                PatientID="MADE-1",
                PatientName="Made^By^Code",
                StudyDate="20260102",
                StudyTime="030405",
                StudyDescription="made by code",
                AccessionNumber="A-1",
                Modality=modality,
                SeriesNumber=number,
                InstanceNumber=index,
                Rows=pixels,
                Columns=pixels,
                BitsAllocated=8,
                PixelData=bytes(pixels * pixels),
            )
            data.file_meta = FileMetaDataset()
            data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            path = folder / f"{number}-{index}.dcm"
            data["PixelData"].VR = "OB"
            data.save_as(path, enforce_file_format=True)
            files.append(path)
    return files


def raw_header(found: Mapping[int, bytes], implicit: bool, little: bool) -> RawHeader:
    """The header of a scan that found these values, by tag."""
    shared = {tag: value for tag, value in found.items() if tag in SHARED_TAGS}
    own = {tag: value for tag, value in found.items() if tag not in SHARED_TAGS}
    return RawHeader(own, shared, implicit, little, sum(map(len, found.values())))
