from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from node.documents import Evidence, Observer, SopReference
from node.fhir import r5
from node.fhir.options import FhirOptions
from node.terms import Code, Person
from tests.fhir.golden import DCM, PRF, concept
from tests.fhir.selections.made import (
    AT,
    BASED_ON,
    DEVICE,
    EQUIPMENT,
    IMAGES,
    ISSUED,
    KOS,
    OBSERVERS,
    OTHER,
    SCT,
    STATE,
    SUBJECT,
    built,
    dcm,
    derived_from,
    image,
    key_objects,
    made,
    resources,
    rules,
    true_class,
    uid_identifier,
)
from tests.studies import CT, STUDY, assembled, ct

CT_CLASS = true_class("2", "CT Image Storage")
FAR = SopReference(CT, f"{OTHER}.5.1", frames=(2, 4))
OF_INTEREST = concept(DCM, "113000", "Of Interest", "Nodule, follow up")
R5 = "23b54aab-b540-537f-a5aa-19d64ccf5af7"  # the id of the study's own ImagingStudy, see golden.py
OTHER_R5 = "aca53b9b-b433-5c76-9c6c-65e0b4b45236"


def _expected() -> list[dict[str, Any]]:
    """Key objects over three series of two studies."""
    document = f"{STUDY}.900.1"
    common = {
        "status": "available",
        "subject": SUBJECT,
        "issued": ISSUED,
        "performer": EQUIPMENT,
        "basedOn": BASED_ON,
        "category": [concept(DCM, "113010", "Quality Issue", "Quality Issue")],
        "code": OF_INTEREST,
    }
    site = {"bodySite": {"concept": concept(SCT, "816094009", "Chest", "CHEST")}}
    one = {"uid": f"{STUDY}.1.1", "number": 1, "sopClass": CT_CLASS, "subset": ["3"]}
    two = {"uid": f"{STUDY}.1.2", "number": 2, "sopClass": CT_CLASS}
    three = {"uid": f"{STUDY}.2.1", "number": 1, "sopClass": CT_CLASS}
    far = {"uid": f"{OTHER}.5.1", "sopClass": CT_CLASS, "subset": ["2", "4"]}
    places = [
        (f"{STUDY}.1", STUDY, R5, 1, [one, two]),
        (f"{OTHER}~{OTHER}.5", OTHER, OTHER_R5, None, [far]),
        (f"{STUDY}.2", STUDY, R5, 2, [three]),
    ]
    return [
        {
            "resourceType": "ImagingSelection",
            "identifier": [
                uid_identifier(document),
                {"system": "urn:example:selections", "value": f"{document}/{item}"},
            ],
            **common,
            "studyUid": study,
            "derivedFrom": derived_from(study, r5),
            "seriesUid": item.split("~")[-1],
            **({"seriesNumber": number} if number else {}),
            **(site if number else {}),
            "instance": instances,
            "contained": [DEVICE],
        }
        for item, study, r5, number, instances in places
    ]


def test_three_series_of_two_studies() -> None:
    content = key_objects(
        image(1, frames=(3,)),
        FAR,
        image(1, 2),
        image(2),
        evidence=(Evidence(OTHER, f"{OTHER}.5", f"{OTHER}.5.1"),),
        modifiers=(dcm("113010", "Quality Issue"),),
    )
    options = FhirOptions(sel=replace(FhirOptions().sel, identifier_system="urn:example:selections"))
    found = built(made((KOS, content), images=(ct(1), ct(2), ct(1, 2))), options)
    expected = _expected()
    assert [{k: v for k, v in one.resource.items() if k != "id"} for one in found] == expected
    assert [one.item for one in found] == [f"{STUDY}.1", f"{OTHER}~{OTHER}.5", f"{STUDY}.2"]
    assert {one.source for one in found} == {f"{STUDY}.900.1"}
    assert list(found[0].resource) == ["resourceType", "id", *list(expected[0])[1:]], "the order of members"


