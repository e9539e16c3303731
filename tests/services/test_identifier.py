from __future__ import annotations

import zlib
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.data import get_charset_files
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom.dsutils import encode as pynetdicom_encode

from node.errors import IdentifierError
from node.services import identifier
from node.services.identifier import Key

SYNTAXES = [
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
]
NAME = 0x00100010


def encoded(dataset: Dataset, syntax: UID) -> bytes:
    data = pynetdicom_encode(
        dataset, syntax.is_implicit_VR, syntax.is_little_endian, deflated=syntax.is_deflated
    )
    assert data is not None
    return data


def values(data: bytes, syntax: str = ExplicitVRLittleEndian) -> dict[str, list[Any]]:
    return {key.keyword: list(key.values) for key in identifier.decode(data, syntax)}


def read(data: bytes, syntax: UID) -> Dataset:
    plain = zlib.decompress(data, -zlib.MAX_WBITS) if syntax.is_deflated else data
    return read_dataset(BytesIO(plain), syntax.is_implicit_VR, syntax.is_little_endian)


def element(tag: bytes, vr: bytes, value: bytes) -> bytes:
    return tag + vr + len(value).to_bytes(2, "little") + value


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_decodes_every_kind_of_key(syntax: UID) -> None:
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.PatientName = "Doe^J*"
    query.StudyInstanceUID = ["1.2", "1.3"]
    query.Rows = 512
    query.PatientComments = "a\\b"
    query.AccessionNumber = ""
    query.ProcedureCodeSequence = [Dataset()]
    query.ProcedureCodeSequence[0].CodeValue = "P1"
    query.ProcedureCodeSequence[0].CodeMeaning = ""
    query.RequestAttributesSequence = []
    assert values(encoded(query, syntax), syntax) == {
        "QueryRetrieveLevel": ["STUDY"],
        "PatientName": ["Doe^J*"],
        "StudyInstanceUID": ["1.2", "1.3"],
        "Rows": [512],
        "PatientComments": ["a\\b"],
        "AccessionNumber": [],
        "ProcedureCodeSequence": [{"CodeValue": ["P1"], "CodeMeaning": []}],
        "RequestAttributesSequence": [],
    }


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_encodes_what_pydicom_reads(syntax: UID) -> None:
    item = [Key(0x00080100, "SH", "CodeValue", ["P1"]), Key(0x00080104, "LO", "CodeMeaning", ["Čelist"])]
    keys = [
        Key(NAME, "PN", "PatientName", ["Yamada^Tarou=山田^太郎"]),
        Key(0x00280010, "US", "Rows", [512]),
        Key(0x00720074, "FD", "SelectorFDValue", [1.5, -2.25]),
        Key(0x00081032, "SQ", "ProcedureCodeSequence", [item]),
        Key(0x0020000D, "UI", "StudyInstanceUID", ["1.2.3"]),
        Key(0x00080008, "CS", "ImageType", ["ORIGINAL", "PRIMARY"]),
        Key(0x00080050, "SH", "AccessionNumber", []),
        Key(0x00104000, "LT", "PatientComments", ["x" * 0x1FFFF]),
        Key(0x00280011, "US", "Columns", ["not a number"]),
        Key(0x00420011, "OB", "EncapsulatedDocument", []),
    ]
    found = read(identifier.encode(keys, [], syntax), syntax)
    assert list(found.keys()) == sorted(found.keys())
    assert found.SpecificCharacterSet == "ISO_IR 192"
    assert str(found.PatientName) == "Yamada^Tarou=山田^太郎"
    assert (found.Rows, found.SelectorFDValue) == (512, [1.5, -2.25])
    assert found.ProcedureCodeSequence[0].CodeMeaning == "Čelist"
    assert found.StudyInstanceUID == "1.2.3"
    assert found.ImageType == ["ORIGINAL", "PRIMARY"]
    assert found["AccessionNumber"].is_empty
    assert found["Columns"].is_empty
    assert found["EncapsulatedDocument"].is_empty
    assert found["PatientComments"].is_empty  # longer than LT and its length field allow


