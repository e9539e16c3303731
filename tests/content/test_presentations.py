from typing import Any

import pytest
from pydicom.dataset import Dataset

from node.documents import PresentationState, SeriesReference, SopReference, When
from tests.content.made import CT, STORAGE, read, sop
from tests.studies import ENCODINGS, item


def state(dataset: Dataset, **how: Any) -> PresentationState:
    dataset.SOPClassUID = STORAGE + "11.1"
    found = read(dataset, "presentation-state", **how)
    assert isinstance(found, PresentationState)
    return found


def of_series(series: str, *instances: str, **more: Any) -> Dataset:
    return item(SeriesInstanceUID=series, ReferencedImageSequence=[sop(one, **more) for one in instances])


@pytest.mark.parametrize("syntax", ENCODINGS)
def test_whole_state(syntax: str) -> None:
    no_series = item(ReferencedImageSequence=[sop("1.2.4")])
    found = state(
        item(
            ContentLabel="ARROWS",
            ContentDescription="Look here",
            PresentationCreationDate="20260102",
            PresentationCreationTime="030405",
            ReferencedSeriesSequence=[of_series("1.2.1", "1.2.3", ReferencedFrameNumber=[2, 3]), no_series],
        ),
        syntax=syntax,
    )
    assert found == PresentationState(
        label="ARROWS",
        description="Look here",
        references=(SeriesReference("1.2.1", (SopReference(CT, "1.2.3", (2, 3)),)),),
        created=When("20260102", "030405"),
    )


@pytest.mark.parametrize(
    "more",
    [
        {"BlendingSequence": [item(ReferencedSeriesSequence=[of_series("1.2.1", "1.2.3")])] * 2},
        {"AdvancedBlendingSequence": [of_series("1.2.1", "1.2.3")]},
        {"VolumetricPresentationStateInputSequence": [of_series("1.2.1", "1.2.3")]},
    ],
)
def test_references_of_other_modules(more: dict[str, Any]) -> None:
    assert state(item(**more)).references == (SeriesReference("1.2.1", (SopReference(CT, "1.2.3"),)),)
