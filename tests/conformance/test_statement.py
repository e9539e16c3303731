"""The statement as text: it follows the configuration, and tells no secret."""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import Any, get_args

import pytest
from pydicom.datadict import dictionary_VR

from node import settings
from node.association import negotiation, protocol
from node.association.tls import TlsFiles
from node.config import Config
from node.conformance import claims, security, statement, storage
from node.conformance.query import LIST, MATCHING, RANGE, SEQUENCE, SINGLE, WILDCARD
from node.extract import charset
from node.index.search import KEY_LEVELS
from node.legal import CHARACTER_SETS
from node.matching import RULES, Criteria


def row(text: str, label: str) -> list[str]:
    """The cells of the one row of all tables whose first cell is ``label``."""
    (found,) = [line for line in text.splitlines() if line.startswith(f"| {label} |")]
    return [cell.strip() for cell in found.split("|")[2:-1]]


def test_every_table_has_cells_for_its_head_and_nothing_is_left_to_fill_in() -> None:
    text = statement(Config())
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1, block
    assert "None" not in text
    assert "{" not in text
    assert text.endswith("|\n") or text.endswith(".\n")


def test_it_follows_the_configuration(tmp_path: Path) -> None:
    for name in ("node.crt", "node.key"):
        (tmp_path / name).write_text("PEM")
    files = {"certificate": str(tmp_path / "node.crt"), "key": str(tmp_path / "node.key")}
    config = Config(
        dicom=settings.Dicom(
            ae_title="ARCHIVE",
            aliases=("OLD",),
            port=104,
            max_associations=7,
            max_pdu=65536,
            max_find_answers=12,
            unknown_peers=(),
            timeouts=settings.Timeouts(handshake=3, idle=4, transfer=5.5),
            tls=settings.Tls(**files, key_password="key-secret"),
        ),
        peers=(
            settings.PeerTable(
                ae_title="CT*",
                address="10.0.0.0/8",
                services=("store",),
                max_associations=3,
                username="anna",
                password="peer-secret",
            ),
        ),
        objects=settings.Objects(on_duplicate="reject", durability="none"),
        shutdown_seconds=9,
    )
    text = statement(config)
    assert "AE title: `ARCHIVE`." in text
    assert "Called AE title: `ARCHIVE`, `OLD`" in text
    assert row(text, "associations at a time, as acceptor")[0] == "7"
    assert row(text, "maximum PDU length announced, and taken")[0] == "65536 bytes"
    assert row(text, "timeout, nothing received between messages")[0] == "4 s"
    assert row(text, "`dicom.timeouts.transfer`") == ["`5.5`", "`30`"]
    assert row(text, "`dicom.tls`") == ["present", "absent"]
    assert row(text, "`CT*`") == ["10.0.0.0/8", "store", "3", "user name and password", "", ""]
    assert "Callers without an entry are rejected" in text
    assert "At most 12 matches" in text
    assert "gives open associations 9 s to end" in text
    assert "it is not synced" in text
    assert storage.ON_DUPLICATE["reject"] in text
    for untold in ("secret", "anna", str(tmp_path)):
        assert untold not in text


def test_what_it_says_of_the_key_that_decides_has_a_text_for_each_value() -> None:
    for table, key, said in (
        (settings.Objects, "on_duplicate", storage.ON_DUPLICATE),
        (settings.Objects, "durability", storage.DURABLE),
        (settings.Fhir, "on_patient_conflict", storage.ON_PATIENT_CONFLICT),
    ):
        assert set(said) == set(get_args(table.model_fields[key].annotation))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "nothing is deleted"),
        ({"max_age_days": 30}, "completed more than 30 days ago; they are still found"),
        ({"min_free_bytes": 10, "keep_index": False}, "less than 10 bytes are free; they are not found"),
        ({"max_age_days": 1, "min_free_bytes": 10}, "1 days ago or completed the longest ago"),
    ],
)
def test_retention(given: dict[str, Any], said: str) -> None:
    assert said in statement(Config(retention=settings.Retention(**given)))


def test_every_code_of_negotiation_and_protocol_is_claimed() -> None:
    rejections = {value for name, value in vars(negotiation).items() if name.startswith("REJECT_")}
    assert {claim.code for claim in claims.REJECTIONS} == rejections
    reasons = (protocol.UNRECOGNIZED_PDU, protocol.UNEXPECTED_PDU, protocol.INVALID_PARAMETER)
    assert {claim.code for claim in claims.ABORTS} == {(2, 0), *((2, reason) for reason in reasons)}


# --- C-FIND: each kind of matching that is claimed works, and none works that is not

