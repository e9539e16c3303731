from __future__ import annotations

from dataclasses import replace
from typing import Any

from node.fhir.options import FhirOptions, SelectionOptions
from tests.fhir.golden import DCM, concept
from tests.fhir.selections.made import (
    BASED_ON,
    DEVICE,
    EQUIPMENT,
    ISSUED,
    LIVER,
    LUNG,
    PROFILE,
    RTSTRUCT,
    SCT,
    SUBJECT,
    derived_from,
    made,
    resources,
    rules,
    structures,
    true_class,
    uid_identifier,
)
from tests.studies import STUDY

ROI = FhirOptions(rtstruct_mode="roi")
TRUE = true_class("481.3", "RT Structure Set Storage")
# Written out, with the extra digit of the profile.
FIXED = {
    "system": "https://dicom.nema.org/medical/dicom/current/output/chtml/part04/sect_B.5",
    "code": "11.2.840.10008.5.1.4.1.1.481.3",
    "display": "RT Structure Set Storage",
    "_code": {
        "extension": [
            {
                "url": "http://hl7.org/fhir/StructureDefinition/alternate-codes",
                "valueCodeableConcept": {"coding": [TRUE]},
            }
        ]
    },
}
GOLDEN: dict[str, Any] = {
    "resourceType": "ImagingSelection",
    "meta": {"profile": [PROFILE + "region-in-space"]},
    "identifier": [uid_identifier(f"{STUDY}.900.1")],
    "status": "available",
    "subject": SUBJECT,
    "issued": ISSUED,
    "performer": EQUIPMENT,
    "basedOn": BASED_ON,
    "code": concept(DCM, "130488", "Region In Space", "Contours"),
    "studyUid": STUDY,
    "derivedFrom": derived_from(STUDY, "23b54aab-b540-537f-a5aa-19d64ccf5af7"),
    "seriesUid": f"{STUDY}.900",
    "seriesNumber": 900,
    "frameOfReferenceUid": f"{STUDY}.9",
    "instance": [{"uid": f"{STUDY}.900.1", "number": 1, "sopClass": FIXED, "subset": ["7", "3"]}],
    "contained": [DEVICE],
}


def test_a_structure_set_is_one_selection_of_all_its_regions() -> None:
    found = resources(made((RTSTRUCT, structures(LIVER, LUNG))))
    assert list(found) == ["rois"]
    resource = found["rois"]
    assert resource.pop("id")
    assert resource == GOLDEN


def test_or_one_a_region() -> None:
    found = resources(made((RTSTRUCT, structures(LIVER, LUNG))), ROI)
    assert [(item, one["code"]["text"], one["instance"][0]["subset"]) for item, one in found.items()] == [
        ("7", "Liver", ["7"]),
        ("3", "Lung", ["3"]),
    ]
    assert found["7"]["bodySite"] == {"concept": concept(SCT, "10200004", "Liver", "Liver")}
    assert "bodySite" not in found["3"]
    assert found["7"]["identifier"] == [
        uid_identifier(f"{STUDY}.900.1"),
        {"value": f"{STUDY}.900.1/7"},
    ]
    assert all(one["meta"] == GOLDEN["meta"] for one in found.values())


def test_the_true_sop_class_without_the_profile() -> None:
    options = FhirOptions(sel=SelectionOptions(rtstruct_sopclass="dicom"))
    resource = resources(made((RTSTRUCT, structures(LIVER))), options)["rois"]
    assert "meta" not in resource
    assert resource["instance"][0]["sopClass"] == TRUE
    assert resource["code"]["coding"][0]["display"] == "Region in Space"


def test_no_regions_no_selection() -> None:
    study = made((RTSTRUCT, structures()))
    assert resources(study) == resources(study, ROI) == {}
    assert rules(study) == {}


def test_a_number_that_repeats_is_one_region_and_counted() -> None:
    study = made((RTSTRUCT, structures(LIVER, replace(LUNG, number=7), LUNG)))
    assert resources(study)["rois"]["instance"][0]["subset"] == ["7", "3"]
    assert [one["code"]["text"] for one in resources(study, ROI).values()] == ["Liver", "Lung"]
    assert rules(study) == rules(study, ROI) == {"selection-number-repeated": 1}


def test_labels_that_say_nothing() -> None:
    bare = replace(structures(replace(LIVER, name="\x00 ", code=None)), label="", frame_of_reference="")
    for options in (FhirOptions(), ROI):
        (resource,) = resources(made((RTSTRUCT, bare)), options).values()
        assert "text" not in resource["code"]
        assert "frameOfReferenceUid" not in resource
        assert resource["meta"] == GOLDEN["meta"]
