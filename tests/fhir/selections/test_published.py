"""The published definitions and those who check by them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from node.fhir.options import FhirOptions
from node.fhir.selections import concepts
from tests.fhir.selections.made import (
    FULL,
    OTHER_MODES,
    built,
    everything,
    made,
)
from tests.fhir.validators.hapi import Hapi
from tests.tools import SHARED


@pytest.mark.shared
@pytest.mark.parametrize("build", ["page-2025-05-01", "head"])
def test_the_profile_checker_agrees(build: str, tmp_path: Path) -> None:
    claimed: set[str] = set()
    for at, options in enumerate((FhirOptions(), FULL, OTHER_MODES)):
        for one in built(made(*everything()), options):
            claimed.update(one.resource.get("meta", {}).get("profile", ()))
            (tmp_path / f"{at}-{one.resource['id']}.json").write_bytes(orjson.dumps(one.resource))
    definitions = SHARED / "fhir/data"
    files = sorted(str(path) for path in tmp_path.iterdir())
    command = [
        sys.executable, str(SHARED / "fhir/tools/profile_check.py"),
        "--dir", str(definitions / "r5/core"), "--dir", str(definitions / "dicom-sr" / build), *files,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert done.stdout.count("ok ") == len(files)
    assert len(claimed) == 9, "all profiles of the published build"


@pytest.mark.shared
@pytest.mark.hapi
@pytest.mark.timeout(600)  # the first one waits until HAPI has loaded
def test_the_reference_validator_agrees(hapi: Hapi) -> None:
    for one in built(made(*everything()), FULL):
        assert hapi.errors(one.resource, "5.0") == []


@pytest.mark.shared
def test_concepts_are_those_of_the_profiles() -> None:
    for concept in concepts.CONCEPTS:
        if not concept.profile:
            continue
        path = SHARED / "fhir/data/dicom-sr/page-2025-05-01" / f"StructureDefinition-{concept.profile}.json"
        definition = orjson.loads(path.read_bytes())
        assert definition["url"] == concepts.profile(concept)
        patterns = [e["patternCoding"] for e in definition["differential"]["element"] if "patternCoding" in e]
        display = concept.display or concept.meaning
        assert {"code": concept.code, "display": display}.items() <= patterns[0].items()


@pytest.mark.shared
def test_meanings_are_those_of_dcm() -> None:
    path = SHARED / "fhir/data/dicom-terminology/CodeSystem-DCM.json"
    known = {one["code"]: one["display"] for one in orjson.loads(path.read_bytes())["concept"]}
    for concept in concepts.CONCEPTS:
        assert concept.meaning.casefold() == known[concept.code].casefold()
        if concept.display:
            assert concept.meaning == known[concept.code]
