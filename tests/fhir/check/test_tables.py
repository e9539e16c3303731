"""The constraint tables say what the published definitions say: cardinalities, types, targets, required bindings,
fixed texts. Where a table is stricter it is listed here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from node.fhir import check
from node.fhir.check import datatypes, imagingselection, imr, osiris, r4, r5
from node.fhir.check.primitives import Primitive
from node.fhir.check.shapes import Element, Extension, Having, Shape
from tests import tools
from tests.fhir.check.samples import roots, samples
from tests.fhir.validators import oracles

pytestmark = pytest.mark.shared

DATA: Final = tools.SHARED / "fhir" / "data"
EXAMPLES: Final = tools.SHARED / "fhir" / "examples"
Definition = dict[str, Any]

# Members that no table has: nothing that the node writes has them.
UNUSED: Final = {"id", "extension", "modifierExtension", "implicitRules", "language"}

R4_CORE, R5_CORE = "r4/core", "r5/core"
PAGE, HEAD = "dicom-sr/page-2025-05-01", "dicom-sr/head"

# Table, folder and name of its definition, whether it has every member of it.
TABLES: Final[list[tuple[Shape, str, str, bool]]] = [
    (r5.STUDY, R5_CORE, "ImagingStudy", True),
    (r5.ENDPOINT, R5_CORE, "Endpoint", False),
    (r5.DEVICE, R5_CORE, "Device", False),
    (r4.STUDY, R4_CORE, "ImagingStudy", True),
    (r4.ENDPOINT, R4_CORE, "Endpoint", False),
    (r4.DEVICE, R4_CORE, "Device", False),
    (r4.LOCATION, R4_CORE, "Location", False),
    (r4.OBSERVATION, R4_CORE, "Observation", False),
    (imagingselection.SELECTION, R5_CORE, "ImagingSelection", True),
    (imr.STUDY, "imr", "imr-imagingstudy", True),
    (imr.CONTAINED["Endpoint"], "imr", "imaging-study-endpoint", False),
    (osiris.STUDY, "osiris", "onco-imagingstudy", True),
    (osiris.CONTAINED["Endpoint"], "osiris", "imaging-pacs", False),
    (osiris.CONTAINED["Device"], "osiris", "imaging-device", False),
    (osiris.CONTAINED["Location"], "osiris", "imaging-service", False),
    (osiris.CONTAINED["Observation"], "osiris", "analysis", False),
    *(
        (table, HEAD if name.startswith("source-") else PAGE, name, True)
        for url, table in imagingselection.PROFILES.items()
        for name in [url.rpartition("/")[2]]
    ),
    *(
        (table, core, name, True)
        for core in (R4_CORE, R5_CORE)
        for table, name in (
            (datatypes.CODING, "Coding"),
            (datatypes.CODEABLE_CONCEPT, "CodeableConcept"),
            (datatypes.IDENTIFIER, "Identifier"),
            (datatypes.REFERENCE, "Reference"),
            (datatypes.PERIOD, "Period"),
            (datatypes.META, "Meta"),
            (datatypes.NARRATIVE, "Narrative"),
        )
    ),
    (datatypes.annotation(*r5.AUTHORS), R5_CORE, "Annotation", True),
    (datatypes.annotation(*r4.AUTHORS), R4_CORE, "Annotation", True),
]

# Stricter than the definition, on purpose: (definition, path) or path.
STRICTER: Final = {
    "id",  # of what is contained
    "meta",  # of a profile: it is claimed
    "onco-imagingstudy identifier.system",
    "onco-imagingstudy identifier.value",
    *(f"{name} code.coding" for name in imagingselection.ROWS),  # exactly the one of the pattern
    *(f"{name} derivedFrom" for name in ("source-image-for-segmentation", "source-sr-content-item")),
}
# Definitions of types that a profile may point to -> the type.
TYPES: Final = {
    "onco-patient": "Patient",
    "imaging-pacs": "Endpoint",
    "imaging-study-endpoint": "Endpoint",
    "imaging-service": "Location",
    "imaging-device": "Device",
    "analysis": "Observation",
    "dicom-sr-finding-site": "BodyStructure",
}


@cache
def _definition(folder: str, name: str) -> Definition:
    found: Definition = json.loads((DATA / folder / f"StructureDefinition-{name}.json").read_bytes())
    return found


def _elements(folder: str, name: str) -> dict[str, Definition]:
    """Elements of a definition by their ids without the type's name."""
    listed = _definition(folder, name)["snapshot"]["element"]
    return {one["id"].partition(".")[2]: one for one in listed if "." in one["id"]}


