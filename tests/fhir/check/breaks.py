"""What breaks the rules of constraint tables: values that types have not, changes that rules on an object refuse."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Final

from node.fhir.check.shapes import Json
from tests.fhir.check.nodes import Change, Path, at

# Primitive type -> values that it has not, each wrong in its own way.
BAD: Final[dict[str, tuple[Any, ...]]] = {
    "string": (
        None,
        "",
        " ",
        "a\0",
        "a\x1b$B",
        "a\x7f",
        "a\x85",
        "a\ud800",
        " a",
        "a ",
        7,
        True,
        ["a"],
        {"a": 1},
    ),
    "markdown": (None, "", "\n", "a\x07", 7),
    "xhtml": (None, "", "<p>a</p>", '<div xmlns="http://www.w3.org/1999/xhtml"><p>a</div>', 7),
    "code": (None, "", " a", "a ", "a  b", "a\tb", 7),
    "id": (None, "", "a" * 65, "a b", "a_b", "ä", "1.2\0", 7),
    "uri": (None, "", "a b", "a\n", "a\x01", 7),
    "url": (None, "", "/relative", "https://a b", 7),
    "canonical": (None, "", "a b", 7),
    "dateTime": (
        None,
        "",
        "20260310",
        "2026-3-10",
        "2026-13",
        "2026-02-30",
        "0000",
        "2026-03-10T08:15:30",
        "2026-03-10T08:15+01:00",
        "2026-03-10T24:00:00Z",
        "2026-03-10T08:15:30+14:30",
        "2026-03-10T08:15:30.1234567890Z",
        "2026-03-10 ",
        7,
    ),
    "instant": (None, "", "2026", "2026-03-10", "2026-03-10T08:15:30", "2026-02-30T08:15:30Z", 7),
    "integer": (None, "7", 7.0, True, 2147483648, -2147483649),
    "unsignedInt": (None, "7", 7.0, True, -1, 2147483648),
    "decimal": (None, "1.5", True, float("nan"), float("inf")),
    "boolean": (None, "true", 1),
    "dateTime of DSTU1": (None, "2026-03-10T08:15:60Z", "2026-03-10T08:15:30", "2026-02-30", "20260310", 7),
    "id of DSTU1": (None, "A", "a" * 37, "a_b", "", 7),
    "oid of DSTU1": (None, "", "1.2.3", "urn:oid:1.02", "urn:oid:", "urn:oid:1.2.", "urn:uuid:1", 7),
}


def _put(**members: Any) -> Callable[[Path], list[Change]]:
    """Replaces members; None drops one."""

    def breaks(path: Path) -> list[Change]:
        def change(resource: Json) -> None:
            place = at(resource, path)
            for name, value in members.items():
                place.pop(name, None)
                if value is not None:
                    place[name] = value

        return [change]

    return breaks


def _all(*breaks: Callable[[Path], list[Change]]) -> Callable[[Path], list[Change]]:
    return lambda path: [change for one in breaks for change in one(path)]


def _append(name: str, value: Any) -> Callable[[Path], list[Change]]:
    return lambda path: [lambda resource: at(resource, path)[name].append(copy.deepcopy(value))]


def _other_blocks(path: Path) -> list[Change]:
    """The block of another modality, no block where one belongs, one where none belongs, one more."""

    def modality(**coding: str) -> Change:
        return lambda resource: at(resource, path)["modality"].update(coding)

    def settings(resource: Json) -> list[Json]:
        found: list[Json] = at(resource, path)["extension"][1]["extension"]
        return found

    def none(resource: Json) -> None:
        settings(resource)[:] = [one for one in settings(resource) if not one["url"].endswith("_image")]

    if path != ("series", 0):
        return []
    return [
        modality(code="DX"),
        modality(system="https://terminology.arkhn.com/SeriesModalityCS", code="RTSTRUCT"),
        none,
        _one_more_block,
    ]


def _one_more_block(resource: Json) -> None:
    first, second = (one["extension"][1]["extension"] for one in resource["series"][:2])
    first.append(second[-1])


def _pet(path: Path) -> list[Change]:
    def weightless(resource: Json) -> None:
        series = at(resource, path)
        series["modality"].update(system="https://dicom.nema.org/medical/dicom", code="PT")
        del series["extension"][0]

    def heightless(resource: Json) -> None:
        series = at(resource, path)
        series["modality"].update(system="https://dicom.nema.org/medical/dicom", code="PT")
        del series["extension"][0]["extension"][1]

    return [weightless, heightless]


BREAKS: Final[dict[str, Callable[[Path], list[Change]]]] = {
    "system_and_code": _all(_put(system=None), _put(code=None)),
    "code_or_display": _put(display=None, code=None),
    "uri_code": _put(system="urn:ietf:rfc:3986", code="1.2.840.10008.5.1.4.1.1.2"),
    "uid_value": _all(
        _put(system="urn:dicom:uid", value="1.2.3"),
        _put(system="urn:dicom:uid", value="urn:oid:"),
        _put(system="urn:dicom:uid", value=None),
    ),
    "says_something": _put(reference=None, identifier=None, display=None),
    "literal_form": _all(
        _put(reference="Patient?identifier=a|b"),
        _put(reference="Patient"),
        _put(reference="patient/1"),
        _put(reference="#a b"),
    ),
    "concept_says_something": _put(coding=None, text=None, extension=[]),
    "one_author": _put(authorString="a", authorReference={"display": "a"}),
    "concept_or_reference": _put(concept=None, reference=None, extension=[]),
    "identified_by_uid": _all(
        _put(identifier=None),
        _put(identifier=[{"value": "1"}]),
        _append("identifier", {"system": "urn:dicom:uid", "value": "urn:oid:1.2.4"}),
    ),
    "whole_points_2d": _all(_append("coordinate", 1), _put(coordinate=[1])),
    "whole_points_3d": _all(_append("coordinate", 1), _put(coordinate=[1, 2])),
    "reference_or_display": _put(reference=None, display=None),
    "not_negative": _put(numberOfInstances=-1),
    "fitting_block": _other_blocks,
    "weight_of_pet": _pet,
}
