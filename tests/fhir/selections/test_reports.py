from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from node.documents import Content, Evidence, GroupItem, Region, SopReference, When
from node.fhir.options import FhirOptions, SelectionOptions
from node.fhir.selections import reports
from node.fhir.selections.concepts import CONCEPTS
from node.terms import Code
from tests.fhir.golden import DCM, concept
from tests.fhir.selections.made import (
    BASED_ON,
    DEVICE,
    EQUIPMENT,
    IMAGES,
    ISSUED,
    OTHER,
    PROFILE,
    REPORT,
    REPORT_3D,
    RTSTRUCT,
    SCT,
    SEG,
    STORAGE,
    SUBJECT,
    VALUE_MAP,
    built,
    derived_from,
    group,
    guide_class,
    image,
    made,
    polyline,
    referring,
    report,
    resources,
    rules,
    scoord,
    scoord_3d,
    true_class,
    uid_identifier,
)
from tests.fhir.selections.test_structures import FIXED
from tests.studies import STUDY

OBSERVATION = f"{STUDY}.5.1"
SEG_AT, MAP_AT, STRUCTURES_AT = f"{STUDY}.30.1", f"{STUDY}.31.1", f"{STUDY}.32.1"
EVIDENCE = (
    Evidence(STUDY, f"{STUDY}.30", SEG_AT),
    Evidence(STUDY, f"{STUDY}.31", MAP_AT),
    Evidence(STUDY, f"{STUDY}.32", STRUCTURES_AT),
    Evidence(OTHER, f"{OTHER}.1", f"{OTHER}.1.1"),
)
PLAIN = FhirOptions()
WHOLE = FhirOptions(sr_document_selection=True)


def selected(*items: GroupItem, options: FhirOptions = PLAIN, **changes: Any) -> dict[str, dict[str, Any]]:
    return resources(made((REPORT, report(group(*items, **changes), evidence=EVIDENCE))), options)


def profile_of(resource: dict[str, Any]) -> str | None:
    found = resource.get("meta", {}).get("profile", [None])[0]
    return found.removeprefix(PROFILE) if found else None


def _common(item: str) -> dict[str, Any]:
    return {
        "identifier": [uid_identifier(OBSERVATION), {"value": f"{STUDY}.900.1/{item}"}],
        "status": "available",
        "subject": SUBJECT,
        "issued": "2026-03-10T09:30:00+00:00",
        "performer": EQUIPMENT,
        "basedOn": BASED_ON,
        "studyUid": STUDY,
        "derivedFrom": derived_from(STUDY, "23b54aab-b540-537f-a5aa-19d64ccf5af7"),
        "bodySite": {"concept": concept(SCT, "39607008", "Lung", "Lung, Right")},
        "contained": [DEVICE],
    }


def test_a_group_with_a_region_in_an_image_and_one_in_space() -> None:
    group_items = (
        scoord("1.4.3", polyline(100.5, 120.25, 140, 120.25, 100.5, 120.25), image(1, frames=(2,))),
        scoord_3d("1.4.5", Region(3, "POINT", (-12.5, 30.0, -101.25), f"{STUDY}.9")),
    )
    found = resources(made((REPORT_3D, report(group(*group_items)))))
    ids = {item: one.pop("id") for item, one in found.items()}
    focus = [{"reference": f"ImagingSelection/{ids['1.4']}", "type": "ImagingSelection"}]
    own = {"uid": f"{STUDY}.900.1", "number": 1, "subset": [OBSERVATION]}
    assert found["1.4"] == {
        "resourceType": "ImagingSelection",
        **_common("1.4"),
        "code": concept(DCM, "111040", "Original Source"),
        "seriesUid": f"{STUDY}.900",
        "seriesNumber": 900,
        "instance": [{**own, "sopClass": true_class("88.34", "Comprehensive 3D SR Storage")}],
    }
    assert found["1.4.3"] == {
        "resourceType": "ImagingSelection",
        "meta": {"profile": [PROFILE + "image-region-2d"]},
        **_common("1.4.3"),
        "code": concept(DCM, "111030", "Image Region"),
        "seriesUid": IMAGES,
        "seriesNumber": 1,
        "focus": focus,
        "instance": [
            {
                "uid": f"{STUDY}.1.1",
                "number": 1,
                "sopClass": guide_class("2", "CT Image Storage"),
                "subset": ["2"],
                "imageRegion2D": [
                    {
                        "regionType": "polyline",
                        "coordinate": [100.5, 120.25, 140, 120.25, 100.5, 120.25],
                    }
                ],
            }
        ],
    }
    region = [{"regionType": "point", "coordinate": [-12.5, 30.0, -101.25]}]
    sr = {**own, "sopClass": guide_class("88.34", "Comprehensive 3D SR Storage"), "imageRegion3D": region}
    assert found["1.4.5"] == {
        "resourceType": "ImagingSelection",
        "meta": {"profile": [PROFILE + "image-region-3d"]},
        **_common("1.4.5"),
        "code": concept(DCM, "111030", "Image Region"),
        "seriesUid": f"{STUDY}.900",
        "seriesNumber": 900,
        "frameOfReferenceUid": f"{STUDY}.9",
        "focus": focus,
        "instance": [sr],
    }