TEXT = ("ABC", {SINGLE: "ABC", WILDCARD: "A*C", LIST: "X\\ABC"}, "ABD")
NUMBER = ("12", {SINGLE: "12", LIST: "7\\12"}, "13")
SAMPLES: dict[str, tuple[str, dict[str, str], str]] = {
    **dict.fromkeys((vr for vr, kinds in MATCHING.items() if WILDCARD in kinds), TEXT),
    **dict.fromkeys((vr for vr, kinds in MATCHING.items() if kinds == (SINGLE, LIST)), NUMBER),
    "UI": ("1.2.3", {SINGLE: "1.2.3", LIST: "1.9\\1.2.3"}, "1.2.4"),
    "DA": ("20260310", {SINGLE: "20260310", RANGE: "20260301-", LIST: "20250101\\20260310"}, "20260228"),
    "TM": ("0815", {SINGLE: "0815", RANGE: "08-09", LIST: "0700\\0815"}, "1200"),
    "DT": ("202603100815", {SINGLE: "202603100815", RANGE: "2026-2027", LIST: "2025\\2026"}, "2024"),
}


@pytest.mark.parametrize("vr", [vr for vr in RULES if vr != "SQ"])
def test_matching(vr: str) -> None:
    stored, keys, other = SAMPLES[vr]
    assert set(keys) == set(MATCHING[vr])
    for kind, key in keys.items():
        accepts = RULES[vr](key.split("\\"))
        assert accepts(stored), kind
        assert not accepts(other), kind


@pytest.mark.parametrize(
    ("vr", "key", "stored"), [("UI", "1.2.*", "1.2.3"), ("IS", "1*", "12"), ("LO", "A-C", "B")]
)
def test_no_matching_that_is_not_claimed(vr: str, key: str, stored: str) -> None:
    assert not RULES[vr]([key])(stored)


def test_sequences_match_by_their_items() -> None:
    query = {"RequestAttributesSequence": [{"RequestedProcedureID": ["RP1"]}]}
    assert MATCHING["SQ"] == (SEQUENCE,)
    assert Criteria(query).matches({"RequestAttributesSequence": [{"RequestedProcedureID": ["RP1"]}]})
    assert not Criteria(query).matches({"RequestAttributesSequence": [{"RequestedProcedureID": ["RP2"]}]})


def test_every_key_is_listed_under_its_level() -> None:
    annex = statement(Config()).partition("## Annex B")[2]
    found = {
        level: len(re.findall(r"^\| \([0-9A-F]{4},[0-9A-F]{4}\) \|", part, re.MULTILINE))
        for level, part in zip(
            *[iter(re.split(r"^### (\w+)$", annex, flags=re.MULTILINE)[1:])] * 2, strict=True
        )
    }
    levels = list(KEY_LEVELS.values())
    assert found == {level: levels.count(level) for level in ("PATIENT", "STUDY", "SERIES", "IMAGE")}
    assert all(dictionary_VR(keyword)[:2] in MATCHING for keyword in KEY_LEVELS)


# --- characters and TLS


def test_latin_9_is_read() -> None:
    (codec,) = charset.codecs_of(("ISO_IR 203",))
    assert charset.decode("œuvre à 3 €".encode("iso8859-15"), (codec,)) == "œuvre à 3 €"
    switched = b"a \x1b-b" + "œ €".encode("iso8859-15")
    assert charset.decode(switched, charset.codecs_of(("", "ISO 2022 IR 203"))) == "a œ €"


@pytest.mark.parametrize("term", sorted(map(str, CHARACTER_SETS)))
def test_a_character_set_that_is_claimed_is_read(term: str) -> None:
    assert f"`{term}`" in security.characters()
    assert charset.codecs_of((term,)) != charset.DEFAULT or term.endswith((" 6", " 100"))


@pytest.mark.openssl
def test_cipher_suites(certificate: tuple[Path, Path]) -> None:
    files = TlsFiles(certificate[0].read_bytes(), certificate[1].read_bytes())
    offered = {cipher["name"] for cipher in files.context().get_ciphers()}
    assert offered == {*map(openssl_name, security.TLS_1_2), *security.TLS_1_3}
    assert files.context().minimum_version == ssl.TLSVersion.TLSv1_2


def openssl_name(suite: str) -> str:
    """A suite of TLS 1.2 as OpenSSL calls it: TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256."""
    name = suite.removeprefix("TLS_").replace("_WITH", "").replace("AES_", "AES").replace("_", "-")
    return name.removesuffix("-SHA256") if "CHACHA20" in name else name
