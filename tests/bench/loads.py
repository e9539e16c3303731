"""What the bench sends: objects made here, encoded once, and the association request before them."""

from __future__ import annotations

import itertools
import random
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

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

from tests.bench.header import VARIANTS, Live, header, instance_uid
from tests.bench.replay import Head, write_heads

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
    """Writes an encoded data set (explicit VR little endian) below ``folder``, its UIDs placeholders, and beside
    it the heads (``replay.Head``) of all objects that are sent in turn with its pixels."""
    path = folder / (load.name.replace(" ", "-") + ".dataset")
    size = 2 * load.rows * load.columns
    pixels = random.Random(1).randbytes(size) * load.frames  # noise: nothing can compress it
    heads = [_head(load, variant, len(pixels)) for variant in range(VARIANTS)]
    path.write_bytes(heads[0].data + pixels)
    write_heads(path, heads)
    return path


def _head(load: Load, variant: int, pixels: int) -> Head:
    """Encoded twice with other digits: where the bytes differ is what the sender writes over."""
    pixel_data = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, pixels)
    one, other = (_encoded(load, variant, digit.__mul__) + pixel_data for digit in ("1", "2"))
    differing = [at for at, both in enumerate(zip(one, other, strict=True)) if both[0] != both[1]]
    runs = (list(run) for _, run in itertools.groupby(enumerate(differing), lambda pair: pair[1] - pair[0]))
    digits = [(run[0][1], len(run)) for run in runs]
    return Head(one, instance_uid(variant, 0), digits)


def _encoded(load: Load, variant: int, live: Live) -> bytes:
    data_set = header(load.sop_class, load.modality, variant, live)
    if load.frames > 1:
        data_set.NumberOfFrames = load.frames
    data_set.Rows, data_set.Columns = load.rows, load.columns
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, data_set)
    return buffer.getvalue()


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
