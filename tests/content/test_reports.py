from typing import Any

import pytest
from pydicom import config
from pydicom.dataset import Dataset

from node.content import reports
from node.documents import GroupItem, MeasurementGroup, Region, Report, SopReference, When
from node.terms import Code
from tests.content.made import (
    CT,
    IMAGE,
    SEGMENTATION,
    STORAGE,
    code,
    coded,
    content,
    document,
    evidence,
    group,
    image,
    measured,
    read,
    reference,
    sop,
    text,
    uid,
)
from tests.studies import ENCODINGS, item

RTSTRUCT = STORAGE + "481.3"
WORLD_MAP = STORAGE + "67"


def report(dataset: Dataset, **how: Any) -> Report:
    found = read(dataset, "report", **how)
    assert isinstance(found, Report)
    return found


def groups(*children: Dataset, **more: Any) -> MeasurementGroup:
    (found,) = report(measured([group(children, **more)])).groups
    return found


def scoord(*values: float, graphic: str = "CIRCLE", concept: str = "111030", **more: Any) -> Dataset:
    return content("SCOORD", concept, GraphicData=list(values), GraphicType=graphic, **more)


def scoord3d(*values: float, graphic: str = "POINT", concept: str = "121231") -> Dataset:
    space = "1.2.66"
    return content(
        "SCOORD3D", concept,
        GraphicData=list(values), GraphicType=graphic, ReferencedFrameOfReferenceUID=space,
    )  # fmt: skip


def concept(value: str) -> Code:
    return Code(value, "DCM")


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", ENCODINGS)
def test_a_group_in_full(syntax: str, undefined: bool) -> None:
    side = coded(code("272741003", "SCT"), code("7771000", "SCT", "Left"), relationship="HAS CONCEPT MOD")
    dataset = measured(
        [
            group(
                [
                    text("112039", "Nodule 1", "HAS OBS CONTEXT"),
                    uid("112040", "1.2.50", "HAS OBS CONTEXT"),
                    coded(
                        code("363698007", "SCT"), code("39607008", "SCT", "Lung"), [side], "HAS CONCEPT MOD"
                    ),
                    scoord(
                        0.1,
                        2.5,
                        3.25,
                        4,
                        children=[image(relationship="SELECTED FROM", ReferencedFrameNumber=3)],
                    ),
                    scoord3d(1.5, 2.5, -3.1),
                ],
                ObservationUID="1.2.51",
                ObservationDateTime="20260102030405.5+0100",
            )
        ],
        before=[text("121106", "Comment")],
        ContentTemplateSequence=[item(MappingResource="DCMR", TemplateIdentifier="1500")],
        CurrentRequestedProcedureEvidenceSequence=[evidence(IMAGE)],
    )
    found = report(dataset, syntax=syntax, undefined=undefined)
    assert (found.title, found.template) == (
        Code("126000", "DCM", meaning="Imaging Measurement Report"),
        "1500",
    )
    assert found.content == When("20260102", "030405")
    assert [one.instance for one in found.evidence] == [IMAGE]
    assert found.groups == (
        MeasurementGroup(
            path="1.2.1",
            uid="1.2.51",
            tracking_uid="1.2.50",
            tracking_id="Nodule 1",
            finding_site=Code("39607008", "SCT", meaning="Lung"),
            laterality=Code("7771000", "SCT", meaning="Left"),
            observed=When(datetime="20260102030405.5+0100"),
            items=(
                GroupItem(
                    "1.2.1.4",
                    concept("111030"),
                    "SCOORD",
                    SopReference(CT, IMAGE, (3,)),
                    Region(2, "CIRCLE", (0.1, 2.5, 3.25, 4.0)),
                ),
                GroupItem(
                    "1.2.1.5",
                    concept("121231"),
                    "SCOORD3D",
                    None,
                    Region(3, "POINT", (1.5, 2.5, -3.1), "1.2.66"),
                ),
            ),
        ),
    )


def test_each_kind_of_item() -> None:
    structure = content(
        "COMPOSITE",
        "130488",
        [text("130489", "3"), text("130489", "5")],
        ReferencedSOPSequence=[sop("1.2.70", RTSTRUCT)],
    )
    found = groups(
        image("121191", instance="1.2.71", sop_class=SEGMENTATION, ReferencedSegmentNumber=2),
        image("121214", instance="1.2.71", sop_class=SEGMENTATION, ReferencedFrameNumber=9),
        structure,
        content("COMPOSITE", "126100", ReferencedSOPSequence=[sop("1.2.72", WORLD_MAP)]),
        image("121200", instance="1.2.73"),
        image("130401", instance="1.2.74"),
        content("COMPOSITE", "130401", ReferencedSOPSequence=[sop("1.2.75")]),
        image("121233", instance="1.2.76"),
        uid("121232", "1.2.77"),
    )
    expected = [
        ("121191", "IMAGE", SopReference(SEGMENTATION, "1.2.71", (), (2,)), (), ""),
        ("121214", "IMAGE", SopReference(SEGMENTATION, "1.2.71", (9,)), (), ""),
        ("130488", "COMPOSITE", SopReference(RTSTRUCT, "1.2.70"), ("3", "5"), ""),
        ("126100", "COMPOSITE", SopReference(WORLD_MAP, "1.2.72"), (), ""),
        ("121200", "IMAGE", SopReference(CT, "1.2.73"), (), ""),
        ("130401", "IMAGE", SopReference(CT, "1.2.74"), (), ""),
        ("130401", "COMPOSITE", SopReference(CT, "1.2.75"), (), ""),
        ("121233", "IMAGE", SopReference(CT, "1.2.76"), (), ""),
        ("121232", "UIDREF", None, (), "1.2.77"),
    ]
    assert [
        (one.concept.value, one.value_type, one.reference, one.rois, one.series) for one in found.items
    ] == expected
    assert [one.path for one in found.items] == [f"1.1.1.{at}" for at in range(1, 10)]


