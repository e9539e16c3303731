"""What the bench sends: objects made here, encoded once, and the association request before them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import build_context

from tests.bench.header import header

CT_IMAGE: Final = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT: Final = "1.2.840.10008.5.1.4.1.1.2.1"
MR_IMAGE: Final = "1.2.840.10008.5.1.4.1.1.4"


@dataclass(frozen=True, slots=True)
class Load:
    """One kind of object. ``count``: objects a run sends over all associations (``quick``: a short run)."""

    name: str
    sop_class: str
    modality: str
    rows: int
    columns: int
    frames: int
    count: int
    quick: int

    def objects(self, quick: bool, associations: int, share: int = 1) -> int:
        """Objects each association sends: one ``share``-th, but at least one (a quick run is short as it is)."""
        return max(1, (self.quick if quick else self.count // share) // associations)


LOADS: Final = (
    Load("CT 525 kB", CT_IMAGE, "CT", 512, 512, 1, 1_500, 300),
    Load("MR 10 kB", MR_IMAGE, "MR", 62, 62, 1, 12_000, 2_000),
    Load("multi-frame 200 MB", ENHANCED_CT, "CT", 512, 512, 381, 8, 2),
)


def record(load: Load, folder: Path) -> Path:
    """Writes the encoded data set (explicit VR little endian) below ``folder``; its UIDs are placeholders."""
    path = folder / (load.name.replace(" ", "-") + ".dataset")
    data_set = _header(load)
    pixels = random.Random(1).randbytes(2 * load.rows * load.columns)  # noise: nothing can compress it
    data_set.PixelData = pixels * load.frames
    data_set["PixelData"].VR = "OW"
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, data_set)
    path.write_bytes(buffer.getvalue())
    return path


def _header(load: Load) -> Dataset:
    data_set = header(load.sop_class, load.modality)
    if load.frames > 1:
        data_set.NumberOfFrames = load.frames
    data_set.Rows, data_set.Columns = load.rows, load.columns
    return data_set


def association_request(load: Load, called_ae: str) -> bytes:
    """``request_for`` the load's class."""
    return request_for(load.sop_class, called_ae)


def request_for(abstract_syntax: str, called_ae: str) -> bytes:
    """An A-ASSOCIATE-RQ with one context (id 1): ``abstract_syntax`` in explicit VR little endian."""
    length = MaximumLengthNotification()
    length.maximum_length_received = 16384
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = PYNETDICOM_IMPLEMENTATION_UID
    context = build_context(UID(abstract_syntax), ExplicitVRLittleEndian)
    context.context_id = 1
    request = A_ASSOCIATE()
    request.application_context_name = UID("1.2.840.10008.3.1.1.1")
    request.calling_ae_title = "BENCH"
    request.called_ae_title = called_ae
    request.presentation_context_definition_list = [context]
    request.user_information = [length, implementation]
    return A_ASSOCIATE_RQ(request).encode()