def _choice(elements: dict[str, Definition], path: str, element: Element) -> tuple[Definition | None, bool]:
    """The definition of an element, which may be one type of a choice."""
    if path in elements:
        return elements[path], False
    for stem in ("author", "effective"):
        head, _, last = path.rpartition(".")
        if last.startswith(stem):
            return elements.get(f"{head}.{stem}[x]".lstrip(".")), True
    return None, False


def _rows(shape: Shape, path: str = "") -> Iterator[tuple[str, Element]]:
    """Elements with their paths, as far as a definition goes: into backbone elements, not into datatypes."""
    for element in shape.elements.values():
        if element.name in ("resourceType", "contained"):
            continue
        here = f"{path}.{element.name}".lstrip(".")
        yield here, element
        if isinstance(element.of, Shape) and element.of.name[0].isupper() and "." in element.of.name:
            yield from _rows(element.of, here)


@pytest.mark.parametrize(
    ("shape", "folder", "name", "whole"), TABLES, ids=lambda one: str(getattr(one, "name", one))
)
def test_a_table_is_its_definition(shape: Shape, folder: str, name: str, whole: bool) -> None:
    elements = _elements(folder, name)
    wrong = []
    for path, element in _rows(shape):
        definition, choice = _choice(elements, path, element)
        if definition is None:
            wrong.append(f"{path} is not there")
            continue
        if not {path, f"{name} {path}"} & STRICTER:
            low = 0 if choice and name != "analysis" else definition["min"]
            card = low, definition["max"]
            if card != (element.low, "*" if element.high is None else str(element.high)):
                wrong.append(f"{path} is {card}")
        base = definition.get("base", {}).get("max", definition["max"])
        if element.many != (base != "1"):
            wrong.append(f"{path} of base {base}")
        wrong += [f"{path} {what}" for what in _types(definition, element)]
        wrong += [f"{path} {what}" for what in _bound(folder, definition, element)]
    assert wrong == []
    if whole:
        ours = {path for path, _ in _rows(shape)} | {"contained"}
        inside = {path.rpartition(".")[0] for path in ours} | {""}
        theirs = {
            path
            for path in elements
            if ":" not in path and path.rpartition(".")[0] in inside and path.rpartition(".")[2] not in UNUSED
        }
        assert {path for path in theirs - ours if not path.endswith("[x]")} <= {"contained"}


def _types(definition: Definition, element: Element) -> Iterator[str]:
    codes = {one["code"].rpartition("/")[2] for one in definition["type"]}
    name = element.of.name.partition(" ")[0]
    if isinstance(element.of, Primitive):
        # Elements' own ids and urls are strings of another kind.
        if name not in codes and not codes & {"System.String", "http://hl7.org/fhirpath/System.String"}:
            yield f"is {codes}"
    elif codes & {"BackboneElement", "Element"}:
        if "." not in name:
            yield f"is {codes}"
    elif name not in codes:
        yield f"is {codes}"
    for one in definition["type"]:
        if one["code"] == "Reference" and one.get("targetProfile"):
            wanted = {url.rpartition("/")[2] for url in one["targetProfile"]}
            named = {TYPES.get(each, each) for each in wanted}
            if isinstance(element.of, Shape) and named != set(element.targets):
                yield f"may point to {sorted(wanted)}"


@cache
def _codes(url: str, version: str) -> frozenset[Any] | None:
    """(system, code) of a value set; None where it is not among the files."""
    for folder in (f"{version}/core", "imr", "osiris"):
        for path in (DATA / folder).glob("ValueSet-*.json"):
            value_set = json.loads(path.read_bytes())
            if value_set["url"] == url:
                return frozenset(_included(value_set, DATA / folder))
    return None


def _included(value_set: Definition, folder: Path) -> Iterator[tuple[str, str]]:
    for include in value_set["compose"]["include"]:
        concepts = include.get("concept")
        if concepts is None:
            systems = (json.loads(path.read_bytes()) for path in folder.glob("CodeSystem-*.json"))
            concepts = next(one["concept"] for one in systems if one["url"] == include["system"])
        for one in concepts:
            yield include["system"], one["code"]
            yield from ((include["system"], inner["code"]) for inner in one.get("concept", ()))