def test_a_sequence_of_defined_length_and_one_without() -> None:
    sequence = b"\x08\x00\x32\x10SQ\x00\x00"
    inner = element(b"\x08\x00\x00\x01", b"SH", b"P1")
    item = b"\xfe\xff\x00\xe0"
    defined = item + len(inner).to_bytes(4, "little") + inner
    undefined = item + b"\xff" * 4 + inner + b"\xfe\xff\x0d\xe0" + bytes(4)
    end = b"\xfe\xff\xdd\xe0" + bytes(4)
    expected = {"ProcedureCodeSequence": [{"CodeValue": ["P1"]}]}
    assert values(sequence + len(defined).to_bytes(4, "little") + defined) == expected
    assert values(sequence + b"\xff" * 4 + undefined + end) == expected


def test_group_lengths_are_no_keys_and_unknown_tags_keep_their_vr() -> None:
    data = (
        b"\x08\x00\x00\x00UL\x04\x00\x0a\x00\x00\x00"
        + element(b"\x08\x00\x52\x00", b"CS", b"STUDY ")
        + element(b"\x09\x00\x10\x00", b"LO", b"MAKER ")
        + element(b"\x09\x00\x01\x10", b"CS", b"")
    )
    keys = identifier.decode(data, ExplicitVRLittleEndian)
    assert [(key.tag, key.vr, key.keyword, list(key.values)) for key in keys] == [
        (0x00080052, "CS", "QueryRetrieveLevel", ["STUDY"]),
        (0x00090010, "LO", "", ["MAKER"]),
        (0x00091001, "CS", "", []),
    ]


@pytest.mark.parametrize(
    ("charset", "raw", "text"),
    [
        (None, "Müller".encode("latin-1"), "Müller"),
        (None, "Müller".encode(), "Müller"),
        ("ISO_IR 100", "Müller".encode("latin-1"), "Müller"),
        ("ISO_IR 100", "Ärger".encode("latin-1"), "Ärger"),
        ("ISO_IR 192", "Müller".encode(), "Müller"),
        ("ISO_IR 192", "Müller".encode("latin-1"), "Müller"),  # declared wrongly
        ("ISO_IR 144", "Люкceмбypг".encode("iso8859_5"), "Люкceмбypг"),
        ("GB18030", "王^小东".encode("gb18030"), "王^小东"),
        ("\\ISO 2022 IR 87", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "Yamada^Tarou=山田^太郎"),
        ("NOT A SET", b"Plain", "Plain"),
        ("NOT A SET", "Müller".encode("latin-1"), "Müller"),
    ],
)
def test_character_sets_in(charset: str | None, raw: bytes, text: str) -> None:
    declared = b""
    if charset is not None:
        term = charset.encode("ascii")
        declared = element(b"\x08\x00\x05\x00", b"CS", term + b" " * (len(term) % 2))
    data = declared + element(b"\x10\x00\x10\x00", b"PN", raw + b" " * (len(raw) % 2))
    assert values(data)["PatientName"] == [text]


@pytest.mark.parametrize(
    ("own", "name", "terms"),
    [
        ([], "Doe^Jane", None),
        (["ISO_IR 100"], "Doe^Jane", ["ISO_IR 100"]),
        (["ISO_IR 100"], "Müller", ["ISO_IR 100"]),
        (["ISO_IR 100"], "山田", ["ISO_IR 192"]),
        ([], "Müller", ["ISO_IR 192"]),
        (["ISO_IR 6"], "Müller", ["ISO_IR 192"]),
        (["", "ISO 2022 IR 100"], "Müller", ["", "ISO 2022 IR 100"]),
        (["", "ISO 2022 IR 87"], "Yamada=山田", ["", "ISO 2022 IR 87"]),
        (["", "ISO 2022 IR 87"], "Müller=山田", ["ISO_IR 192"]),
        (["ISO_IR 192"], "山田", ["ISO_IR 192"]),
        (["GB18030"], "王", ["GB18030"]),
        (["NOT A SET"], "Müller", ["ISO_IR 192"]),
        (["NOT A SET"], "Plain", None),
    ],
)
def test_the_study_s_own_set_or_utf_8(own: list[str], name: str, terms: list[str] | None) -> None:
    data = identifier.encode([Key(NAME, "PN", "PatientName", [name])], own, ExplicitVRLittleEndian)
    found = read(data, ExplicitVRLittleEndian)
    declared = found.get("SpecificCharacterSet")
    assert ([declared] if isinstance(declared, str) else declared) == terms
    assert str(found.PatientName) == name


