"""Studies as the clock and operators see them: deadlines, races between publication and arrival, commands."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from node.errors import IndexRefused, StudyConflict, StudyNotFound
from node.index import schema
from node.index.outbox import Outbox
from node.index.studies import Publication
from node.model import Event, Reason, StudyState
from tests.index.arrivals import Arrivals
from tests.studies import CT, RTSTRUCT, STUDY, ct, rtstruct

MAX = 7200.0
OTHER = f"{STUDY}.7"


def event(version: int, output: str = "r5", of: str = STUDY, study: str = STUDY) -> Event:
    """``of``: the middle of its id."""
    attributes: dict[str, str | int] = {
        "specversion": "1.0",
        "id": f"{output}/{of}/{version}",
        "studyversion": version,
    }
    return Event(f"{output}/{of}/{version}", output, "imaging-study", study, attributes, b"{}")


def publish(arrivals: Arrivals, study: StudyState, reason: Reason = "quiet") -> bool:
    publication = Publication([event(study.version + 1)], {}, {})
    return arrivals.studies.publish(study, reason, arrivals.time.wall(), publication)


def ids(arrivals: Arrivals) -> list[str]:
    return [record.event.id for record in Outbox(arrivals.engine).recent(100)]


def test_nothing_is_due_in_an_empty_index(arrivals: Arrivals) -> None:
    assert arrivals.studies.next_deadline() is None
    assert arrivals.studies.due(1e12) == []


def test_due_from_its_deadline_on_the_longest_overdue_first(arrivals: Arrivals) -> None:
    arrivals.deliver(ct(1))
    arrivals.time.at += 10
    arrivals.deliver(ct(1, StudyInstanceUID=OTHER))
    start = arrivals.time.at
    assert arrivals.studies.next_deadline() == start + 50
    assert arrivals.studies.due(start + 49.9) == []
    assert [study.uid for study in arrivals.studies.due(start + 50)] == [STUDY]
    assert [study.uid for study in arrivals.studies.due(start + 60)] == [STUDY, OTHER]
    assert [study.uid for study in arrivals.studies.due(start + 60, limit=1)] == [STUDY]


def test_due_passes_over_whom_it_is_told_to(arrivals: Arrivals) -> None:
    arrivals.deliver(ct(1))
    arrivals.time.at += 10
    arrivals.deliver(ct(1, StudyInstanceUID=OTHER))
    start = arrivals.time.at
    assert [study.uid for study in arrivals.studies.due(start + 60, 1, without={STUDY})] == [OTHER]
    assert arrivals.studies.next_deadline(without=frozenset({STUDY, "1.2.3"})) == start + 60
    assert arrivals.studies.due(start + 60, without=[STUDY, OTHER]) == []
    assert arrivals.studies.next_deadline(without=[OTHER, STUDY]) is None


def test_load_gives_all_that_the_mapping_needs(arrivals: Arrivals) -> None:
    arrivals.deliver(ct(1), rtstruct())
    rows = arrivals.studies.load(STUDY)
    assert list(rows.calling_aes) == ["CT1"]
    assert {row.uid for row in rows.instances} == {f"{STUDY}.1.1", f"{STUDY}.900.1"}
    assert {one.id for one in rows.headers} == {row.header for row in rows.instances}
    assert rows.state == arrivals.studies.state(STUDY)


@pytest.mark.parametrize("method", ["load", "state", "summary", "sop_classes"])
def test_an_unknown_study_is_said_to_be_unknown(arrivals: Arrivals, method: str) -> None:
    with pytest.raises(StudyNotFound, match=r"1\.2\.3"):
        getattr(arrivals.studies, method)("1.2.3")


def test_publishing_is_state_and_outbox_in_one(arrivals: Arrivals) -> None:
    arrivals.deliver(ct(1), ct(2))
    assert publish(arrivals, arrivals.studies.state(STUDY))
    study = arrivals.study(STUDY)
    assert (study["state"], study["version"], study["added"]) == ("complete", 1, 0)
    assert (study["deadline"], study["completion"]) == (None, "quiet")
    assert study["completed_at"] == arrivals.time.wall()
    assert ids(arrivals) == [f"r5/{STUDY}/1"]


def test_an_event_that_is_refused_leaves_the_state(arrivals: Arrivals) -> None:
    arrivals.deliver(ct(1))
    state = arrivals.studies.state(STUDY)
    twice = Publication([event(1), event(1)], {}, {})
    with pytest.raises(IndexRefused):
        arrivals.studies.publish(state, "quiet", 0.0, twice)
    assert arrivals.studies.state(STUDY) == state
    assert ids(arrivals) == []


def test_a_study_that_got_something_new_is_not_quiet(arrivals: Arrivals) -> None:
    arrivals.deliver(ct(1))
    read = arrivals.studies.state(STUDY)
    arrivals.time.at += 5
    arrivals.deliver(ct(2))
    assert not publish(arrivals, read, "quiet")
    assert ids(arrivals) == []
    assert arrivals.study(STUDY)["deadline"] == arrivals.time.at + 60


@pytest.mark.parametrize("reason", ["max-age", "forced"])
def test_what_comes_while_a_version_is_built_opens_the_next(arrivals: Arrivals, reason: Reason) -> None:
    """A stream that never pauses must not keep its study from ever being published."""
    arrivals.deliver(ct(1), ct(2))
    read = arrivals.studies.state(STUDY)
    arrivals.time.at += 5
    arrivals.deliver(ct(3))
    assert publish(arrivals, read, reason)
    after = arrivals.studies.state(STUDY)
    assert (after.state, after.version, after.added) == ("open", 1, 1)
    assert after.first_at == read.last_at
    assert after.deadline is not None, "somebody looks at it again"
    assert publish(arrivals, after)
    assert ids(arrivals) == [f"r5/{STUDY}/1", f"r5/{STUDY}/2"]


@pytest.mark.parametrize("reason", ["quiet", "max-age", "forced"])
def test_a_version_is_published_once(arrivals: Arrivals, reason: Reason) -> None:
    """Clock and operator at the same moment: the second one is told no."""
    arrivals.deliver(ct(1))
    read = arrivals.studies.state(STUDY)
    assert publish(arrivals, read, "forced")
    assert not publish(arrivals, read, reason)
    assert ids(arrivals) == [f"r5/{STUDY}/1"]


def test_a_study_held_meanwhile_is_not_published(arrivals: Arrivals) -> None:
    arrivals.deliver(ct(1))
    read = arrivals.studies.state(STUDY)
    arrivals.studies.command(STUDY, "hold", arrivals.time.now(), MAX)
    assert not publish(arrivals, read, "max-age")
    assert arrivals.study(STUDY)["state"] == "held"


def test_parked_events_and_full_resources_are_kept(arrivals: Arrivals) -> None:
    arrivals.deliver(ct(1))
    publication = Publication(
        [event(1), event(1, "imr")], {f"imr/{STUDY}/1": "not valid"}, {f"r5/{STUDY}/1": b'{"big":1}'}
    )
    assert arrivals.studies.publish(arrivals.studies.state(STUDY), "quiet", 5.0, publication)
    assert [record.state for record in Outbox(arrivals.engine).for_study(STUDY)] == ["pending", "parked"]
    assert arrivals.studies.full_resource(STUDY, "r5", 1) == b'{"big":1}'
    assert arrivals.studies.full_resource_of(f"r5/{STUDY}/1") == b'{"big":1}'
    assert arrivals.studies.full_resource(STUDY, "r5", 2) is None
    assert arrivals.studies.full_resource(STUDY, "imr", 1) is None


def test_many_events_of_one_output_keep_a_full_resource_each(arrivals: Arrivals) -> None:
    arrivals.deliver(ct(1))
    events = [event(1), *(event(1, "sel", f"1.2.9/{number}") for number in range(3))]
    full = {each.id: each.id.encode() for each in events[1:]}
    assert arrivals.studies.publish(
        arrivals.studies.state(STUDY), "quiet", 5.0, Publication(events, {}, full)
    )
    assert {name: arrivals.studies.full_resource_of(name) for name in full} == full
    assert arrivals.studies.full_resource(STUDY, "r5", 1) is None
    assert arrivals.studies.full_resource(STUDY, "sel", 1) is None


def test_a_full_resource_of_no_event_is_a_fault_and_writes_nothing(arrivals: Arrivals) -> None:
    arrivals.deliver(ct(1))
    state = arrivals.studies.state(STUDY)
    with pytest.raises(KeyError):
        arrivals.studies.publish(state, "quiet", 5.0, Publication([event(1)], {}, {"other": b""}))
    assert arrivals.studies.state(STUDY) == state
    assert ids(arrivals) == []


def test_ids_that_another_study_has_taken(arrivals: Arrivals) -> None:
    arrivals.deliver(ct(1))
    mine = [event(1, "sel", f"1.2.8/{number}") for number in range(2)]
    others = [event(1, "sel", f"1.2.9/{number}", study=OTHER) for number in range(1_200)]
    assert arrivals.studies.publish(
        arrivals.studies.state(STUDY), "quiet", 5.0, Publication([*mine, *others], {}, {})
    )
    wanted = [*(each.id for each in (*mine, *others)), "sel/1.2.7/0/1"]
    assert arrivals.studies.taken(wanted, STUDY) == {each.id for each in others}
    assert arrivals.studies.taken(wanted, OTHER) == {each.id for each in mine}
    assert arrivals.studies.taken([], STUDY) == set()


def test_the_sop_classes_of_a_study(arrivals: Arrivals) -> None:
    arrivals.deliver(ct(1), rtstruct(), ct(2), ct(1, StudyInstanceUID=OTHER))
    assert arrivals.studies.sop_classes(STUDY) == {CT, RTSTRUCT}
    assert arrivals.studies.sop_classes(OTHER) == {CT}


def test_publishing_releases_from_quarantine(arrivals: Arrivals) -> None:
    arrivals.deliver(ct(1), ct(2, PatientID="OTHER"))
    (row,) = arrivals.quarantine()
    assert row["released_at"] is None
    assert publish(arrivals, arrivals.studies.state(STUDY), "forced")
    (row,) = arrivals.quarantine()
    assert row["released_at"] == arrivals.time.wall()


def test_a_study_is_held_back_once(arrivals: Arrivals) -> None:
    arrivals.deliver(ct(1))
    state = arrivals.studies.state(STUDY)
    assert arrivals.studies.quarantine(state, "no-patient-id", "why", 5.0)
    assert not arrivals.studies.quarantine(state, "no-patient-id", "why", 6.0)
    assert len(arrivals.quarantine()) == 1
    assert arrivals.study(STUDY)["deadline"] is None


def test_postponing_what_has_changed_does_nothing(arrivals: Arrivals) -> None:
    arrivals.deliver(ct(1))
    read = arrivals.studies.state(STUDY)
    arrivals.time.at += 5
    arrivals.deliver(ct(2))
    arrivals.studies.postpone(read, 1.0)
    assert arrivals.study(STUDY)["deadline"] == arrivals.time.at + 60
    arrivals.studies.postpone(arrivals.studies.state(STUDY), 1.0)
    assert arrivals.study(STUDY)["deadline"] == 1.0


def test_hold_and_reopen(arrivals: Arrivals) -> None:
    arrivals.deliver(ct(1))
    arrivals.studies.command(STUDY, "hold", arrivals.time.now(), MAX)
    assert (arrivals.study(STUDY)["state"], arrivals.study(STUDY)["deadline"]) == ("held", None)
    arrivals.time.at += 500
    arrivals.deliver(ct(2))
    assert arrivals.study(STUDY)["state"] == "held", "an instance does not let it go"
    arrivals.time.at += 500
    arrivals.studies.command(STUDY, "reopen", arrivals.time.now(), MAX)
    study = arrivals.study(STUDY)
    assert (study["state"], study["deadline"]) == ("open", arrivals.time.now() + 60)


def test_a_command_that_does_not_apply_changes_nothing(arrivals: Arrivals) -> None:
    arrivals.deliver(ct(1))
    publish(arrivals, arrivals.studies.state(STUDY))
    before = arrivals.study(STUDY)
    with pytest.raises(StudyConflict, match="can't hold study"):
        arrivals.studies.command(STUDY, "hold", arrivals.time.now(), MAX)
    assert arrivals.study(STUDY) == before


def test_after_the_clock_went_back_no_study_waits_for_longer_than_its_quiet_period(
    arrivals: Arrivals,
) -> None:
    arrivals.deliver(ct(1))
    yesterday = arrivals.time.at - 86_400
    arrivals.studies.bring_forward(yesterday)
    state = arrivals.studies.state(STUDY)
    assert state.deadline == yesterday + 60
    assert state.first_at == state.last_at == yesterday


def test_a_deadline_in_reach_is_kept_over_a_restart(arrivals: Arrivals) -> None:
    arrivals.deliver(ct(1))
    before = arrivals.studies.state(STUDY)
    arrivals.studies.bring_forward(arrivals.time.at + 40)
    assert arrivals.studies.state(STUDY) == before


def test_held_studies_are_not_brought_forward(arrivals: Arrivals) -> None:
    arrivals.deliver(ct(1))
    arrivals.studies.command(STUDY, "hold", arrivals.time.now(), MAX)
    arrivals.studies.bring_forward(0.0)
    assert arrivals.study(STUDY)["deadline"] is None


def test_lists_and_counts(arrivals: Arrivals) -> None:
    arrivals.deliver(ct(1))
    arrivals.time.at += 1
    arrivals.deliver(ct(1, StudyInstanceUID=OTHER))
    arrivals.studies.command(OTHER, "hold", arrivals.time.now(), MAX)
    assert [row["uid"] for row in arrivals.studies.summaries(None, 10, 0)] == [OTHER, STUDY]
    assert [row["uid"] for row in arrivals.studies.summaries(None, 1, 1)] == [STUDY]
    assert [row["uid"] for row in arrivals.studies.summaries("held", 10, 0)] == [OTHER]
    assert arrivals.studies.open_count() == 2
    publish(arrivals, arrivals.studies.state(STUDY))
    assert arrivals.studies.open_count() == 1


def test_check_writable(arrivals: Arrivals) -> None:
    arrivals.studies.check_writable()
    with arrivals.engine.read() as connection:
        assert connection.scalar(sa.select(schema.meta.c.value).where(schema.meta.c.key == "schema")) == str(
            schema.SCHEMA_VERSION
        )


MACHINE, OFFSET = "boot-1", 1_700_000_000.25


def times(arrivals: Arrivals) -> tuple[float | None, ...]:
    state = arrivals.studies.state(STUDY)
    return state.first_at, state.last_at, state.deadline


@pytest.mark.parametrize("step", [3600.0, -3600.0])
def test_deadlines_move_with_a_clock_that_was_set(arrivals: Arrivals, step: float) -> None:
    arrivals.deliver(ct(1))
    assert arrivals.studies.carry_over(MACHINE, OFFSET) == 0.0
    before = times(arrivals)
    assert arrivals.studies.carry_over(MACHINE, OFFSET + step) == step
    assert times(arrivals) == tuple(at + step for at in before if at is not None)
    assert arrivals.studies.carry_over(MACHINE, OFFSET + step) == 0.0, "once"


@pytest.mark.parametrize(("machine", "step"), [("boot-2", 3600.0), (MACHINE, 0.2)])
def test_deadlines_stay_when_nothing_tells_that_the_clock_was_set(
    arrivals: Arrivals, machine: str, step: float
) -> None:
    """After a reboot the monotonic clock begins anew; some tenths of a second are NTP's everyday."""
    arrivals.deliver(ct(1))
    arrivals.studies.carry_over(MACHINE, OFFSET)
    before = times(arrivals)
    assert arrivals.studies.carry_over(machine, OFFSET + step) == 0.0
    assert times(arrivals) == before


def test_a_published_study_keeps_its_times(arrivals: Arrivals) -> None:
    arrivals.deliver(ct(1))
    publish(arrivals, arrivals.studies.state(STUDY))
    arrivals.studies.carry_over(MACHINE, OFFSET)
    before = times(arrivals)
    arrivals.studies.carry_over(MACHINE, OFFSET + 3600)
    assert times(arrivals) == before