SEGMENTS = SopReference(SEG, SEG_AT, (), (4, 6))
FRAMES = SopReference(SEG, SEG_AT, (8,), ())
BOTH = SopReference(SEG, SEG_AT, (8,), (1,))
SEG_CLASS = guide_class("66.4", "Segmentation Storage")


@pytest.mark.parametrize(
    ("item", "profile", "display", "sop_class", "subsets"),
    [
        (referring("1.4.1", "121191", SEGMENTS), "referenced-segment", "Referenced Segment", SEG_CLASS, [["4"], ["6"]]),
        (
            referring("1.4.1", "121214", FRAMES),
            "referenced-segmentation-frame",
            "Referenced Segmentation Frame",
            SEG_CLASS,
            [["8"]],
        ),
        (
            referring("1.4.1", "121214", BOTH),
            "referenced-segmentation-frame",
            "Referenced Segmentation Frame",
            SEG_CLASS,
            [["1"]],
        ),
        (
            referring("1.4.1", "130488", SopReference(RTSTRUCT, STRUCTURES_AT), "COMPOSITE", rois=("2", "7", "2")),
            "region-in-space",
            "Region In Space",
            FIXED,
            [["2", "7"]],
        ),
        (
            referring("1.4.1", "126100", SopReference(VALUE_MAP, MAP_AT), "COMPOSITE"),
            "real-world-value-map",
            "Real World Value Map used for measurement",
            guide_class("67", "Real World Value Mapping Storage"),
            [None],
        ),
        (
            referring("1.4.1", "121200", image(1, frames=(3,))),
            "illustration-of-roi",
            "Illustration of ROI",
            guide_class("2", "CT Image Storage"),
            [["3"]],
        ),
        (
            referring("1.4.1", "130401", image(2), "COMPOSITE"),
            "visual-explanation",
            "Visual Explanation",
            guide_class("2", "CT Image Storage"),
            [None],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_items_that_refer_to_instances(
    item: GroupItem, profile: str, display: str, sop_class: dict[str, Any], subsets: list[list[str] | None]
) -> None:
    resource = selected(item)["1.4.1"]
    assert profile_of(resource) == profile
    assert resource["code"] == concept(DCM, item.concept.value, display)
    assert [one.get("subset") for one in resource["instance"]] == subsets
    assert all(one["sopClass"] == sop_class for one in resource["instance"])
    assert item.reference
    assert resource["instance"][0]["uid"] == item.reference.instance


@pytest.mark.parametrize(
    ("item", "display"),
    [
        (referring("1.4.1", "121191", SopReference(SEG, SEG_AT)), "Referenced Segment"),
        (referring("1.4.1", "121191", replace(SEGMENTS, sop_class=STORAGE + "66.7")), "Referenced Segment"),
        (referring("1.4.1", "121191", replace(SEGMENTS, sop_class="")), "Referenced Segment"),
        (referring("1.4.1", "130488", SopReference(RTSTRUCT, STRUCTURES_AT), "COMPOSITE"), "Region in Space"),
        (
            referring("1.4.1", "130488", SopReference(STORAGE + "481.5", STRUCTURES_AT), "COMPOSITE", rois=("1",)),
            "Region in Space",
        ),
        (
            referring("1.4.1", "126100", image(1), "COMPOSITE"),
            "Real World Value Map used for measurement",
        ),
        (scoord_3d("1.4.1", Region(3, "POINT", (1.0, 2.0, 3.0))), "Image Region"),
    ],
)  # fmt: skip
def test_no_profile_where_it_is_not_satisfied(item: GroupItem, display: str) -> None:
    resource = selected(item)["1.4.1"]
    assert "meta" not in resource
    assert resource["code"]["coding"][0]["display"] == display
    for instance in resource["instance"]:
        assert instance.get("sopClass", {"system": "urn:ietf:rfc:3986"})["system"] == "urn:ietf:rfc:3986"


def test_the_true_class_of_a_structure_set_in_a_report() -> None:
    item = referring("1.4.1", "130488", SopReference(RTSTRUCT, STRUCTURES_AT), "COMPOSITE", rois=("1",))
    options = FhirOptions(sel=SelectionOptions(rtstruct_sopclass="dicom"))
    resource = selected(item, options=options)["1.4.1"]
    assert "meta" not in resource
    assert resource["instance"][0]["sopClass"] == true_class("481.3", "RT Structure Set Storage")


def test_a_private_class_keeps_its_uri_inside_a_profile() -> None:
    item = scoord("1.4.1", polyline(1, 2), replace(image(1), sop_class="1.2.826.0.1.999"))
    resource = selected(item)["1.4.1"]
    assert profile_of(resource) == "image-region-2d"
    assert resource["instance"][0]["sopClass"] == {
        "system": "urn:ietf:rfc:3986",
        "code": "urn:oid:1.2.826.0.1.999",
    }


def test_a_volume_surface() -> None:
    item = scoord_3d("1.4.1", Region(3, "POLYGON", (1.0,) * 9, "1.2.9"), "121231")
    resource = selected(item)["1.4.1"]
    assert profile_of(resource) == "volume-surface"
    assert resource["code"] == concept(DCM, "121231", "Volume Surface")
    assert resource["frameOfReferenceUid"] == "1.2.9"


def test_source_images_are_one_selection_a_series_and_the_focus_of_segments() -> None:
    far = SopReference(SEG, f"{OTHER}.1.1")
    found = selected(
        referring("1.4.1", "121191", SEGMENTS),
        referring("1.4.2", "121233", image(1)),
        referring("1.4.3", "121233", far),
        referring("1.4.4", "121233", image(2)),
        GroupItem("1.4.5", Code("121232", "DCM"), "UIDREF", series=IMAGES),
        GroupItem("1.4.6", Code("121232", "DCM"), "UIDREF", series=f"{STUDY}.31"),
    )
    assert list(found) == ["1.4", "1.4.1", "1.4.2", "1.4.3", "1.4.6"]
    assert [one["uid"] for one in found["1.4.2"]["instance"]] == [f"{STUDY}.1.1", f"{STUDY}.1.2"]
    assert found["1.4.3"]["studyUid"] == OTHER
    assert found["1.4.6"]["seriesUid"] == f"{STUDY}.31"
    assert "instance" not in found["1.4.6"]
    foci = [one["reference"].removeprefix("ImagingSelection/") for one in found["1.4.1"]["focus"]]
    assert foci == [found[item]["id"] for item in ("1.4", "1.4.2", "1.4.3", "1.4.6")]
    assert all(profile_of(found[item]) is None for item in ("1.4", "1.4.2", "1.4.3", "1.4.6"))
    assert found["1.4.2"]["code"] == concept(DCM, "121233", "Source image for segmentation")


@pytest.mark.parametrize(
    ("changes", "identifier", "items"),
    [
        ({}, OBSERVATION, ["1.4", "1.4.1"]),
        ({"uid": ""}, "1.2.3.5", ["1.4.1"]),
        ({"uid": "", "tracking_uid": ""}, f"{STUDY}.900.1", ["1.4.1"]),
    ],
)
def test_what_a_group_is_identified_by(changes: dict[str, Any], identifier: str, items: list[str]) -> None:
    found = selected(scoord("1.4.1", polyline(1, 2), image(1)), **changes)
    assert list(found) == items
    assert found["1.4.1"]["identifier"][0] == uid_identifier(identifier)
    assert ("focus" in found["1.4.1"]) == (len(items) > 1)


def test_an_item_without_observation_time_has_that_of_its_document() -> None:
    found = selected(scoord("1.4.1", polyline(1, 2), image(1)), observed=When())
    assert found["1.4.1"]["issued"] == ISSUED


def test_one_request_in_a_profile() -> None:
    study = made((REPORT, report(group(scoord("1.4.1", polyline(1, 2), image(1))))))
    other = replace(study.accessions[0], value="SECOND")
    found = resources(replace(study, accessions=(*study.accessions, other)))
    assert [len(one["basedOn"]) for one in found.values()] == [2, 1]
    assert found["1.4.1"]["basedOn"] == BASED_ON


@pytest.mark.parametrize(
    ("item", "rule"),
    [
        (scoord("1.4.1", None, image(1)), "selection-incomplete"),
        (scoord("1.4.1", polyline(1, 2), None), "selection-incomplete"),
        (replace(scoord_3d("1.4.1", Region(3, "POINT", ())), region=None), "selection-incomplete"),
        (referring("1.4.1", "121191", None), "selection-incomplete"),
        (referring("1.4.1", "121233", None), "selection-incomplete"),
        (scoord("1.4.1", polyline(1, 2), image(99)), "selection-instance-unknown"),
        (referring("1.4.1", "121200", image(99)), "selection-instance-unknown"),
        (referring("1.4.1", "121233", image(99)), "selection-instance-unknown"),
        (GroupItem("1.4.1", Code("121232", "DCM"), "UIDREF", series="1.2.3"), "selection-instance-unknown"),
    ],
)
def test_what_can_not_be_selected_is_counted(item: GroupItem, rule: str) -> None:
    study = made((REPORT, report(group(item))))
    assert list(resources(study)) == ["1.4"]
    assert rules(study) == {rule: 1}


@pytest.mark.parametrize(
    "item",
    [
        GroupItem("1.4.1", Code("111030", "99X"), "SCOORD", image(1), polyline(1, 2)),
        GroupItem("1.4.1", Code("112039", "DCM"), "IMAGE", image(1)),
        referring("1.4.1", "121191", image(1), "COMPOSITE"),
    ],
)
def test_items_of_other_names_are_not_meant(item: GroupItem) -> None:
    study = made((REPORT, report(group(item))))
    assert list(resources(study)) == ["1.4"]
    assert rules(study) == {}


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (report(), concept(DCM, "126000", "Imaging Measurement Report", "Imaging Measurement Report")),
        (report(template="2000", title=None), {"text": "Structured Report"}),
    ],
)
def test_a_report_without_groups_is_one_selection_where_wanted(
    content: Content, code: dict[str, Any]
) -> None:
    study = made((REPORT, content))
    assert built(study) == []
    found = resources(study, WHOLE)
    assert list(found) == ["document"]
    resource = found["document"]
    assert resource["code"] == code
    assert resource["instance"] == [
        {
            "uid": f"{STUDY}.900.1",
            "number": 1,
            "sopClass": true_class("88.33", "Comprehensive SR Storage"),
        }
    ]
    assert resource["identifier"] == [uid_identifier(f"{STUDY}.900.1")]
    assert "meta" not in resource


def test_a_report_with_groups_is_never_a_selection_as_a_whole() -> None:
    assert "document" not in resources(made((REPORT, report(group()))), WHOLE)


def test_every_concept_is_made_by_a_rule_or_a_document() -> None:
    made_here = {rule.concept for rule in reports.ITEMS}
    assert {one.code for one in CONCEPTS if one not in made_here} == {"111040"}