def test_a_set_that_is_asked_for_is_named_and_items_have_none_of_their_own() -> None:
    stored = {"SpecificCharacterSet": ["ISO_IR 100"], "CodeMeaning": ["Čelist"], "NoKeyword": ["x"]}
    asked = [
        Key(0x00080005, "CS", "SpecificCharacterSet", []),
        Key(0x00081032, "SQ", "ProcedureCodeSequence", [identifier.keys_of(stored)]),
    ]
    found = read(identifier.encode(asked, [], ExplicitVRLittleEndian), ExplicitVRLittleEndian)
    (item,) = found.ProcedureCodeSequence
    assert found.SpecificCharacterSet == "ISO_IR 192"
    assert [element.keyword for element in item] == ["CodeMeaning"]
    assert item.CodeMeaning == "Čelist"
    plain = identifier.encode(asked[:1], [], ExplicitVRLittleEndian)
    assert read(plain, ExplicitVRLittleEndian).SpecificCharacterSet == "ISO_IR 192"


@pytest.mark.parametrize("path", sorted(get_charset_files("chr*.dcm")))
def test_real_names_come_back_in_their_own_set(path: str) -> None:
    dataset = dcmread(path)
    own = dataset.get("SpecificCharacterSet") or []
    terms = [own] if isinstance(own, str) else list(own)
    name = str(dataset.get("PatientName", ""))
    data = identifier.encode([Key(NAME, "PN", "PatientName", [name])], terms, ExplicitVRLittleEndian)
    found = read(data, ExplicitVRLittleEndian)
    assert str(found.PatientName) == name
    declared = found.get("SpecificCharacterSet") or []
    assert ([declared] if isinstance(declared, str) else list(declared)) == (terms if any(terms) else [])


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("data", [b"\x00", b"\x08\x00\x52\x00CS", b"\x08\x00\x52\x00CS\x06\x00IM"])
def test_what_cannot_be_decoded_is_refused(syntax: UID, data: bytes) -> None:
    with pytest.raises(IdentifierError) as caught:
        identifier.decode(data, syntax)
    assert caught.value.status == 0xC000


def test_bounds() -> None:
    with pytest.raises(IdentifierError, match="larger"):
        identifier.decode(bytes(identifier.MAX_BYTES + 1), ExplicitVRLittleEndian)
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = deflater.compress(bytes(50_000_000)) + deflater.flush()
    with pytest.raises(IdentifierError, match="larger"):
        identifier.decode(bomb, DeflatedExplicitVRLittleEndian)
    deep = b"\x08\x00\x32\x10SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 20_000
    with pytest.raises(IdentifierError):
        identifier.decode(deep, ExplicitVRLittleEndian)


@given(st.binary(max_size=200), st.sampled_from(SYNTAXES))
def test_noise_is_refused_in_one_way(data: bytes, syntax: UID) -> None:
    try:
        identifier.decode(data, syntax)
    except IdentifierError:
        return


@given(
    st.lists(st.sampled_from([b"\x08\x00", b"\x10\x00", b"SQ", b"PN", b"\x32\x10", b"\xff\xff", b"\x00\x00",
                              b"\xfe\xff", b"\x00\xe0", b"\x0d\xe0", b"\xdd\xe0", b"\x04\x00", b"ab", b"UN"]),
             max_size=60),
    st.sampled_from(SYNTAXES),
)  # fmt: skip
def test_structured_noise_is_refused_in_one_way(parts: list[bytes], syntax: UID) -> None:
    try:
        identifier.decode(b"".join(parts), syntax)
    except IdentifierError:
        return


@given(st.text(max_size=30), st.sampled_from(["", "ISO_IR 100", "ISO 2022 IR 87", "ISO_IR 13", "GBK"]))
def test_every_text_is_written_readably(text: str, own: str) -> None:
    name = "".join(char for char in text if char.isprintable() and char not in "\\=^").strip()
    data = identifier.encode(
        [Key(0x00081030, "LO", "StudyDescription", [name])], [own], ImplicitVRLittleEndian
    )
    assert values(data, ImplicitVRLittleEndian)["StudyDescription"] == ([name] if name else [])
