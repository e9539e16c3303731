from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson
import pytest

from node.assemble import quality
from node.documents import (
    Evidence,
    Observer,
    SeriesReference,
    SopReference,
)
from node.errors import ResourceInvalid
from node.fhir import imagingselection, pages, r5
from node.fhir.datatypes import resource_id
from node.fhir.options import EndpointOptions, FhirOptions, ReferenceTemplates
from node.terms import Code
from tests.fhir.selections.made import (
    EVIDENCE,
    FULL,
    IMAGES,
    KIDNEY,
    KOS,
    LIVER,
    OTHER_MODES,
    REPORT,
    RTSTRUCT,
    SEG,
    SEG_AT,
    STATE,
    TARGET,
    built,
    everything,
    group,
    image,
    key_objects,
    made,
    polyline,
    referring,
    report,
    resources,
    rules,
    scoord,
    segmentation,
    state,
    structures,
)
from tests.studies import CT, STUDY, assembled, ct


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for member in value.values() if isinstance(value, dict) else value:
            yield from _leaves(member)


def test_documents_are_selected_from_in_their_order() -> None:
    found = built(made(*everything()), FULL)
    sources = [one.source for one in found]
    assert list(dict.fromkeys(sources)) == [f"{STUDY}.90{at}.1" for at in range(7)]
    assert sources == sorted(sources)
    assert len(found) == 1 + 3 + 2 + 14 + 1 + 2 + 1
    assert rules(made(*everything()), FULL) == {}


def test_a_study_without_documents_has_no_selections() -> None:
    assert built(assembled([ct()])) == []
    assert rules(assembled([ct()])) == {}
    assert built(made((KOS, None))) == [], "one that nobody could read"


def test_twenty_orders_of_arrival_give_the_same_bytes() -> None:
    shuffled = random.Random(5)
    images = [ct(1), ct(2), ct(3, 2), ct(4, 2, AccessionNumber="Y"), ct(5, 2, AccessionNumber="X")]
    documents = everything()
    expected = None
    for _ in range(20):
        shuffled.shuffle(images)
        study = made(*documents, images=tuple(images))
        found = orjson.dumps([tuple(one) for one in imagingselection.build(study, FULL)])
        assert expected in (None, found)
        expected = found


def test_ids_are_made_of_study_document_and_item() -> None:
    (found,) = built(made((RTSTRUCT, structures(LIVER))))
    assert found.resource["id"] == resource_id("imagingselection", STUDY, f"{STUDY}.900.1", "rois")


def test_one_document_in_two_series_is_two_documents() -> None:
    study = made((RTSTRUCT, structures(LIVER)), (STATE, state(SeriesReference(IMAGES, (image(1),)))))
    structure_set, shown = study.documents
    twin = next(one for one in study.series if one.uid == shown.series)
    twins = tuple(
        replace(one, instances=(*one.instances, replace(one.instances[0], uid=structure_set.instance)))
        if one is twin
        else one
        for one in study.series
    )
    again = replace(structure_set, series=twin.uid)
    found = built(replace(study, series=twins, documents=(structure_set, again, shown)))
    assert [one.item for one in found[:2]] == ["rois", f"rois@{twin.uid}"]
    assert [one.resource["seriesUid"] for one in found[:2]] == [structure_set.series, twin.uid]
    assert found[1].resource["identifier"][1] == {"value": f"{structure_set.instance}/{found[1].item}"}


def test_a_focus_stays_inside_a_document_that_is_there_twice() -> None:
    study = made((STATE, state(SeriesReference(IMAGES, (image(1),)))), (KOS, None))
    (shown, other) = study.documents
    twins = tuple(
        replace(one, instances=(replace(one.instances[0], uid=shown.instance),))
        if one.uid == other.series
        else one
        for one in study.series
    )
    again = replace(shown, series=other.series)
    found = built(replace(study, series=twins, documents=(shown, again)))
    assert [one.item for one in found] == [
        shown.series, IMAGES, f"{other.series}@{other.series}", f"{IMAGES}@{other.series}",
    ]  # fmt: skip
    foci = [one.resource["focus"][0]["reference"] for one in (found[0], found[2])]
    assert foci == [f"ImagingSelection/{one.resource['id']}" for one in (found[1], found[3])]