def test_another_study_is_referred_to_by_the_id_that_it_has_as_r5() -> None:
    content = key_objects(FAR, evidence=(Evidence(OTHER, f"{OTHER}.5", f"{OTHER}.5.1"),))
    (found,) = resources(made((KOS, content))).values()

    theirs = r5.build(replace(assembled([ct()]), uid=OTHER), FhirOptions())
    assert found["derivedFrom"][0]["reference"] == f"ImagingStudy/{theirs['id']}"


def test_the_evidence_says_where_an_instance_lives_and_else_the_study() -> None:
    evidence = (Evidence(STUDY, "1.2.3", f"{STUDY}.1.1"), Evidence(STUDY, "1.2.4", f"{STUDY}.1.1"))
    found = resources(made((KOS, key_objects(image(1), image(2), evidence=evidence))))
    assert [(item, [i["uid"] for i in one["instance"]]) for item, one in found.items()] == [
        ("1.2.3", [f"{STUDY}.1.1"]),
        (IMAGES, [f"{STUDY}.1.2"]),
    ]
    assert "seriesNumber" not in found["1.2.3"]
    assert found["1.2.3"]["instance"][0]["number"] == 1, "the node holds the instance, wherever"


def test_an_instance_in_no_evidence_is_dropped_and_counted() -> None:
    study = made((KOS, key_objects(image(1), FAR, FAR)))
    assert [len(one["instance"]) for one in resources(study).values()] == [1]
    assert rules(study) == {"selection-instance-unknown": 2}
    assert not built(made((KOS, key_objects(FAR))))


def test_an_instance_named_twice_is_one_entry_but_frames_and_segments_stay_apart() -> None:
    again = SopReference(CT, f"{STUDY}.1.1", (2, 3))
    segments = SopReference(CT, f"{STUDY}.1.1", (), (1,))
    whole = SopReference("", f"{STUDY}.1.1")
    (found,) = resources(made((KOS, key_objects(image(1, frames=(1, 2)), again, segments, whole)))).values()
    assert [one.get("subset") for one in found["instance"]] == [["1", "2", "3"], ["1"], None]
    assert all(one["sopClass"] == CT_CLASS for one in found["instance"]), "of the instance itself"


def test_a_presentation_state_has_a_selection_with_a_focus_on_its_images() -> None:
    evidence = (Evidence(STUDY, f"{STUDY}.7", f"{STUDY}.7.1"),)
    content = key_objects(image(1), state=SopReference(STATE, f"{STUDY}.7.1"), evidence=evidence)
    found = resources(made((KOS, content)))
    assert list(found) == [IMAGES, f"{STUDY}.7"]
    state = found[f"{STUDY}.7"]
    assert state["focus"] == [
        {"reference": f"ImagingSelection/{found[IMAGES]['id']}", "type": "ImagingSelection"}
    ]
    assert [one["uid"] for one in state["instance"]] == [f"{STUDY}.7.1"]
    assert state["code"] == found[IMAGES]["code"] == OF_INTEREST


def test_a_presentation_state_without_its_image_has_no_focus() -> None:
    evidence = (Evidence(STUDY, f"{STUDY}.7", f"{STUDY}.7.1"),)
    content = key_objects(FAR, state=SopReference(STATE, f"{STUDY}.7.1"), evidence=evidence)
    (found,) = resources(made((KOS, content))).values()
    assert "focus" not in found


def test_a_presentation_state_in_the_series_of_its_image_has_no_focus_on_itself() -> None:
    (found,) = resources(made((KOS, key_objects(image(1), state=image(2))))).values()
    assert len(found["instance"]) == 2
    assert "focus" not in found


def test_an_unknown_presentation_state_is_counted() -> None:
    assert rules(made((KOS, key_objects(image(1), state=image(99))))) == {"selection-instance-unknown": 1}


