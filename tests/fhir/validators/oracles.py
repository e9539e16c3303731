"""The other validators: the profile checker, FHIR's JSON Schemas and DSTU1's XML Schema, by output.

The checkers and all definitions lie beside the checkout (marker ``shared``); they are loaded once a run.
"""

from __future__ import annotations

import importlib.util
import json
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from types import ModuleType
from typing import Any, Final, Literal, NamedTuple

from jsonschema_rs import Draft6Validator

from tests import tools

FHIR = tools.SHARED / "fhir"
DATA = FHIR / "data"

Resource = Mapping[str, Any]


class Target(NamedTuple):
    """What an output has to hold: ``profile`` is the one every resource must satisfy, claimed or not; without
    it, those that the resource claims. ``definitions`` are folders of the shared data; of one URL the last counts
    (upstream's profiles before those of the published page)."""

    version: Literal["0.0", "4.0", "5.0"]
    definitions: tuple[str, ...] = ()
    profile: str | None = None


TARGETS: Final[dict[str, Target]] = {
    "r5": Target("5.0", ("r5/core",)),
    "imr": Target(
        "4.0",
        ("r4/core", "imr"),
        "https://profiles.ihe.net/RAD/IMR/StructureDefinition/imr-imagingstudy",
    ),
    "osiris": Target(
        "4.0",
        ("r4/core", "osiris"),
        "https://ig-osiris.cancer.fr/ig/osiris/StructureDefinition/onco-imagingstudy",
    ),
    "dstu1": Target("0.0"),
    "imagingselection": Target("5.0", ("r5/core", "dicom-sr/head", "dicom-sr/page-2025-05-01")),
}
_SCHEMAS: Final = {"4.0": "r4", "5.0": "r5"}


def faults(profile_name: str, resources: Sequence[Resource]) -> list[list[str]]:
    """What is wrong with each resource of the output ``profile_name`` (a key of TARGETS), by every validator
    that knows its FHIR version; an empty list for each that is right. Each text begins with the validator."""
    target = TARGETS[profile_name]
    if target.version == "0.0":
        return [xml_schema(resource) for resource in resources]
    return [profile_check(target, resource) + json_schema(target.version, resource) for resource in resources]


def profile_check(target: Target, resource: Resource) -> list[str]:
    """Faults by the profile checker: cardinalities, slices, bindings, references, contained resources."""
    found = _profile_checker(target.definitions).check(resource, target.profile)
    return [f"profile_check: {text}" for text in found]


def json_schema(version: str, resource: Resource) -> list[str]:
    """Faults by the JSON Schema that FHIR publishes: members, types, lexical forms; no profile, no binding."""
    schema = _json_schema(version, resource["resourceType"])
    return [
        f"json_schema: $.{'.'.join(map(str, error.instance_path))}: {error.message[:300]}"
        for error in schema.iter_errors(resource)
    ]


def xml_schema(resource: Resource) -> list[str]:
    """Faults by the XML Schema of DSTU1, after the resource was written as XML."""
    return [f"xml_schema: {text}" for text in _dstu1_checker().check(resource)]


def _tool(name: str) -> ModuleType:
    """A program of the shared tools as a module."""
    spec = importlib.util.spec_from_file_location(f"shared_{name}", FHIR / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def _profile_checker(definitions: tuple[str, ...]) -> Any:
    folders = [str(DATA / folder) for folder in definitions]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves closing its files to the interpreter
        return _tool("profile_check").Checker(folders)


@cache
def _schema_definitions(version: str) -> Any:
    text = (DATA / _SCHEMAS[version] / "fhir.schema.json").read_text()
    # R5's pattern of a decimal has a brace too many: ECMA 262 refuses it unless it is escaped.
    return json.loads(text.replace("{1,9}})?", r"{1,9}\\})?"))["definitions"]


@cache
def _json_schema(version: str, resource_type: str) -> Draft6Validator:
    dialect = "http://json-schema.org/draft-06/schema#"
    reference = f"#/definitions/{resource_type}"
    return Draft6Validator(
        {"$schema": dialect, "definitions": _schema_definitions(version), "$ref": reference}
    )


@cache
def _dstu1_checker() -> Any:
    return _tool("dstu1_check").D1(str(DATA / "dstu1"))
