"""The worked examples pass, the broken ones are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest

from node.errors import ResourceInvalid
from node.fhir import check
from node.fhir.check import Rules, r4
from tests import tools

pytestmark = pytest.mark.shared

EXAMPLES: Final = tools.SHARED / "fhir" / "examples"

WORKED: Final = {
    "r5-imagingstudy": "r5",
    "r4-imr": "imr",
    "r4-osiris": "osiris",
    "dstu1": "dstu1",
    "r5-imagingselection": "imagingselection",
}
# The broken examples of R4 are of no profile.
BASES: Final = {
    "r": Rules(
        r4.STUDY,
        {"Endpoint": r4.ENDPOINT, "Device": r4.DEVICE},
        "fhir.resources.R4B.imagingstudy:ImagingStudy",
    ),
    "s": check.RULES["imagingselection"],
}


def _worked() -> list[Path]:
    return sorted(EXAMPLES.glob("*.json")) if EXAMPLES.is_dir() else []


@pytest.mark.parametrize("path", _worked(), ids=lambda path: path.stem)
def test_worked_examples(path: Path) -> None:
    target = next(name for prefix, name in WORKED.items() if path.stem.startswith(prefix))
    check.check(target, json.loads(path.read_bytes()))


def _verdicts() -> list[tuple[str, str]]:
    table = EXAMPLES / "broken" / "verdicts.tsv"
    lines = table.read_text().splitlines()[1:] if table.exists() else []
    return [(name, verdict) for name, verdict, *_ in (line.split("\t") for line in lines)]


@pytest.mark.parametrize(("name", "verdict"), _verdicts())
def test_broken_examples(name: str, verdict: str) -> None:
    resource = json.loads((EXAMPLES / "broken" / f"{name}.json").read_bytes())
    rules = BASES.get(name[0], check.RULES["r5"])
    assert bool(check.reasons_of(rules, resource)) == (verdict != "ok")


def test_the_claim_of_a_profile_without_table() -> None:
    resource = json.loads((EXAMPLES / "r5-imagingselection-kos.json").read_bytes())
    resource["meta"] = {"profile": ["http://hl7.org/fhir/uv/dicom-sr/StructureDefinition/other"]}
    with pytest.raises(ResourceInvalid, match=r"meta\.profile"):
        check.check("imagingselection", resource)