def test_items_that_select_nothing_are_left_out() -> None:
    found = groups(
        text("111030", "an image region is no text"),
        content("NUM", "112039"),
        image(),
        content("IMAGE", code("121191", "SCT"), ReferencedSOPSequence=[sop()]),
    )
    assert found.items == ()


def test_items_that_name_nothing_legal_stay_so_that_they_are_counted() -> None:
    found = groups(image("121191", instance="", sop_class=SEGMENTATION), uid("121232", ""))
    assert [(one.path, one.reference, one.series) for one in found.items] == [
        ("1.1.1.1", None, ""),
        ("1.1.1.2", None, ""),
    ]


def test_items_at_any_depth_but_not_of_a_group_inside() -> None:
    inner = group([scoord(5, 6, 7, 8)])
    (outer, nested) = report(
        measured(
            [group([content("NUM", "121206", [scoord(1, 2, 3, 4, relationship="INFERRED FROM")]), inner])]
        )
    ).groups
    assert [one.path for one in outer.items] == ["1.1.1.1.1"]
    assert [one.path for one in nested.items] == ["1.1.1.2.1"]


def test_measurements_wherever_they_lie_and_nothing_outside() -> None:
    outside = group([scoord(1, 2, 3, 4)])
    section = content("CONTAINER", "121070", [content("CONTAINER", "126010", [group([scoord(5, 6, 7, 8)])])])
    found = report(document(code("18748-4", "LN"), [outside, section], "88.34"))
    assert [one.path for one in found.groups] == ["1.2.1.1"]


def test_by_reference_items_are_what_they_name() -> None:
    library = content("CONTAINER", "111028", [image("121112", instance="1.2.90")])
    region = scoord(1, 2, 3, 4, children=[reference(1, 1, 1, relationship="SELECTED FROM")])
    other = group([reference(1, 2, 1, 1), reference(1, 9, 9)])
    first, second = report(measured([group([region]), other], before=[library])).groups
    assert first.items[0].reference == SopReference(CT, "1.2.90")
    (named,) = second.items
    assert (named.path, named.region, named.reference) == (
        "1.2.2.1",
        first.items[0].region,
        SopReference(CT, "1.2.90"),
    )


def test_a_region_is_of_the_image_it_was_selected_from() -> None:
    others = [image(relationship="HAS PROPERTIES", instance="1.2.80"), text("1", "x", "SELECTED FROM")]
    found = groups(
        scoord(1, 2, children=others),
        scoord(1, 2, children=[*others, image(relationship="SELECTED FROM", instance="1.2.81")]),
    )
    assert [one.reference for one in found.items] == [None, SopReference(CT, "1.2.81")]


def test_references_in_a_circle_end() -> None:
    found = report(measured([group([reference(1, 1, 1), reference(1, 1, 1, 2), reference(1)])]))
    assert found.groups[0].items == ()


def test_srt_codes_of_site_and_side() -> None:
    side = coded(code("G-C171", "SRT"), code("G-A101", "SRT", "Left"))
    found = groups(coded(code("G-C0E3", "SRT"), code("T-28000", "SRT", "Lung"), [side]))
    assert (found.finding_site, found.laterality) == (
        Code("T-28000", "SRT", meaning="Lung"),
        Code("G-A101", "SRT", meaning="Left"),
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_coordinates_that_are_no_numbers_make_no_region(value: float) -> None:
    assert groups(scoord(1, 2, value, 4)).items[0].region is None


def test_no_coordinates_or_too_many_make_no_region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "MAX_COORDINATES", 4)
    found = groups(scoord(), scoord(1, 2, 3, 4), scoord(1, 2, 3, 4, 5, 6))
    assert [one.region is None for one in found.items] == [True, False, True]


def test_region_words() -> None:
    with config.disable_value_validation():
        found = groups(scoord(1, 2, graphic="multipoint", PixelOriginInterpretation="VOLUME"))
    assert found.items[0].region == Region(2, "MULTIPOINT", (1.0, 2.0), "", "VOLUME")


def test_other_classes_have_a_title_only() -> None:
    dataset = document(code("113701", meaning="Radiation Dose Report"), [group([])], "88.67")
    assert read(dataset, "titled-report") == Report(
        Code("113701", "DCM", meaning="Radiation Dose Report"), "", (), (), (), When("20260102", "030405")
    )


def test_text_in_the_character_set_of_the_document() -> None:
    found = report(
        measured([group([text("112039", "\u7d50\u7bc0")])], SpecificCharacterSet="ISO_IR 192"),
        syntax=ENCODINGS[1],
    )
    assert found.groups[0].tracking_id == "\u7d50\u7bc0"
