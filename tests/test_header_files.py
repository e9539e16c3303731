"""The bounded scan against pydicom on files, and on damaged ones."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import pydicom
import pytest

from node import header
from node.elements import WANTED
from tests.studies import BIG, EXPLICIT, IMPLICIT
from tests.test_header import DEFLATED, UNDEFINED, scan, without_padding


def data_set(path: Path) -> tuple[bytes, str] | None:
    """A file's data set and transfer syntax, or None when pydicom sees no file meta information in it."""
    with path.open("rb") as file:
        try:
            preamble = pydicom.filereader.read_preamble(file, False)
            meta = pydicom.filereader.read_file_meta_info(path)
        except Exception:  # noqa: BLE001  pydicom's own files include some that it can't read
            return None
        if preamble is None or "TransferSyntaxUID" not in meta:
            return None
        file.seek(132)
        group = file.read(12)
        if group[:4] != b"\x02\0\0\0":
            return None
        file.seek(struct.unpack("<I", group[8:])[0], 1)
        return file.read(), str(meta.TransferSyntaxUID)


def assert_agrees(path: Path) -> None:
    """Every wanted element that pydicom finds up to the last one is found, with the same bytes."""
    found = data_set(path)
    assert found is not None
    data, syntax = found
    ours = scan(data, syntax)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = pydicom.dcmread(path, stop_before_pixels=True)
    for tag in sorted(WANTED):
        element = theirs.get_item(tag) if tag in theirs else None
        if element is None or not isinstance(element, pydicom.dataelem.RawDataElement):
            continue
        value = element.value
        if value is None:
            value = b""
        if element.VR == "SQ" or element.length == UNDEFINED or len(value) > header.MAX_VALUE:
            continue
        assert without_padding(ours.elements.get(tag, b"absent")) == without_padding(value), f"{tag:08X}"
    present = {int(tag) for tag in theirs.keys() if int(tag) in WANTED}  # noqa: SIM118  without decoding
    assert {tag for tag in present if tag not in ours.elements} == set()


def readable(path: Path) -> bool:
    """It says its transfer syntax, and pydicom can follow it: there is something to compare with."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pydicom.dcmread(path, stop_before_pixels=True)
    except Exception:  # noqa: BLE001  pydicom's own files include some that it can't read
        return False
    return data_set(path) is not None


# Found by path: get_testdata_files would also download.
OWN_FILES = sorted((Path(pydicom.__file__).parent / "data" / "test_files").glob("*.dcm"))
READABLE = [path for path in OWN_FILES if readable(path)]


def test_most_of_pydicoms_files_are_compared() -> None:
    assert len(READABLE) > 60


@pytest.mark.parametrize("path", READABLE, ids=lambda path: path.name)
def test_agrees_with_pydicom_on_its_own_files(path: Path) -> None:
    assert_agrees(path)


@pytest.mark.shared
def test_agrees_with_pydicom_on_the_corpus(corpus: Path) -> None:
    compared = 0
    for path in sorted(corpus.rglob("*.dcm")):
        if path.relative_to(corpus).parts[0].startswith(("fuzz", "malformed")):
            continue
        if not readable(path):
            continue
        try:
            assert_agrees(path)
            compared += 1
        except AssertionError as error:
            raise AssertionError(f"{path.relative_to(corpus)}: {error}") from None
    assert compared > 100


@pytest.mark.shared
def test_damaged_corpus_never_makes_it_raise(corpus: Path) -> None:
    for folder in ("fuzz_cat01_09", "malformed"):
        for path in sorted((corpus / folder).iterdir()):
            data = path.read_bytes()
            for syntax in (EXPLICIT, IMPLICIT, BIG, DEFLATED):
                for start in (0, 132, 400):
                    assert set(scan(data[start:], syntax).elements) <= WANTED
