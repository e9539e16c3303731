"""File meta information: what pydicom and DCMTK read of it, and what the node reads back."""

from __future__ import annotations

from io import BytesIO

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors import DataSetError
from node.objects import filemeta
from node.objects.filemeta import FileMeta
from tests.studies import CT, EXPLICIT, IMPLICIT, ct, encoded

META = FileMeta(CT, "1.2.3.4.5", EXPLICIT, "SCANNER", "DICOMFHIR")
CLASS, VERSION = "2.25.1", "TEST_1"


def test_pydicom_reads_it() -> None:
    data = filemeta.encode(META, CLASS, VERSION) + encoded(ct())
    read = pydicom.dcmread(BytesIO(data))
    meta = read.file_meta
    assert read.PatientID == "PAT-0042"
    assert meta.FileMetaInformationVersion == b"\0\1"
    assert (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID) == (CT, "1.2.3.4.5")
    assert meta.TransferSyntaxUID == EXPLICIT
    assert (meta.ImplementationClassUID, meta.ImplementationVersionName) == (CLASS, VERSION)
    assert (meta.SourceApplicationEntityTitle, meta.ReceivingApplicationEntityTitle) == (
        "SCANNER",
        "DICOMFHIR",
    )
    assert meta.SendingApplicationEntityTitle == "SCANNER"
    assert data[:128] == bytes(128)


_UIDS = st.from_regex(r"[0-9.]{0,64}", fullmatch=True)
_TITLES = st.text("ABCxyz 0123?-_", max_size=16).map(str.rstrip)


@given(st.builds(FileMeta, _UIDS, _UIDS, _UIDS, _TITLES, _TITLES))
def test_reads_back_what_it_wrote(meta: FileMeta) -> None:
    data = filemeta.encode(meta, CLASS, VERSION)
    file = BytesIO(data + b"data set")
    assert filemeta.read(file) == meta._replace(length=len(data))
    assert file.read() == b"data set"


def test_text_that_is_no_ascii_is_not_written() -> None:
    data = filemeta.encode(META._replace(sop_instance="1.2\u0663"), CLASS, VERSION)
    assert filemeta.read(BytesIO(data)).sop_instance == "1.2?"


WHOLE = filemeta.encode(META, CLASS, VERSION)


@pytest.mark.parametrize(
    "data",
    [b"", bytes(100), bytes(200), WHOLE[:140], bytes(128) + b"DICM" + encoded(ct())]
    + [WHOLE[:140] + b"\xff\xff\xff\x7f" + WHOLE[144:]],
)
def test_not_a_file_of_the_node(data: bytes) -> None:
    with pytest.raises(DataSetError):
        filemeta.read(BytesIO(data))


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    for given_bytes in (data, WHOLE[:132] + data, WHOLE[:144] + data):
        try:
            filemeta.read(BytesIO(given_bytes))
        except DataSetError as error:
            assert str(error)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((META, b"data"), (META, b"data"), True),
        ((META, b"data"), (META._replace(sending_ae="OTHER"), b"data"), True),
        ((META, b"data"), (META, b"dato"), False),
        ((META, b"data"), (META, b"data+"), False),
        ((META, b""), (META, b""), True),
        ((META, b"data"), (META._replace(transfer_syntax=IMPLICIT), b"data"), False),
        ((META, bytes(3_000_000)), (META, bytes(2_999_999) + b"\1"), False),
    ],
)
def test_same_data_set(first: tuple[FileMeta, bytes], second: tuple[FileMeta, bytes], expected: bool) -> None:
    files = [BytesIO(filemeta.encode(meta, CLASS, VERSION) + data) for meta, data in (first, second)]
    assert filemeta.same_data_set(*files) is expected