@pytest.mark.parametrize("title", ["113030", "113031", "113032", "113033", "113034", "113035"])
def test_lists_of_content_select_nothing_unless_wanted(title: str) -> None:
    evidence = (Evidence(STUDY, IMAGES, f"{STUDY}.1.1"), Evidence(STUDY, IMAGES, f"{STUDY}.1.2"))
    content = key_objects(image(1, frames=(2,)), title=dcm(title, "Manifest"), evidence=evidence)
    study = made((KOS, content))
    assert built(study) == []
    (found,) = resources(study, FhirOptions(kos_skip_titles=())).values()
    assert [one["uid"] for one in found["instance"]] == [f"{STUDY}.1.1", f"{STUDY}.1.2"], "evidence too"
    assert found["code"]["coding"][0]["code"] == title


def test_evidence_that_no_content_item_names_is_not_selected() -> None:
    evidence = (Evidence(STUDY, IMAGES, f"{STUDY}.1.1"), Evidence(STUDY, IMAGES, f"{STUDY}.1.2"))
    (found,) = resources(made((KOS, key_objects(image(1), evidence=evidence)))).values()
    assert [one["uid"] for one in found["instance"]] == [f"{STUDY}.1.1"]


@pytest.mark.parametrize("title", ["113001", "113037", "113038", "113039"])
def test_rejection_notes_are_selections_with_their_code(title: str) -> None:
    (found,) = resources(made((KOS, key_objects(image(1), title=dcm(title, "Rejected"))))).values()
    assert found["code"]["coding"][0]["code"] == title
    assert found["status"] == "available"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"description": ""}, concept(DCM, "113000", "Of Interest", "Of Interest")),
        ({"description": "", "title": None}, {"text": "Key Object Selection"}),
        ({"description": "", "title": Code("X", "99LOCAL", meaning="Ours")}, {"text": "Ours"}),
        ({"description": "A\x1b\x00 ", "title": None}, {"text": "A"}),
    ],
)
def test_the_code_without_description_or_title(changes: dict[str, Any], code: dict[str, Any]) -> None:
    (found,) = resources(made((KOS, key_objects(image(1), **changes)))).values()
    assert found["code"] == code


def test_observers_perform_with_names_only_where_they_are_wanted() -> None:
    study = made((KOS, key_objects(image(1), observers=OBSERVERS)))
    (plain,) = resources(study).values()
    (named,) = resources(study, FhirOptions(include_names=True)).values()
    cad = {"function": PRF, "actor": {"reference": "#dev1"}}
    coded = {"function": PRF, "actor": {"type": "Practitioner", "identifier": {"value": "4711"}}}
    curie = {"function": PRF, "actor": {"type": "Practitioner", "display": "Curie, Marie"}}
    assert plain["performer"] == [coded, cad]
    assert named["performer"] == [curie, coded, cad]
    assert plain["contained"] == [
        {
            "resourceType": "Device",
            "id": "dev1",
            "identifier": [uid_identifier("1.2.9")],
            "manufacturer": "ACME",
            "serialNumber": "S1",
            "name": [{"value": "CAD", "type": "user-friendly-name"}],
            "modelNumber": "M1",
        }
    ]


def test_observers_that_say_nothing_leave_the_equipment() -> None:
    content = key_objects(image(1), observers=(Observer("person", Person("Curie^Marie")),))
    (found,) = resources(made((KOS, content))).values()
    assert found["performer"] == EQUIPMENT


def test_an_instant_needs_a_time_and_an_offset() -> None:
    content = key_objects(image(1))
    (found,) = resources(made((KOS, content), TimezoneOffsetFromUTC=None)).values()
    assert "issued" not in found
    zoned = FhirOptions(default_timezone="Asia/Tokyo")
    (found,) = resources(made((KOS, content), TimezoneOffsetFromUTC=None), zoned).values()
    assert found["issued"] == "2026-03-10T09:40:00+09:00"
    (found,) = resources(made((KOS, replace(content, content=replace(AT, time=""))))).values()
    assert "issued" not in found
