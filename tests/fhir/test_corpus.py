"""Every real object beside the checkout: through scan, extraction, assembly, build and check."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pydicom
import pytest
from pydicom.filereader import read_file_meta_info

from node import assemble, extract, header
from node.errors import ResourceInvalid
from node.fhir import r5
from node.fhir.options import FhirOptions
from node.fhir.targets import PROFILES
from node.model import HeaderSet, InstanceRow, RawHeader, Study

SHARED = Path(__file__).resolve().parents[3] / "shared"
CORPUS = SHARED / "corpus"
R5 = PROFILES["r5"]
NAMED = FhirOptions(
    default_timezone="Europe/Paris",
    include_names=True,
    title_from_image_type=True,
    generate_narrative=True,
    wado_rs_base="https://pacs.example.org/dicomweb",
)

pytestmark = pytest.mark.shared


class Object(NamedTuple):
    file: str
    header: RawHeader
    uids: dict[int, str]
    oracle: dict[str, Any]


@lru_cache(maxsize=1)
def objects() -> list[Object]:
    with (CORPUS / "oracle.jsonl").open() as lines:
        oracles = [json.loads(line) for line in lines]
    return [found for oracle in oracles if (found := _object(oracle)) is not None]


def _object(oracle: dict[str, Any]) -> Object | None:
    """An object of a Part 10 file that says its transfer syntax; the others never come by C-STORE."""
    path = CORPUS / oracle["file"]
    data = path.read_bytes()
    if data[128:132] != b"DICM" or not oracle.get("ts"):
        return None
    start = _data_set(data)
    body = data[start:]
    raw = header.scan(lambda offset, size: body[offset : offset + size], oracle["ts"])
    tags = (0x00080016, 0x00080018, 0x0020000D, 0x0020000E)
    uids = {tag: raw.elements.get(tag, b"").decode("latin-1").strip("\0 ") for tag in tags}
    return Object(oracle["file"], raw, uids, oracle.get("pydicom") or {})


def _data_set(data: bytes) -> int:
    """Where the data set begins: behind the file meta information (group 0002, explicit little endian)."""
    at = 132
    while data[at : at + 2] == b"\x02\x00":
        long = data[at + 4 : at + 6] in (b"OB", b"UN", b"UT", b"SQ")
        length = int.from_bytes(data[at + 8 : at + 12] if long else data[at + 6 : at + 8], "little")
        at += (12 if long else 8) + length
    return at


@lru_cache(maxsize=1)
def studies() -> dict[str, Study]:
    """The studies of all objects whose UIDs a C-STORE would accept."""
    sets: dict[tuple[str, str, bytes], HeaderSet] = {}
    rows: dict[tuple[str, str, str], InstanceRow] = {}
    for one in objects():
        sop_class, sop, study, series = one.uids.values()
        if not all(uid and len(uid) <= 64 for uid in one.uids.values()):
            continue
        key = study, series, extract.digest(one.header)
        if key not in sets:
            shared = orjson.loads(orjson.dumps(extract.shared(one.header)))
            sets[key] = HeaderSet(len(sets) + 1, series, shared)
        own = orjson.loads(orjson.dumps(extract.own(one.header)))
        rows.setdefault((study, series, sop), InstanceRow(series, sop, sop_class, "", sets[key].id, own, "X"))
    return {
        uid: assemble.study(
            uid,
            [one for (study, _, _), one in sets.items() if study == uid],
            [one for (study, _, _), one in rows.items() if study == uid],
        )
        for uid in {study for study, _, _ in rows}
    }


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for member in value.values() if isinstance(value, dict) else value:
            yield from _leaves(member)


def test_there_is_something_to_test() -> None:
    assert len(objects()) > 250
    assert len(studies()) > 40


@pytest.mark.parametrize("keyword", ["PatientName", "PatientID", "Modality", "StudyDescription"])
def test_values_are_those_of_other_decoders(keyword: str) -> None:
    wrong = []
    for one in objects():
        expected = one.oracle.get(keyword)
        if one.file.endswith("PN_as_OB.dcm"):  # the VR of the dictionary holds here, not the one that is sent
            continue
        found = "\\".join(extract.shared(one.header).get(keyword, []))
        if (expected or "").strip(" \0=") != found.strip(" ="):  # pydicom drops empty component groups
            wrong.append(one.file)
    assert wrong == []


@pytest.mark.parametrize("options", [FhirOptions(), NAMED], ids=["plain", "full"])
def test_every_study_gives_a_valid_resource(options: FhirOptions) -> None:
    for study in studies().values():
        resource = r5.build(study, options)
        R5.check(resource)
        for text in _leaves(resource):
            assert text.strip() == text
            assert not any((char < " " and char not in "\t\n\r") or "\x7f" <= char <= "\x9f" for char in text)


def test_the_profile_checker_agrees(tmp_path: Path) -> None:
    for n, study in enumerate(studies().values()):
        (tmp_path / f"{n}.json").write_bytes(orjson.dumps(r5.build(study, NAMED)))
    checker, core = SHARED / "fhir/tools/profile_check.py", SHARED / "fhir/data/r5/core"
    files = sorted(str(path) for path in tmp_path.iterdir())
    command = [sys.executable, str(checker), "--dir", str(core), *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert done.stdout.count("ok ") == len(files)


BROKEN = SHARED / "fhir/examples/broken"


def _verdicts() -> list[tuple[str, str]]:
    """(name, ok or reject) of the mutated R5 ImagingStudies."""
    table = BROKEN / "verdicts.tsv"
    lines = table.read_text().splitlines() if table.exists() else []
    return [
        (name, verdict) for name, verdict, *_ in (line.split("\t") for line in lines) if name[0].isdigit()
    ]


@pytest.mark.parametrize(("name", "verdict"), _verdicts())
def test_mutated_official_examples(name: str, verdict: str) -> None:
    resource = orjson.loads((BROKEN / f"{name}.json").read_bytes())
    if verdict == "ok":
        R5.check(resource)
    else:
        with pytest.raises(ResourceInvalid):
            R5.check(resource)


def test_file_meta_is_passed_over_as_pydicom_does() -> None:
    path = CORPUS / objects()[0].file
    data = path.read_bytes()
    meta = read_file_meta_info(path)
    rest = pydicom.dcmread(BytesIO(data), stop_before_pixels=True)
    assert _data_set(data) == 132 + 12 + meta.FileMetaInformationGroupLength
    assert rest
