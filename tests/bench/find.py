"""C-FIND by identifiers that were encoded before: the time is the receiver's, not this client's."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Mapping
from typing import Final

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from tests.bench.loads import request_for
from tests.bench.replay import connect, negotiate, read_pdu, release

STUDY_ROOT: Final = "1.2.840.10008.5.1.4.1.2.2.1"
_C_FIND_RQ: Final = 0x0020
_PENDING: Final = (0xFF00, 0xFF01)
_ASKED: Final = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "StudyDescription",
    "ModalitiesInStudy",
    "NumberOfStudyRelatedSeries",
    "NumberOfStudyRelatedInstances",
)  # the columns of a study list


def identifier(keys: Mapping[str, str]) -> bytes:
    """A study level identifier (explicit VR little endian) that asks for a study list's columns."""
    data_set = Dataset()
    data_set.QueryRetrieveLevel = "STUDY"
    for keyword in _ASKED:
        setattr(data_set, keyword, keys.get(keyword))
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, data_set)
    return buffer.getvalue()


def query(encoded: bytes) -> bytes:
    """The PDUs of a C-FIND-RQ (PS3.7 9.3.2.1), message id 1, with its identifier."""
    sop_class = STUDY_ROOT + "\0" * (len(STUDY_ROOT) % 2)
    elements = (
        (0x0002, sop_class.encode()),
        (0x0100, struct.pack("<H", _C_FIND_RQ)),
        (0x0110, struct.pack("<H", 1)),
        (0x0700, struct.pack("<H", 0)),
        (0x0800, struct.pack("<H", 1)),
    )
    body = b"".join(struct.pack("<HHI", 0, tag, len(value)) + value for tag, value in elements)
    body = struct.pack("<HHII", 0, 0, 4, len(body)) + body
    return b"".join(
        struct.pack(">BxIIBB", 4, len(part) + 6, len(part) + 2, 1, flags) + part
        for part, flags in ((body, 3), (encoded, 2))
    )


class Asker:
    """One association for queries."""

    def __init__(self, host: str, port: int, called_ae: str) -> None:
        self._sock = connect(host, port)
        negotiate(self._sock, request_for(STUDY_ROOT, called_ae))

    def ask(self, pdus: bytes) -> tuple[float, int]:
        """(seconds to the last answer, matches). RuntimeError when the query did not succeed."""
        begin = time.perf_counter()
        self._sock.sendall(pdus)
        matches, status = 0, _PENDING[0]
        command = b""
        while status in _PENDING:
            kind, body = read_pdu(self._sock)
            if kind != 4:
                raise RuntimeError(f"PDU type {kind} instead of an answer to C-FIND")
            at = 0
            while at < len(body):
                length, flags = struct.unpack_from(">IxB", body, at)
                if flags & 1:
                    command += body[at + 6 : at + 4 + length]
                    if flags & 2:
                        status, command = _status(command), b""
                        matches += status in _PENDING
                at += 4 + length
        if status != 0:
            raise RuntimeError(f"C-FIND ended with 0x{status:04X}")
        return time.perf_counter() - begin, matches

    def close(self) -> None:
        release(self._sock)
        self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()


def _status(command: bytes) -> int:
    at = 0
    while at < len(command):
        _, element, length = struct.unpack_from("<HHI", command, at)
        if element == 0x0900:
            return int(struct.unpack_from("<H", command, at + 8)[0])
        at += 8 + length
    raise RuntimeError("an answer to C-FIND without a status")
