"""DICOM files for tests of the requestor, in every encoding."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

DEFLATED = "1.2.840.10008.1.2.1.99"


def encoded(instance: str, transfer_syntax: str, sop_class: str = CTImageStorage, pixels: int = 200) -> bytes:
    """A data set's bytes in ``transfer_syntax``."""
    data_set = Dataset()
    data_set.SOPClassUID = sop_class
    data_set.SOPInstanceUID = instance
    data_set.PatientID = "P1"
    data_set.StudyInstanceUID = "1.2.3"
    data_set.SeriesInstanceUID = "1.2.3.4"
    data_set.add_new(0x7FE00010, "OW", os.urandom(pixels))
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = transfer_syntax == ImplicitVRLittleEndian
    buffer.is_little_endian = transfer_syntax != ExplicitVRBigEndian
    write_dataset(buffer, data_set)
    if transfer_syntax != DEFLATED:
        return buffer.getvalue()
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    stream = deflate.compress(buffer.getvalue()) + deflate.flush()
    return stream + b"\0" * (len(stream) % 2)


def meta(instance: str, transfer_syntax: str | None, sop_class: str = CTImageStorage) -> bytes:
    """File meta information without preamble."""
    elements = FileMetaDataset()
    elements.MediaStorageSOPClassUID = UID(sop_class)
    elements.MediaStorageSOPInstanceUID = UID(instance)
    if transfer_syntax:
        elements.TransferSyntaxUID = UID(transfer_syntax)
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = False, True
    write_dataset(buffer, elements)
    return buffer.getvalue()


def write(path: Path, number: int, transfer_syntax: str = ExplicitVRLittleEndian, **kind: object) -> bytes:
    """A whole file; returns its data set's bytes."""
    instance = f"1.2.3.4.{number}"
    data_set = encoded(instance, transfer_syntax, **kind)  # type: ignore[arg-type]
    sop_class = str(kind.get("sop_class", CTImageStorage))
    path.write_bytes(b"\0" * 128 + b"DICM" + meta(instance, transfer_syntax, sop_class) + data_set)
    return data_set


def files(folder: Path, count: int) -> dict[str, bytes]:
    """Instance UID -> data set of ``count`` files in ``folder``."""
    return {f"1.2.3.4.{n}": write(folder / f"{n:03d}.dcm", n) for n in range(1, count + 1)}