def test_items_that_are_too_long_or_not_unique() -> None:
    far, farther = "1." + "2" * 62, "1." + "3" * 62
    content = key_objects(SopReference(CT, "1.2.3"), evidence=(Evidence(far, farther, "1.2.3"),))
    (found,) = built(made((KOS, content)))
    assert found.item == resource_id("item", f"{far}~{farther}")
    same = group(scoord("1.4", polyline(1, 2), image(1)), scoord("1.4", polyline(3, 4), image(1)))
    assert list(resources(made((REPORT, report(same))))) == ["1.4", "1.4+2", "1.4+3"]


def test_no_more_selections_than_the_maximum_of_a_document() -> None:
    items = [scoord(f"1.4.{at}", polyline(1, 2), image(1)) for at in range(1, 5)]
    items.insert(0, referring("1.4.0", "121191", SopReference(SEG, SEG_AT, (), (1,))))
    items.append(referring("1.4.9", "121233", image(1)))
    study = made((REPORT, report(group(*items), evidence=EVIDENCE)), (RTSTRUCT, structures(LIVER)))
    options = FhirOptions(max_selections=3)
    found = built(study, options)
    assert [one.item for one in found] == ["1.4", "1.4.0", "1.4.1", "rois"]
    assert len(found[1].resource["focus"]) == 1, "only on what is there"
    (finding,) = imagingselection.findings(study, options)
    assert (finding.rule, finding.instances, finding.uid) == ("selections-over-maximum", 4, f"{STUDY}.900.1")


def test_a_study_has_a_maximum_too() -> None:
    """Documents that each stay below theirs make no more than four times as many."""
    study = made(*[(RTSTRUCT, structures(LIVER))] * 6)
    options = FhirOptions(max_selections=1)
    assert len(built(study, options)) == 4
    found = imagingselection.findings(study, options)
    assert [(one.rule, one.uid, one.instances) for one in found] == [
        ("selections-over-maximum", f"{STUDY}.904.1", 1),
        ("selections-over-maximum", f"{STUDY}.905.1", 1),
    ]


def test_findings_are_counted_by_rule_and_document_under_known_names() -> None:
    lost = [scoord(f"1.4.{at}", polyline(1, 2), image(99)) for at in range(3)]
    wrong = scoord("1.4.8", polyline(1, 2, 3), image(1))
    study = made((REPORT, report(group(*lost, wrong))), (REPORT, report(group(wrong))))
    assert [(one.rule, one.uid, one.instances) for one in TARGET.findings(study, FULL)] == [
        ("selection-instance-unknown", f"{STUDY}.900.1", 3),
        ("region-coordinates-invalid", f"{STUDY}.900.1", 1),
        ("region-coordinates-invalid", f"{STUDY}.901.1", 1),
    ]
    assert set(quality.SELECTIONS) <= set(quality.NAMES)


def test_no_names_unless_they_are_wanted() -> None:
    plain = orjson.dumps([one.resource for one in built(made(*everything()))]).decode()
    named = orjson.dumps([one.resource for one in built(made(*everything()), FULL)]).decode()
    for name in ("Müller", "Curie", "Röntgen"):
        assert name not in plain
        assert name in named
    assert "Hippocrates" not in named, "the referrer made no selection"


