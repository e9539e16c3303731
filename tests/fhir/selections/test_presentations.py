from __future__ import annotations

from dataclasses import replace

from node.documents import SeriesReference
from tests.fhir.selections.made import (
    BASED_ON,
    DEVICE,
    EQUIPMENT,
    IMAGES,
    ISSUED,
    STATE,
    SUBJECT,
    derived_from,
    image,
    made,
    resources,
    state,
    true_class,
    uid_identifier,
)
from tests.studies import STUDY, ct

OWN = f"{STUDY}.900"


def test_the_state_and_its_images_by_series() -> None:
    references = (
        SeriesReference(IMAGES, (image(1), image(2, frames=(4, 2)))),
        SeriesReference("1.2.3", (image(9),)),
        SeriesReference(IMAGES, (image(1),)),
    )
    found = resources(made((STATE, state(*references))))
    assert list(found) == [OWN, IMAGES, "1.2.3"]
    common = {
        "status": "available",
        "subject": SUBJECT,
        "issued": ISSUED,
        "performer": EQUIPMENT,
        "basedOn": BASED_ON,
    }
    ids = {item: one.pop("id") for item, one in found.items()}
    assert found[OWN] == {
        "resourceType": "ImagingSelection",
        "identifier": [uid_identifier(f"{OWN}.1"), {"value": f"{OWN}.1/{OWN}"}],
        **common,
        "code": {"text": "Presentation State: SOFT"},
        "studyUid": STUDY,
        "derivedFrom": derived_from(STUDY, "23b54aab-b540-537f-a5aa-19d64ccf5af7"),
        "seriesUid": OWN,
        "seriesNumber": 900,
        "focus": [
            {"reference": f"ImagingSelection/{ids[item]}", "type": "ImagingSelection"}
            for item in (IMAGES, "1.2.3")
        ],
        "instance": [
            {
                "uid": f"{OWN}.1",
                "number": 1,
                "sopClass": true_class("11.1", "Grayscale Softcopy Presentation State Storage"),
            }
        ],
        "contained": [DEVICE],
    }
    ct_class = true_class("2", "CT Image Storage")
    assert found[IMAGES]["code"] == {"text": "Images of Presentation State: SOFT"}
    assert found[IMAGES]["instance"] == [
        {"uid": f"{STUDY}.1.1", "number": 1, "sopClass": ct_class},
        {"uid": f"{STUDY}.1.2", "number": 2, "sopClass": ct_class, "subset": ["4", "2"]},
    ]
    assert found["1.2.3"]["instance"] == [{"uid": f"{STUDY}.1.9", "sopClass": ct_class}]
    assert "seriesNumber" not in found["1.2.3"]
    assert "focus" not in found[IMAGES]


def test_a_state_without_references_or_label() -> None:
    (found,) = resources(made((STATE, state(label="")))).values()
    assert found["code"] == {"text": "Presentation State: soft tissue"}
    (found,) = resources(made((STATE, replace(state(label=""), description="\x00")))).values()
    assert found["code"] == {"text": "Presentation State"}
    assert "focus" not in found


def test_a_state_in_the_series_of_its_images() -> None:
    found = resources(made((STATE, state(SeriesReference(OWN, (image(1),)))), images=(ct(1),)))
    assert list(found) == [OWN, f"{OWN}+images"]
    assert found[OWN]["focus"][0]["reference"].endswith(found[f"{OWN}+images"]["id"])


def test_images_without_a_legal_uid_are_no_selection() -> None:
    references = (
        SeriesReference(IMAGES, (replace(image(1), instance=""),)),
        SeriesReference("", (image(1),)),
    )
    assert list(resources(made((STATE, state(*references))))) == [OWN]
