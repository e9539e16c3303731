from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from node.documents import Segment, SeriesReference, SopReference
from node.fhir.options import FhirOptions
from node.terms import Code
from tests.fhir.golden import DCM, concept
from tests.fhir.selections.made import (
    BASED_ON,
    DEVICE,
    EQUIPMENT,
    IMAGES,
    ISSUED,
    KIDNEY,
    LABEL_MAP,
    PROFILE,
    REPORT,
    SCT,
    SEG,
    SUBJECT,
    built,
    derived_from,
    group,
    guide_class,
    image,
    made,
    referring,
    report,
    resources,
    rules,
    segmentation,
    true_class,
    uid_identifier,
)
from tests.studies import STUDY

WHOLE = FhirOptions(seg_mode="instance")
LESION = replace(KIDNEY, number=5, label="", region=None, region_modifiers=())
GOLDEN: dict[str, Any] = {
    "resourceType": "ImagingSelection",
    "meta": {"profile": [PROFILE + "referenced-segment"]},
    "identifier": [uid_identifier(f"{STUDY}.900.1"), {"value": f"{STUDY}.900.1/2"}],
    "status": "available",
    "subject": SUBJECT,
    "issued": ISSUED,
    "performer": EQUIPMENT,
    "basedOn": BASED_ON,
    "code": concept(DCM, "121191", "Referenced Segment", "Kidney, sick"),
    "studyUid": STUDY,
    "derivedFrom": derived_from(STUDY, "23b54aab-b540-537f-a5aa-19d64ccf5af7"),
    "seriesUid": f"{STUDY}.900",
    "seriesNumber": 900,
    "frameOfReferenceUid": f"{STUDY}.9",
    "bodySite": {"concept": concept(SCT, "64033007", "Kidney", "Kidney, Left")},
    "instance": [
        {
            "uid": f"{STUDY}.900.1",
            "number": 1,
            "sopClass": guide_class("66.4", "Segmentation Storage"),
            "subset": ["2"],
        }
    ],
    "contained": [DEVICE],
}


def test_a_segment_is_a_selection() -> None:
    found = resources(made((SEG, segmentation(KIDNEY, LESION))))
    assert list(found) == ["2", "5"]
    assert found["2"].pop("id")
    assert found["2"] == GOLDEN
    assert "text" not in found["5"]["code"]
    assert "bodySite" not in found["5"], "a neoplasm is no body site"


def test_or_all_segments_together_without_profile() -> None:
    (found,) = resources(made((SEG, segmentation(KIDNEY, LESION))), WHOLE).items()
    item, resource = found
    assert item == "segments"
    assert "meta" not in resource
    assert resource["code"] == concept(DCM, "121191", "Referenced Segment", "ORGANS")
    assert resource["instance"][0]["subset"] == ["2", "5"]
    assert resource["instance"][0]["sopClass"] == true_class("66.4", "Segmentation Storage")
    assert resource["identifier"] == [uid_identifier(f"{STUDY}.900.1")]


@pytest.mark.parametrize("options", [FhirOptions(), WHOLE])
def test_one_segment_alone(options: FhirOptions) -> None:
    (resource,) = resources(made((SEG, segmentation(KIDNEY))), options).values()
    assert ("meta" in resource) == (options is not WHOLE)


@pytest.mark.parametrize(
    ("category", "value"),
    [
        (Code("123037004", "SCT", meaning="Anatomical Structure"), "10200004"),
        (Code("T-D000A", "SRT", meaning="Anatomical Structure"), "10200004"),
        (Code("85756007", "SCT", meaning="Tissue"), "10200004"),
        (Code("49755003", "SCT", meaning="Morphologically Altered Structure"), None),
        (Code("123037004", "99X", meaning="Other"), None),
        (None, None),
    ],
)
def test_a_property_type_is_a_site_only_when_it_is_a_body_structure(
    category: Code | None, value: str | None
) -> None:
    liver = Code("10200004", "SCT", meaning="Liver")
    segment: Segment = replace(LESION, property_category=category, property_type=liver)
    (resource,) = resources(made((SEG, segmentation(segment)))).values()
    site = resource.get("bodySite", {}).get("concept", {}).get("coding", [{}])[0].get("code")
    assert site == value


def test_a_region_wins_over_the_property_type() -> None:
    organ = Code("123037004", "SCT", meaning="Anatomical Structure")
    liver = Code("10200004", "SCT", meaning="Liver")
    segment = replace(KIDNEY, property_category=organ, property_type=liver)
    (resource,) = resources(made((SEG, segmentation(segment)))).values()
    assert resource["bodySite"]["concept"]["text"] == "Kidney, Left"


def test_a_label_map_claims_no_profile() -> None:
    found = resources(made((LABEL_MAP, segmentation(KIDNEY, LESION))))
    assert list(found) == ["2", "5"]
    assert all("meta" not in one for one in found.values())
    assert found["2"]["instance"][0]["sopClass"]["code"] == f"urn:oid:{LABEL_MAP}"


def test_no_segments_and_repeated_ones() -> None:
    assert resources(made((SEG, segmentation()))) == {}
    study = made((SEG, segmentation(KIDNEY, replace(LESION, number=2))))
    assert list(resources(study)) == ["2"]
    assert rules(study) == rules(study, WHOLE) == {"selection-number-repeated": 1}


def test_a_focus_on_the_source_images_where_a_report_selects_them() -> None:
    sources = (
        SeriesReference(IMAGES, (SopReference("1.2", f"{STUDY}.1.1"),)),
        SeriesReference("1.2.3", ()),
    )
    content = report(group(referring("1.4.1", "121233", image(1))))
    alone = built(made((SEG, segmentation(KIDNEY, sources=sources))))
    assert "focus" not in alone[0].resource
    found = {
        one.item: one.resource
        for one in built(made((SEG, segmentation(KIDNEY, sources=sources)), (REPORT, content)))
    }
    assert found["2"]["focus"] == [
        {"reference": f"ImagingSelection/{found['1.4.1']['id']}", "type": "ImagingSelection"}
    ]
