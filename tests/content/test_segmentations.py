from typing import Any

import pytest
from pydicom.dataset import Dataset

from node.documents import Segment, Segmentation, SeriesReference, SopReference, When
from node.terms import Code
from tests.content.made import CT, SEGMENTATION, code, read, sop
from tests.studies import ENCODINGS, item


def segmentation(dataset: Dataset, **how: Any) -> Segmentation:
    dataset.SOPClassUID = SEGMENTATION
    found = read(dataset, "segmentation", **how)
    assert isinstance(found, Segmentation)
    return found


def derived(*instances: str) -> Dataset:
    return item(DerivationImageSequence=[item(SourceImageSequence=[sop(one) for one in instances])])


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", ENCODINGS)
def test_whole_segmentation(syntax: str, undefined: bool) -> None:
    region = code("39607008", "SCT", "Lung")
    region.AnatomicRegionModifierSequence = [code("7771000", "SCT", "Left")]
    first = item(
        SegmentNumber=1,
        SegmentLabel="Nodule",
        AnatomicRegionSequence=[region],
        SegmentedPropertyCategoryCodeSequence=[code("49755003", "SCT", "Abnormal")],
        SegmentedPropertyTypeCodeSequence=[code("27925004", "SCT", "Nodule")],
        TrackingUID="1.2.5",
    )
    found = segmentation(
        item(
            ContentDate="20260102",
            ContentTime="030405",
            ContentLabel="SEG",
            FrameOfReferenceUID="1.2.1",
            Rows=2,
            SegmentSequence=[first, item(SegmentNumber=2), item(SegmentLabel="no number")],
            ReferencedSeriesSequence=[
                item(SeriesInstanceUID="1.2.2", ReferencedInstanceSequence=[sop("1.2.3"), sop("1.2.4")])
            ],
            PerFrameFunctionalGroupsSequence=[derived("1.2.99")],
        ),
        syntax=syntax,
        undefined=undefined,
    )
    assert found == Segmentation(
        label="SEG",
        frame_of_reference="1.2.1",
        segments=(
            Segment(
                number=1,
                label="Nodule",
                region=Code("39607008", "SCT", meaning="Lung"),
                region_modifiers=(Code("7771000", "SCT", meaning="Left"),),
                property_category=Code("49755003", "SCT", meaning="Abnormal"),
                property_type=Code("27925004", "SCT", meaning="Nodule"),
                tracking_uid="1.2.5",
            ),
            Segment(2, "", None, (), None, None, ""),
        ),
        sources=(SeriesReference("1.2.2", (SopReference(CT, "1.2.3"), SopReference(CT, "1.2.4"))),),
        content=When("20260102", "030405"),
    )


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", ENCODINGS)
def test_sources_of_root_shared_and_frames_without_series(syntax: str, undefined: bool) -> None:
    dataset = item(
        SourceImageSequence=[sop("1.2.1")],
        SharedFunctionalGroupsSequence=[derived("1.2.2")],
        PerFrameFunctionalGroupsSequence=[derived("1.2.3"), derived("1.2.4", "1.2.3"), item()],
    )
    (found,) = segmentation(dataset, syntax=syntax, undefined=undefined).sources
    assert found.series == ""
    assert [one.instance for one in found.instances] == ["1.2.1", "1.2.2", "1.2.3", "1.2.4"]


def test_two_segments_with_one_number_both_stay() -> None:
    """Which of them is selected, and that the other is counted, is the target's business."""
    segments = [item(SegmentNumber=1, SegmentLabel="a"), item(SegmentNumber=1, SegmentLabel="b")]
    found = segmentation(item(SegmentSequence=[*segments, item(SegmentNumber=2, SegmentLabel="c")]))
    assert [(one.number, one.label) for one in found.segments] == [(1, "a"), (1, "b"), (2, "c")]