def _bound(folder: str, definition: Definition, element: Element) -> Iterator[str]:
    binding = definition.get("binding", {})
    if binding.get("strength") != "required":
        if element.only is not None:
            yield "is not bound"
        return
    version = "r5" if folder in (R5_CORE, PAGE, HEAD) else "r4"
    codes = _codes(binding["valueSet"].partition("|")[0], version)
    bare = frozenset(code for _, code in codes or ())
    if codes is not None and element.only not in (codes, bare):
        yield f"is bound to {binding['valueSet']}"


def test_patterns_of_the_profiles() -> None:
    """What profiles fix: the code, and the SOP class that tells a slice."""
    for url, table in imagingselection.PROFILES.items():
        name = url.rpartition("/")[2]
        elements = _elements(HEAD if name.startswith("source-") else PAGE, name)
        code = table.elements["code"].of
        assert isinstance(code, Shape)
        assert code.elements["coding"].pattern == elements["code.coding"]["patternCoding"]
        meta = table.elements["meta"].of
        assert isinstance(meta, Shape)
        assert (
            meta.elements["profile"].pattern
            == url
            == _definition(PAGE if not name.startswith("source-") else HEAD, name)["url"]
        )
        for one in table.elements["instance"].slices:
            definition = elements[f"instance:{one.name}"]
            assert (one.low, "*" if one.high is None else str(one.high)) == (
                definition["min"],
                definition["max"],
            )
            if isinstance(one.when, Having):
                assert (
                    one.when.pattern["sopClass"] == elements[f"instance:{one.name}.sopClass"]["patternCoding"]
                )
            assert one.shape is not None
            for member in ("subset", "imageRegion2D"):
                wanted = elements[f"instance:{one.name}.{member}"]
                row = one.shape.elements[member]
                assert (row.low, "*" if row.high is None else str(row.high)) == (wanted["min"], wanted["max"])
        for member, kind in (("basedOn", "serviceRequestRef"), ("derivedFrom", "imagingStudyRef")):
            (found,) = table.elements[member].slices
            assert found.name == kind
            assert found.shape is not None
            identifier = found.shape.elements["identifier"].of
            assert isinstance(identifier, Shape)
            wanted = elements[f"{member}:{kind}.identifier.type"]["patternCodeableConcept"]
            assert identifier.elements["type"].pattern == {"coding": tuple(wanted["coding"])}


@pytest.mark.parametrize(
    "extension", [osiris.WEIGHT_HEIGHT, osiris.IMAGING_SETTINGS], ids=lambda one: one.url
)
def test_extensions_of_osiris(extension: Extension) -> None:
    name = extension.url.rpartition("/")[2]
    listed = _definition("osiris", name)["snapshot"]["element"]
    elements = {one["id"]: one for one in listed}
    assert elements["Extension.url"]["fixedUri"] == extension.url
    found = dict(_parts(extension, "Extension"))
    theirs = {path: one for path, one in elements.items() if "sliceName" in one and "[x]" not in path}
    assert set(theirs) - set(found) <= {"Extension.extension:imaging_injection"}
    for path, part in found.items():
        one = theirs[path]
        assert (part.low, str(part.high)) == (one["min"], one["max"]), path
        assert elements[f"{path}.url"]["fixedUri"] == part.url
        value = elements[f"{path}.value[x]"]
        if part.parts:
            assert value["max"] == "0"
        else:
            assert [f"value{each['code'].capitalize()}" for each in value["type"]] == [part.member], path
            assert part.of is not None
            assert part.of.name == value["type"][0]["code"]


def _parts(extension: Extension, path: str) -> Iterator[tuple[str, Extension]]:
    for part in extension.parts:
        here = f"{path}.extension:{part.url}"
        yield here, part
        yield from _parts(part, here)


def test_the_published_spelling() -> None:
    url = "https://ig-osiris.cancer.fr/ig/osiris/StructureDefinition/series-weightheigt"
    assert osiris.WEIGHT_HEIGHT.url == url


@pytest.mark.parametrize("name", check.RULES)
def test_other_validators_accept_what_is_made_from_the_tables(name: str) -> None:
    made = [resource for root in roots(name) for resource in samples(name, root)]
    assert oracles.faults(name, made) == [[]] * len(made)
