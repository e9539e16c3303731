"""The validators are tested too: each accepts what is right and refuses what is broken, as its blind spots say."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from tests.fhir.validators import oracles
from tests.fhir.validators.hapi import KNOWN, Hapi

pytestmark = pytest.mark.shared

EXAMPLES = oracles.FHIR / "examples"
BROKEN = EXAMPLES / "broken"

# Worked example -> the output that it is one of.
WORKED: Final = {
    "r5-imagingstudy": "r5",
    "r4-imr-imagingstudy": "imr",
    "r4-osiris-imagingstudy": "osiris",
    "r4-osiris-cr-sentinels": "osiris",
    "dstu1-imagingstudy": "dstu1",
    "r5-imagingselection-kos": "imagingselection",
    "r5-imagingselection-rtstruct-region-in-space": "imagingselection",
    "r5-imagingselection-rtstruct-true-uid-no-profile": "imagingselection",
    "r5-imagingselection-scoord-2d": "imagingselection",
    "r5-imagingselection-scoord-3d": "imagingselection",
    "r5-imagingselection-seg-segment": "imagingselection",
}
# What the publishers of FHIR and of the profiles have as examples -> an output with the same definitions.
PUBLISHED: Final = {
    "r5/ImagingStudy-example*": "r5",
    "r5/ImagingSelection-example*": "imagingselection",
    "r5/Endpoint-example*": "r5",
    "imr/ImagingStudy-ex*": "imr",
    "osiris/ImagingStudy-fhir*": "osiris",
    "dicom-sr/*/ImagingSelection*": "imagingselection",
    "dstu1/imagingstudy-example-0.0.82": "dstu1",
}
# Broken ones that HAPI lets pass. The profile checker sees them all.
UNSEEN_BY_HAPI: Final = {
    "14_ref_type_wrong": "the type of a logical reference is not compared with the allowed targets",
    "31_string_ctrl": "a control character is a warning",
    "s11_coord_odd": "an odd number of coordinates is our own rule",
}

BASE: Final = {"4.0": oracles.Target("4.0", ("r4/core",)), "5.0": oracles.Target("5.0", ("r5/core",))}

Mutation = Callable[[Any], object]


def _read(name: str) -> Any:
    return json.loads((EXAMPLES / f"{name}.json").read_bytes())


def _verdicts() -> list[dict[str, str]]:
    """The rows of the table of broken examples; none where the shared files are not."""
    table = BROKEN / "verdicts.tsv"
    lines = table.read_text().splitlines() if table.exists() else []
    return [dict(zip(lines[0].split("\t"), line.split("\t"), strict=True)) for line in lines[1:]]


def _names(verdicts: list[dict[str, str]]) -> list[str]:
    return [row["file"] for row in verdicts]


@pytest.fixture(params=_verdicts(), ids=lambda row: row["file"])
def verdict(request: pytest.FixtureRequest) -> dict[str, str]:
    """A row of the table of broken examples: ``file``, what is ``expected``, what each validator says."""
    row: dict[str, str] = request.param
    return row


def _base(name: str) -> oracles.Target:
    """The FHIR version of a broken example, without profiles: none claims one."""
    return BASE["4.0" if name.startswith("r4") else "5.0"]


def test_every_example_is_used() -> None:
    assert set(WORKED) == {path.stem for path in EXAMPLES.glob("*.json")}
    assert set(_names(_verdicts())) == {path.stem for path in BROKEN.glob("*.json")}
    assert len(_verdicts()) == 52


@pytest.mark.parametrize(("name", "target"), WORKED.items(), ids=WORKED)
def test_oracles_accept_the_worked_examples(name: str, target: str) -> None:
    assert oracles.faults(target, [_read(name)]) == [[]]


def _published(pattern: str) -> list[Any]:
    found = [json.loads(path.read_bytes()) for path in sorted(oracles.DATA.glob(f"{pattern}.json"))]
    assert found
    return found


@pytest.mark.parametrize(("pattern", "target"), PUBLISHED.items(), ids=PUBLISHED)
def test_oracles_accept_the_published_examples(pattern: str, target: str) -> None:
    assert not any(oracles.faults(target, _published(pattern)))


def test_the_profile_checker_finds_what_is_broken(verdict: dict[str, str]) -> None:
    found = oracles.profile_check(_base(verdict["file"]), _read(f"broken/{verdict['file']}"))
    assert bool(found) == (verdict["profile_check"] == "reject"), found


def test_the_json_schema_finds_what_it_can(verdict: dict[str, str]) -> None:
    found = oracles.json_schema(_base(verdict["file"]).version, _read(f"broken/{verdict['file']}"))
    assert bool(found) == (verdict["json-schema"] == "reject"), found


def _without(*path: str | int) -> Mutation:
    def mutate(resource: Any) -> object:
        for step in path[:-1]:
            resource = resource[step]
        return resource.pop(path[-1])

    return mutate


def _with(value: Any, *path: str | int) -> Mutation:
    def mutate(resource: Any) -> object:
        for step in path[:-1]:
            resource = resource[step]
        resource[path[-1]] = value
        return resource

    return mutate


PRACTITIONER: Final = {"reference": "Practitioner/1"}
SERIES_MODALITY: Final = ("series", 0, "modality")

# What only the profile (of DSTU1: the schema) forbids: what is done -> worked example, mutation.
MUTANTS: Final[dict[str, tuple[str, Mutation]]] = {
    "imr without modality": ("r4-imr-imagingstudy", _without("modality")),
    "imr without started": ("r4-imr-imagingstudy", _without("started")),
    "imr without endpoint": ("r4-imr-imagingstudy", lambda r: (r.pop("endpoint"), r.pop("contained"))),
    "imr with two study UIDs": ("r4-imr-imagingstudy", lambda r: r["identifier"].append(r["identifier"][0])),
    "imr for a practitioner": ("r4-imr-imagingstudy", _with(PRACTITIONER, "subject")),
    "imr by QIDO-RS": (
        "r4-imr-imagingstudy",
        _with("dicom-qido-rs", "contained", 0, "connectionType", "code"),
    ),
    "osiris without description": ("r4-osiris-imagingstudy", _without("description")),
    "osiris without reasonReference": ("r4-osiris-imagingstudy", _without("reasonReference")),
    "osiris without imaging-settings": ("r4-osiris-imagingstudy", _without("series", 0, "extension")),
    "osiris with the code of another system": (
        "r4-osiris-imagingstudy",
        _with("http://dicom.nema.org/resources/ontology/DCM", *SERIES_MODALITY, "system"),
    ),
    "osiris with an unknown modality": ("r4-osiris-imagingstudy", _with("XX", *SERIES_MODALITY, "code")),
    "osiris with CID 4's chest": (
        "r4-osiris-imagingstudy",
        _with({"system": "http://snomed.info/sct", "code": "816094009"}, "series", 0, "bodySite"),
    ),
    "region-in-space with the true SOP class": (
        "r5-imagingselection-rtstruct-region-in-space",
        _with("1.2.840.10008.5.1.4.1.1.481.3", "instance", 0, "sopClass", "code"),
    ),
    "region-in-space without subject": ("r5-imagingselection-rtstruct-region-in-space", _without("subject")),
    "segment as a whole": ("r5-imagingselection-seg-segment", _without("instance", 0, "subset")),
    "3D region without frame of reference": (
        "r5-imagingselection-scoord-3d",
        _without("frameOfReferenceUid"),
    ),
    "dstu1 with a modality of later days": ("dstu1-imagingstudy", _with("DMS", *SERIES_MODALITY)),
    "dstu1 without a count": ("dstu1-imagingstudy", _without("numberOfSeries")),
    "dstu1 with a bare UID": ("dstu1-imagingstudy", _with("1.2.3", "uid")),
    "dstu1 with a leading zero": ("dstu1-imagingstudy", _with("urn:oid:1.02.3", "uid")),
    "dstu1 with R4's sopClass": (
        "dstu1-imagingstudy",
        _with("urn:oid:1.2", "series", 0, "instance", 0, "sopClass"),
    ),
    "dstu1 with a status": ("dstu1-imagingstudy", _with("available", "status")),
}


def _mutant(rule: str) -> tuple[str, Any]:
    """An output's name, and a resource that it must not make."""
    name, mutate = MUTANTS[rule]
    resource = _read(name)
    mutate(resource)
    return WORKED[name], resource


