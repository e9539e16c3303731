from typing import Any

import pytest
from pydicom.dataset import Dataset

from node.documents import Roi, StructureSet, When
from node.terms import Code
from tests.content.made import STORAGE, code, read
from tests.studies import ENCODINGS, item


def structure_set(dataset: Dataset, **how: Any) -> StructureSet:
    dataset.SOPClassUID = STORAGE + "481.3"
    found = read(dataset, "structure-set", **how)
    assert isinstance(found, StructureSet)
    return found


def roi(number: int, name: str = "") -> Dataset:
    return item(ROINumber=number, ROIName=name)


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", ENCODINGS)
def test_whole_structure_set(syntax: str, undefined: bool) -> None:
    contour = item(ContourGeometricType="POINT", ContourData=["1", "2", "3"])
    found = structure_set(
        item(
            FrameOfReferenceUID="1.2.1",
            StructureSetLabel="Plan A",
            StructureSetDate="20260102",
            StructureSetTime="030405",
            ReferencedFrameOfReferenceSequence=[item(FrameOfReferenceUID="1.2.2")],
            StructureSetROISequence=[roi(7, "PTV"), roi(2, "Lung L")],
            ROIContourSequence=[item(ReferencedROINumber=7, ContourSequence=[contour])],
            RTROIObservationsSequence=[
                item(
                    ReferencedROINumber=2, RTROIIdentificationCodeSequence=[code("39607008", "SCT", "Lung")]
                ),
                item(ReferencedROINumber=2, RTROIIdentificationCodeSequence=[code("0", "SCT", "Not this")]),
                item(ReferencedROINumber=7),
            ],
        ),
        syntax=syntax,
        undefined=undefined,
    )
    assert found == StructureSet(
        label="Plan A",
        created=When("20260102", "030405"),
        frame_of_reference="1.2.2",
        rois=(Roi(7, "PTV", None), Roi(2, "Lung L", Code("39607008", "SCT", meaning="Lung"))),
    )


def test_frame_of_reference_of_the_root_when_no_item_has_one() -> None:
    found = structure_set(item(FrameOfReferenceUID="1.2.1", ReferencedFrameOfReferenceSequence=[item()]))
    assert found.frame_of_reference == "1.2.1"
    assert found.rois == ()


def test_regions_need_a_number() -> None:
    found = structure_set(item(StructureSetROISequence=[roi(1, "a"), item(ROIName="b"), roi(1, "c"), roi(2)]))
    assert found.rois == (Roi(1, "a", None), Roi(1, "c", None), Roi(2, "", None))