def test_control_characters_never_come_out() -> None:
    wild = "A\x1b$BB\x07\x85C\x00 "
    code = Code(wild, "99X", meaning=wild)
    study = made(
        (KOS, key_objects(image(1), description=wild, modifiers=(code,), title=code)),
        (RTSTRUCT, replace(structures(replace(LIVER, name=wild, code=code)), label=wild)),
        (SEG, segmentation(replace(KIDNEY, label=wild, region=code, region_modifiers=(code,)))),
        (STATE, state(SeriesReference(IMAGES, (image(1),)), label=wild)),
        (
            REPORT,
            report(group(scoord("1.4.1", polyline(1, 2), image(1)), finding_site=code, laterality=code)),
        ),
        (REPORT, report(title=code, observers=(Observer("device", name=wild, model=wild, serial=wild),))),
    )
    for options in (FULL, OTHER_MODES):
        for text in _leaves([one.resource for one in built(study, options)]):
            assert text == text.strip()
            assert not any(char < " " or "\x7f" <= char <= "\x9f" for char in text)


def test_endpoint_narrative_and_source_as_configured() -> None:
    found = resources(made((KOS, key_objects(image(1)))), FULL)[IMAGES]
    assert found["meta"] == {"source": "urn:example:node"}
    assert found["endpoint"] == [{"reference": "#endpoint1"}]
    (endpoint,) = (one for one in found["contained"] if one["resourceType"] == "Endpoint")
    assert endpoint["address"] == "https://pacs.example.org/dicomweb"
    assert found["text"]["div"].endswith(f"<p>Imaging selection</p><p>Series {IMAGES}: 1 instances</p></div>")
    region = resources(made((RTSTRUCT, structures(LIVER))), FULL)["rois"]
    assert list(region["meta"]) == ["source", "profile"]
    assert "Region in Space" in region["text"]["div"]
    viewer = replace(
        FULL, endpoint=EndpointOptions(connection_type="ihe-iid", address="https://viewer.example.org")
    )
    again = resources(made((KOS, key_objects(image(1)))), viewer)[IMAGES]
    assert again["contained"] == found["contained"], "[fhir.endpoint] is for the profiles that must have one"


def test_a_literal_reference_keeps_the_identifier_that_a_profile_wants() -> None:
    options = FhirOptions(references=ReferenceTemplates("Patient/{patient_id}", "ServiceRequest/{accession}"))
    found = resources(made((RTSTRUCT, structures(LIVER))), options)["rois"]
    assert found["subject"]["reference"] == "Patient/PAT-0042"
    assert found["basedOn"][0]["reference"] == "ServiceRequest/A20260042"
    assert found["basedOn"][0]["identifier"]["type"]["coding"][0]["code"] == "ACSN"


def test_a_study_of_nobody() -> None:
    study = made((RTSTRUCT, structures(LIVER)), images=(ct(PatientID="", AccessionNumber=""),))
    nobody = replace(study, patient=replace(study.patient, id=""), accessions=())
    found = resources(nobody)["rois"]
    assert found["subject"]["extension"][0]["valueCode"] == "unknown"
    assert "basedOn" not in found
    with pytest.raises(ResourceInvalid, match="Patient ID"):
        imagingselection.build(nobody, FhirOptions(require_patient_id=True))


def test_the_study_that_a_selection_is_derived_from_is_the_one_published() -> None:
    study = made((RTSTRUCT, structures(LIVER)))
    published = r5.build(study, FULL)
    found = resources(study, FULL)["rois"]
    assert found["derivedFrom"][0]["reference"] == f"ImagingStudy/{published['id']}"


def test_the_page_has_every_member_that_is_built() -> None:
    text = pages.page(TARGET)
    for one in built(made(*everything()), FULL):
        for member in (
            *list(one.resource)[1:],
            *(name for i in one.resource.get("instance", ()) for name in i),
        ):
            assert f"| `{member}` |" in text
    for kind in imagingselection.KINDS.values():
        assert f"## ImagingSelection of {kind.title}" in text
    assert set(imagingselection.ORDER) == {
        row.element
        for rows in (imagingselection.SELECTION, *(kind.rows for kind in imagingselection.KINDS.values()))
        for row in rows
    }
