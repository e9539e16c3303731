"""Versions that only the sink knows, after the index was lost: asked for, waited for, never guessed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from node import recovery
from node.errors import PublishUnavailable
from node.index import rebuild
from node.publish.base import Published
from node.recovery import Recall
from tests.index.arrivals import Arrivals
from tests.publish.sinks import Scripted
from tests.studies import STUDY, ct

NOWHERE = Path("/nonexistent/events.ndjson")


class Knowing(Scripted):
    """A sink that remembers versions, but for as many questions as it is away."""

    def __init__(self, versions: Mapping[str, Published], away: int = 0) -> None:
        super().__init__(fail_starts=away)
        self.versions = dict(versions)
        self.complete = False

    async def published(self) -> Mapping[str, Published]:
        await self.start()
        return self.versions

    async def remembers(self) -> bool:
        return self.complete

    async def remember(self, versions: Mapping[str, Published]) -> None:
        self.versions |= versions
        self.complete = True


@pytest.fixture
def arrivals(tmp_path: Path) -> Iterator[Arrivals]:
    """An index that was lost and made anew, but for the versions; of one study with two instances."""
    made = Arrivals(tmp_path)
    made.deliver(ct(1), ct(2))
    made.intake.forget()
    made.writer.start()
    recovery.rebuild(made.objects, made.writer, made.engine, NOWHERE, sink_remembers=True)
    yield made
    made.close()


def test_the_sink_is_asked_until_it_answers(arrivals: Arrivals) -> None:
    begun: list[bool] = []
    sink = Knowing({STUDY: Published(3, 2)}, away=1)
    recall = Recall(arrivals.engine, sink, NOWHERE, lambda: begun.append(True))
    assert recall.look()
    with pytest.raises(PublishUnavailable):
        asyncio.run(recall.settle())
    with pytest.raises(PublishUnavailable, match="before the sink has told which versions were out"):
        recall.check()
    assert (arrivals.study(STUDY)["version"], begun) == (0, [])
    asyncio.run(recall.settle())
    recall.check()
    study = arrivals.study(STUDY)
    assert (study["state"], study["version"], begun) == ("complete", 3, [True])
    assert not rebuild.unfinished(arrivals.engine)
    assert not Recall(arrivals.engine, sink, NOWHERE, lambda: None).look()


def test_what_came_meanwhile_makes_the_next_version(arrivals: Arrivals) -> None:
    arrivals.writer.put(arrivals.land(ct(3)))
    arrivals.writer.wait_until_current()
    recall = Recall(arrivals.engine, Knowing({STUDY: Published(3, 2)}), NOWHERE, lambda: None)
    recall.look()
    asyncio.run(recall.settle())
    study = arrivals.study(STUDY)
    assert (study["state"], study["version"], study["added"]) == ("open", 3, 1)


def test_a_sink_that_can_not_be_asked_leaves_it_to_the_next_start(arrivals: Arrivals) -> None:
    sink = Knowing({}, away=1)
    recall = Recall(arrivals.engine, sink, NOWHERE, lambda: None)
    recall.look()
    assert not asyncio.run(recovery.recall_now(recall, sink))
    assert sink.stopped == 1
    assert rebuild.awaits_versions(arrivals.engine)


def test_a_memory_with_gaps_is_filled_from_the_index(arrivals: Arrivals) -> None:
    rebuild.restore(arrivals.engine, {STUDY: Published(2, 2)}, 9.0)
    sink = Knowing({})
    recall = Recall(arrivals.engine, sink, NOWHERE, lambda: None)
    assert not recall.look()
    asyncio.run(recall.settle())
    assert (sink.versions, sink.complete) == ({STUDY: Published(2, 2)}, True)


def test_a_rebuild_that_begins_again_does_not_take_the_objects_for_indexed(arrivals: Arrivals) -> None:
    rebuild.forget_objects(arrivals.engine)
    assert rebuild.unfinished(arrivals.engine)
    assert not rebuild.awaits_versions(arrivals.engine)
