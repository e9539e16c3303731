"""A modality that a scenario holds by the hand: one association, objects sent one at a time."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association

from tests.harness import Address
from tests.studies import CT

SYNTAX = str(ExplicitVRLittleEndian)


def new_uid() -> str:
    """A UID with room for a few components behind it."""
    return f"1.2.826.0.1.3680043.8.498.{secrets.randbelow(10**18) + 1}"


def instance(study: str, number: int, series: int = 1, /, **elements: object) -> Dataset:
    """A small CT instance; ``elements`` are set on it."""
    found = Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    given = {
        "SOPClassUID": CT,
        "SOPInstanceUID": f"{study}.{series}.{number}",
        "StudyInstanceUID": study,
        "SeriesInstanceUID": f"{study}.{series}",
        "PatientID": "P1",
        "PatientName": "Made^By^Code",
        "StudyDate": "20260102",
        "StudyTime": "030405",
        "Modality": "CT",
        "SeriesNumber": series,
        "InstanceNumber": number,
        **elements,
    }
    for keyword, value in given.items():
        setattr(found, keyword, value)
    return found


@contextmanager
def associated(
    node: Address, calling_ae: str = "CT1", called_ae: str | None = None, sop_class: str = CT
) -> Iterator[Association]:
    """An open association that is released at the end."""
    ae = AE(ae_title=calling_ae)
    ae.add_requested_context(sop_class, [SYNTAX])
    association = ae.associate("127.0.0.1", node.port, ae_title=called_ae or node.ae_title)
    connection = association.dul.socket.socket if association.dul.socket else None
    try:
        assert association.is_established
        yield association
    finally:
        if association.is_established:
            association.release()
        association.dul.join(10)
        if connection is not None:
            connection.close()  # pynetdicom leaves it open when the peer was killed


def store(association: Association, *datasets: Dataset) -> list[int]:
    """The statuses answered; None becomes -1."""
    return [int(getattr(association.send_c_store(one), "Status", -1)) for one in datasets]


def send(node: Address, *datasets: Dataset, calling_ae: str = "CT1", called_ae: str | None = None) -> None:
    """Store over an association of their own; all must be answered 0x0000."""
    with associated(node, calling_ae, called_ae) as association:
        assert store(association, *datasets) == [0] * len(datasets)