@pytest.mark.parametrize("rule", MUTANTS)
def test_oracles_refuse_what_a_profile_forbids(rule: str) -> None:
    target, resource = _mutant(rule)
    assert oracles.faults(target, [resource]) != [[]]


def test_each_resource_has_its_own_faults() -> None:
    right = _read("r5-imagingstudy")
    wrong = copy.deepcopy(right)
    del wrong["status"]
    assert [bool(one) for one in oracles.faults("r5", [right, wrong, right])] == [False, True, False]


@pytest.mark.hapi
@pytest.mark.timeout(600)  # the first one may fetch the jars
class TestHapi:
    """HAPI sees the invariants and all slicing; see UNSEEN_BY_HAPI for what it does not."""

    @pytest.mark.parametrize("name", [name for name in WORKED if not name.startswith("dstu1")])
    def test_worked_examples(self, hapi: Hapi, name: str) -> None:
        row = oracles.TARGETS[WORKED[name]]
        assert hapi.errors(_read(name), row.version, row.profile) == []

    @pytest.mark.parametrize("pattern", [one for one in PUBLISHED if not one.startswith("dstu1")])
    def test_published_examples(self, hapi: Hapi, pattern: str) -> None:
        row = oracles.TARGETS[PUBLISHED[pattern]]
        for resource in _published(pattern):
            assert hapi.errors(resource, row.version, row.profile) == []

    def test_broken_examples(self, hapi: Hapi, verdict: dict[str, str]) -> None:
        name = verdict["file"]
        found = hapi.errors(_read(f"broken/{name}"), _base(name).version)
        assert bool(found) == (verdict["expected"] != "ok" and name not in UNSEEN_BY_HAPI), found

    @pytest.mark.parametrize("rule", [rule for rule in MUTANTS if not rule.startswith("dstu1")])
    def test_what_a_profile_forbids(self, hapi: Hapi, rule: str) -> None:
        target, resource = _mutant(rule)
        row = oracles.TARGETS[target]
        assert hapi.errors(resource, row.version, row.profile) != []

    def test_an_error_says_where(self, hapi: Hapi) -> None:
        resource = _read("r5-imagingstudy")
        resource["series"][0]["number"] = -1
        (error,) = hapi.errors(resource, "5.0")
        assert "error at ImagingStudy.series[0].number" in error

    def test_a_warning_is_no_error(self, hapi: Hapi) -> None:
        found = hapi.warnings(_read("r5-imagingstudy"), "5.0")
        assert any("narrative" in one for one in found)

    def test_a_profile_that_it_has_not(self, hapi: Hapi) -> None:
        assert (
            hapi.errors(_read("r5-imagingstudy"), "5.0", "http://example.org/StructureDefinition/none") != []
        )

    def test_an_extension_that_nobody_defined(self, hapi: Hapi) -> None:
        resource = _read("r4-osiris-imagingstudy")
        for extension in resource["series"][0]["extension"]:
            extension["url"] = extension["url"].replace("weightheigt", "weightheight")
        assert any("weightheight" in one for one in hapi.errors(resource, "4.0"))

    def test_every_known_difference_still_is_one(self, hapi: Hapi) -> None:
        example = _read("r5-imagingselection-rtstruct-region-in-space")
        said = [one.message for one in hapi.findings(example, "5.0")]
        assert [pattern for pattern in KNOWN if not any(re.search(pattern, text) for text in said)] == []

    def test_a_process_that_ends_is_no_verdict(self, tmp_path: Path) -> None:
        with (
            Hapi(tmp_path, oracles.DATA) as without_jars,
            pytest.raises(pytest.fail.Exception, match="Error"),
        ):
            without_jars.errors(_read("r5-imagingstudy"), "5.0")
