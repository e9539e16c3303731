from __future__ import annotations

from typing import Any

import pytest
from pydicom.sequence import Sequence

from node.fhir import osiris
from tests.fhir.golden_r4 import absent
from tests.fhir.test_osiris import SENTINEL, bare, built, first
from tests.studies import coded, ct


@pytest.mark.parametrize(
    ("changes", "private", "description"),
    [
        ({}, "P", "Thorax 1.5mm"),
        ({"SeriesDescription": ""}, "P", "P"),
        ({"SeriesDescription": ""}, "", "Thorax"),
        ({"SeriesDescription": "", "ProtocolName": None}, "", "CT THORAX"),
    ],
)
def test_the_description_of_a_series(changes: dict[str, Any], private: str, description: str) -> None:
    values = {osiris.PRIVATE_DESCRIPTION: (private,)} if private else {}
    assert built(ct(**changes), values=values)["series"][0]["description"] == description


def test_a_series_without_any_description() -> None:
    assert built(bare())["series"][0]["_description"] == absent("x")["_x"]
    assert built(bare(), options=SENTINEL)["series"][0]["description"] == "Unknown"


HEAD = Sequence([coded("69536005", "SCT", "Head")])
NEW_CHEST = Sequence([coded("816094009", "SCT", "Chest")])


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, "43799004"),
        ({"AnatomicRegionSequence": HEAD}, "69536005"),
        ({"AnatomicRegionSequence": NEW_CHEST}, "43799004"),
        ({"AnatomicRegionSequence": NEW_CHEST, "BodyPartExamined": None}, None),
        ({"AnatomicRegionSequence": Sequence([coded("1", "99X", "Own")])}, "43799004"),
        ({"BodyPartExamined": "TRUNK"}, None),
        ({"BodyPartExamined": "DESCAORTA"}, "32672002"),
        ({"BodyPartExamined": None}, None),
    ],
)
def test_the_body_site(changes: dict[str, Any], code: str | None) -> None:
    assert first(ct(**changes)).get("bodySite", {}).get("code") == code


def test_a_body_part_that_is_not_in_the_set_is_not_outvoted_by_one_that_is() -> None:
    parts = [ct(1, BodyPartExamined="TRUNK"), ct(2, BodyPartExamined="TRUNK"), ct(3)]
    assert "bodySite" not in first(*parts)
    assert first(*parts, ct(4), ct(5))["bodySite"]["code"] == "43799004"


def test_the_device() -> None:
    resource = built(ct(1, SoftwareVersions=None, DeviceUID="1.2.3"), ct(1, 2, ManufacturerModelName=None))
    one, two = (device for device in resource["contained"] if device["resourceType"] == "Device")
    assert one["version"] == [absent("value")]
    assert one["identifier"] == [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}]
    assert two["deviceName"] == [{**absent("name"), "type": "manufacturer-name"}]
    sentinel = built(ct(1, Manufacturer=None, SoftwareVersions=None), options=SENTINEL)["contained"][0]
    assert (sentinel["manufacturer"], sentinel["version"]) == ("Unknown", [{"value": "Unknown"}])


def test_no_performer_without_manufacturer_and_model() -> None:
    assert "performer" not in first(ct(Manufacturer=None, ManufacturerModelName=None))


def test_stations_of_one_device_are_one_performer() -> None:
    resource = built(ct(1, StationName="A"), ct(2, StationName="B"))
    assert resource["series"][0]["performer"] == [{"actor": {"reference": "#dev1"}}]


def test_instances_that_name_no_body_part_do_not_count() -> None:
    silent = [ct(at, BodyPartExamined=None) for at in (1, 2)]
    assert first(*silent, ct(3))["bodySite"]["code"] == "43799004"
