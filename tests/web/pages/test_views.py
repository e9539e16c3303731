"""What the pages show: the node's values in words."""

from __future__ import annotations

from dataclasses import replace

from node.web.pages import held, views
from tests.web.pages import samples
from tests.web.pages.samples import NOW, STUDY


def tile(name: str, **changed: object) -> views.Tile:
    return next(one for one in views.tiles(samples.status(**changed)) if one.name == name)


# --- studies


def test_an_open_study_has_a_bar_that_runs_down() -> None:
    found = views.study(samples.study(), NOW)
    assert found.quiet == views.Quiet("2026-09-21T14:14:30.000Z", 60.0, 30.0)
    assert found.title == "CT head"
    assert found.facts == [("Patient ID", "••••••89"), ("Accession", "••••42"), ("Date", "2026-09-21")]


def test_the_bar_is_never_fuller_than_full_nor_emptier_than_empty() -> None:
    early, late = (views.study(samples.study(), at).quiet for at in (NOW - 500, NOW + 500))
    assert early is not None
    assert late is not None
    assert (early.left, late.left) == (60.0, 0.0)


def test_studies_that_do_not_wait_for_a_moment_have_no_bar() -> None:
    for state in ("held", "complete", "quarantined"):
        assert views.study(samples.study(state=state, deadline=None), NOW).quiet is None


def test_a_study_without_description_is_called_by_what_it_is() -> None:
    assert views.title(samples.study(description="", modalities=["CT", "PT"])) == "CT/PT without description"
    assert views.title(samples.study(description=None, modalities=[])) == "Study without description"


# --- events


def test_an_event_says_why_and_how_long_it_took() -> None:
    found = views.published(samples.record(1))
    assert (found.kind, found.completion, found.instances) == ("completed", "quiet period over", "3")
    assert (found.state_tells, found.lag, found.study_href) == ("published", "500 ms", f"/studies/{STUDY}")


def test_an_amended_version_says_what_was_added() -> None:
    changed = samples.record(
        2, type="org.dicom-fhir-node.imagingstudy.amended.v1", instances=126, added=6, completion="forced"
    )
    found = views.published(changed)
    assert (found.kind, found.instances, found.completion) == ("amended", "126 (+6)", "by an operator")


def test_an_event_that_waits_or_is_parked_or_was_replayed_has_no_lag() -> None:
    sent = samples.record(1)
    waiting, parked, again = (
        replace(sent, sent_at=None),
        replace(sent, sent_at=None, parked_reason="not valid"),
        replace(sent, replayed_at=NOW),
    )
    assert [views.published(one).lag for one in (waiting, parked, again)] == ["", "", ""]
    assert [views.published(one).state for one in (waiting, parked)] == ["pending", "parked"]


def test_events_newest_first_under_their_studies_titles() -> None:
    found = views.publications([samples.record(1, "1.1"), samples.record(2)], [samples.study()])
    assert [(one.study, one.title) for one in found] == [(STUDY, "CT head"), ("1.1", "")]


# --- the node


def test_a_node_that_is_well_asks_for_nothing() -> None:
    assert views.attention(samples.status(), []) == []
    assert {one.state for one in views.tiles(samples.status())} <= {"ok", "busy"}


def test_what_waits_for_a_person() -> None:
    node = samples.status(
        outbox={"pending": 3, "parked": 1, "oldest_seconds": 95.0, "sink": "kafka"},
        quarantine={"waiting": 2},
        studies={"open": 0, "held": 1, "quarantined": 1, "complete": 0},
    )
    found = views.attention(node, [samples.held()])
    assert [one.what for one in found] == ["1 parked event", "2 in quarantine", "1 held study"]
    assert "Same SOP Instance UID" in found[1].why


def test_tiles_warn_before_it_is_too_late() -> None:
    assert tile("Associations", associations={"active": 90, "limit": 100}).state == "warn"
    assert tile("Disk free", disk={"free": 9, "min_free": 5, "total": 100}).state == "warn"
    assert tile("Disk free", disk={"free": 4, "min_free": 5, "total": 100}).state == "bad"
    silent = tile("Disk free", disk={"free": None, "min_free": 5, "total": None})
    assert (silent.value, silent.state) == ("unknown", "bad")
    outbox = tile(
        "Events waiting", outbox={"pending": 3, "parked": 1, "oldest_seconds": 95.0, "sink": "kafka"}
    )
    assert (outbox.value, outbox.state) == ("3", "bad")
    assert outbox.tells == "oldest for 1 min 35 s, 1 parked · Kafka"


# --- a study's page


def test_arrivals_are_bars_over_their_time() -> None:
    found = views.arrivals([samples.arrival(0, 4), samples.arrival(0, 4, "MR2"), samples.arrival(30, 2)])
    assert found is not None
    assert found.tells == "10 instances from CT1, MR2 within 35 s."
    assert [bar.height for bar in found.bars] == [48, 12]
    assert all(0 <= bar.x <= found.width - found.bar_width for bar in found.bars)
    assert views.arrivals([]) is None


def test_a_version_lists_some_events_and_counts_the_others() -> None:
    many = [samples.event(1, f"o{number}") for number in range(20)]
    (found,) = views.versions({"versions": [samples.version(events=many, more=5)]})
    assert (len(found.events), found.more) == (8, 17)
    assert found.replay is None, "not all of the ids are known"
    (few,) = views.versions({"versions": [samples.version()]})
    assert few.replay is not None
    assert few.replay.ids == [f"r5/{STUDY}/1"]


def test_resources_of_the_newest_version_studies_before_selections() -> None:
    selection = samples.event(2, "sel", type="org.dicom-fhir-node.imagingselection.completed.v1")
    timeline = {"versions": [samples.version(2, events=[selection, samples.event(2)]), samples.version()]}
    assert [event["output"] for event in views.latest_events(timeline, 4)] == ["r5", "sel"]
    assert views.latest_events({"versions": []}, 4) == []


# --- quarantine


def test_both_sides_with_what_differs_marked() -> None:
    left = {"size": 1200, "sop_class": "1.2.840.10008.5.1.4.1.1.2", "patient_id": "••••11", "digest": "a"}
    right = {"size": 1200, "sop_class": "1.2.840.10008.5.1.4.1.1.2", "patient_id": "••••22", "digest": "b"}
    found = {side.label: side for side in held.sides(left, right)}
    assert not found["Size"].differs
    assert found["Size"].held == "1,200 bytes"
    assert found["SOP class"].held == "CT Image Storage (1.2.840.10008.5.1.4.1.1.2)"
    assert found["Patient ID"].differs
    assert found["Digest"].differs


def test_without_a_stored_object_nothing_differs() -> None:
    assert not any(side.differs for side in held.sides({"size": 3, "series": None}, None))
    assert [side.label for side in held.sides({"size": 3, "series": None}, None)] == ["Size"]


def test_reasons_nobody_thought_of_are_told_all_the_same() -> None:
    assert held.row(samples.held(reason="DataSetError")).title == "The object could not be taken in"
    study = samples.held(reason="new-rule", kind="study")
    assert held.row(study).title == "The study is held back"
