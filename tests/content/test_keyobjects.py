from typing import Any

import pytest
from pydicom import config
from pydicom.dataset import Dataset

from node.documents import Evidence, KeyObjects, KeyReference, Observer, SopReference, When
from node.terms import Code, Person
from tests.content.made import (
    CT,
    IMAGE,
    IMAGE_SERIES,
    STORAGE,
    STUDY,
    code,
    coded,
    content,
    document,
    evidence,
    image,
    read,
    sop,
    text,
    uid,
)
from tests.studies import ENCODINGS, item

WAVEFORM, STATE = STORAGE + "9.1.1", STORAGE + "11.1"


def key_objects(*children: Dataset, title: Dataset | None = None, how: Any = None, **more: Any) -> KeyObjects:
    dataset = document(title or code("113000", meaning="Of Interest"), children, "88.59", **more)
    found = read(dataset, "key-objects", **(how or {}))
    assert isinstance(found, KeyObjects)
    return found


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", ENCODINGS)
def test_whole_document(syntax: str, undefined: bool) -> None:
    with_state = item(
        ReferencedSOPClassUID=CT,
        ReferencedSOPInstanceUID=IMAGE,
        ReferencedFrameNumber=[1, 3],
        ReferencedSegmentNumber=[2, 4],
        ReferencedSOPSequence=[sop("1.2.9", STATE)],
    )
    found = key_objects(
        coded("113011", code("113013", meaning="Best In Set"), relationship="HAS CONCEPT MOD"),
        text("113012", " Look here "),
        content("IMAGE", ReferencedSOPSequence=[with_state]),
        content("WAVEFORM", ReferencedSOPSequence=[sop("1.2.4", WAVEFORM)]),
        content("COMPOSITE", ReferencedSOPSequence=[sop("1.2.5", STATE)]),
        CurrentRequestedProcedureEvidenceSequence=[evidence(IMAGE, "1.2.4")],
        PertinentOtherEvidenceSequence=[evidence("1.2.5", study="1.7", series="1.7.1"), evidence(IMAGE)],
        how={"syntax": syntax, "undefined": undefined},
    )
    assert found == KeyObjects(
        title=Code("113000", "DCM", meaning="Of Interest"),
        description="Look here",
        modifiers=(Code("113013", "DCM", meaning="Best In Set"),),
        references=(
            KeyReference(
                "1.3",
                "IMAGE",
                SopReference(CT, IMAGE, (1, 3), (2, 4)),
                SopReference(STATE, "1.2.9"),
            ),
            KeyReference("1.4", "WAVEFORM", SopReference(WAVEFORM, "1.2.4")),
            KeyReference("1.5", "COMPOSITE", SopReference(STATE, "1.2.5")),
        ),
        observers=(),
        evidence=(
            Evidence(STUDY, IMAGE_SERIES, IMAGE),
            Evidence(STUDY, IMAGE_SERIES, "1.2.4"),
            Evidence("1.7", "1.7.1", "1.2.5"),
        ),
        content=When("20260102", "030405"),
    )


def test_title_takes_the_coding_scheme_of_the_object() -> None:
    scheme = item(CodingSchemeDesignator="99LOCAL", CodingSchemeUID="1.2.3.4")
    found = key_objects(title=code("X", "99LOCAL", "Mine"), CodingSchemeIdentificationSequence=[scheme])
    assert found.title == Code("X", "99LOCAL", meaning="Mine", scheme_uid="1.2.3.4")


def test_references_without_a_legal_uid_are_left_out() -> None:
    with config.disable_value_validation():
        found = key_objects(
            image(instance="1.2.x"),
            content("IMAGE"),
            image(instance="1.2.8", sop_class="CT!"),
            how={"syntax": ENCODINGS[0]},
            CurrentRequestedProcedureEvidenceSequence=[evidence("no", "1.2.8")],
        )
    assert [one.reference for one in found.references] == [SopReference("", "1.2.8")]
    assert [one.instance for one in found.evidence] == ["1.2.8"]


OBSERVER_TYPE = "121005"


def test_observers_in_their_order() -> None:
    found = key_objects(
        coded(OBSERVER_TYPE, code("121006"), relationship="HAS OBS CONTEXT"),
        content("PNAME", "121008", relationship="HAS OBS CONTEXT", PersonName="Doe^Jane"),
        coded(OBSERVER_TYPE, code("121007"), relationship="HAS OBS CONTEXT"),
        uid("121012", "1.2.77"),
        text("121013", "Detector"),
        text("121014", "Maker"),
        text("121015", "Model"),
        text("121016", "Serial"),
        coded(OBSERVER_TYPE, code("121007")),
        content("PNAME", "121008", PersonName="Roe^Richard"),
        text("121008", "Poe^Edgar"),
        uid("121012", "1.2.78"),
        text("121013", "Second"),
    )
    assert found.observers == (
        Observer("person", Person("Doe^Jane")),
        Observer(
            "device", uid="1.2.77", name="Detector", manufacturer="Maker", model="Model", serial="Serial"
        ),
        Observer("person", Person("Roe^Richard")),
        Observer("person", Person("Poe^Edgar")),
        Observer("device", uid="1.2.78", name="Second"),
    )


def test_nothing_but_a_title() -> None:
    dataset = item(SOPClassUID=STORAGE + "88.59")
    assert read(dataset, "key-objects") == KeyObjects(None, "", (), (), (), (), When())
