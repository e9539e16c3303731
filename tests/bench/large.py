"""The node on an index that holds a million instances already: stores, queries, start."""

from __future__ import annotations

import datetime
import os
import random
import statistics
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
import sqlalchemy as sa

from node.fhir.options import FhirOptions
from node.fhir.targets import PROFILES
from node.index import rows, schema
from node.index.engine import Engine
from tests.bench import fhir
from tests.bench.figures import Bench, Section
from tests.bench.find import Asker, identifier, query
from tests.bench.loads import CT_IMAGE, LOADS, Load
from tests.bench.measure import lodged, run
from tests.bench.receivers import NODE_FSYNC, Running, started, with_index

START_SECONDS: Final = "start with a large index, s"
PER_STUDY: Final = 200
_INDEX: Final = "large.db"
_PER_SERIES: Final = 100
_STUDIES: Final = (5_000, 250)  # quick: 50,000 instances
_STUDIES_A_TRANSACTION: Final = 50
_DAYS: Final = 100  # the studies' dates: 50 studies a day
_NAMES: Final = 500  # ten studies have one family name
_QUERIES: Final = (200, 40)
_EXPLICIT: Final = "1.2.840.10008.1.2.1"
_SYLLABLES: Final = ("ba", "de", "fi", "go", "hu", "ka", "le", "mi", "no", "ru")
STORED: Final = (("CT 525 kB", 1), ("MR 10 kB", 4))  # the disk is the limit; the index is
KEYS: Final = {
    "StudyInstanceUID": "StudyInstanceUID",
    "PatientID": "PatientID",
    "AccessionNumber": "AccessionNumber",
    "StudyDate": "one day",
    "PatientName": "name*",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """What the index says of study ``number``; every value follows from the number."""

    number: int

    @property
    def uid(self) -> str:
        return f"2.25.{10**36 + random.Random(self.number).getrandbits(120)}"  # no order, like everybody's

    @property
    def keys(self) -> dict[str, str]:
        """Its search keys, by keyword."""
        day = datetime.date(2023, 1, 1) + datetime.timedelta(self.number % _DAYS)
        return {
            "StudyInstanceUID": self.uid,
            "PatientID": f"P{self.number // 2:06d}",
            "AccessionNumber": f"A{self.number:08d}",
            "StudyDate": f"{day:%Y%m%d}",
            "PatientName": f"{self._family}^Given{self.number % 7}",
        }

    @property
    def _family(self) -> str:
        name = self.number // 2 % _NAMES
        return "".join(_SYLLABLES[name // 10**place % 10] for place in range(3)).capitalize()

    def wanted(self, keyword: str) -> str:
        """The value of ``keyword`` that a query asks with: names by their beginning."""
        return f"{self._family}*" if keyword == "PatientName" else self.keys[keyword]


def find_ms(keyword: str) -> str:
    """The figure that holds a query's 95th percentile."""
    return f"C-FIND by {keyword}, p95 ms"


def stored(load: str, associations: int, kind: str) -> str:
    """The figure that holds objects a second; ``kind``: empty or large."""
    return f"{load}, {associations}, {kind} index"


def fill(index: Path, studies: int) -> None:
    """Makes an index as if ``studies`` studies had been received and published."""
    engine = Engine(f"sqlite:///{index}", "OFF")
    with closing(engine):
        engine.create()
        event = _event()
        for first in range(0, studies, _STUDIES_A_TRANSACTION):
            with engine.write() as connection:
                for number in range(first, min(first + _STUDIES_A_TRANSACTION, studies)):
                    _add(connection, Entry(number), event)


def _event() -> bytes:
    """The resource of such a study; all of them share it, for its size is what an index carries."""
    (made,) = PROFILES["r5"].build(fhir.study(PER_STUDY), FhirOptions())
    return orjson.dumps(made.resource)


def _add(connection: sa.Connection, entry: Entry, event: bytes) -> None:
    shared = fhir.shared(1) | {keyword: [value] for keyword, value in entry.keys.items()}
    del shared["StudyInstanceUID"]
    attributes = orjson.dumps(shared)
    series = [f"{entry.uid}.{place + 1}" for place in range(PER_STUDY // _PER_SERIES)]
    change = rows.StudyChange.new(entry.uid, 0.0)
    values = change.values | {
        "state": "complete",
        "version": 1,
        "revision": 1,
        "instances": PER_STUDY,
        "series": len(series),
        "completed_at": 60.0,
        "completion": "quiet",
        "calling_aes": '["CT1"]',
        "modalities": "CT",
        "sop_classes": CT_IMAGE,
        "attributes": attributes,
        **rows.search_columns(shared),
    }
    connection.execute(sa.insert(schema.study).values(values))
    connection.execute(
        sa.insert(schema.series),
        [
            {
                "study": entry.uid,
                "uid": uid,
                "modality": "CT",
                "instances": _PER_SERIES,
                "attributes": attributes,
            }
            for uid in series
        ],
    )
    for uid in series:
        header = {"study": entry.uid, "series": uid, "digest": bytes(16), "attributes": attributes}
        added = connection.execute(sa.insert(schema.header).values(header)).inserted_primary_key
        assert added is not None
        connection.execute(sa.insert(schema.instance), _instances(entry.uid, uid, int(added[0])))
    connection.execute(sa.insert(schema.outbox).values(_outbox(entry.uid, event)))


def _instances(study: str, series: str, header: int) -> list[dict[str, Any]]:
    return [
        {
            "study": study,
            "series": series,
            "uid": f"{series}.{place}",
            "header": header,
            "sop_class": CT_IMAGE,
            "transfer_syntax": _EXPLICIT,
            "size": 525_000,
            "calling_ae": "CT1",
            "received_at": 0.0,
            "attributes": orjson.dumps(fhir.own(place)),
        }
        for place in range(1, _PER_SERIES + 1)
    ]


def _outbox(study: str, event: bytes) -> dict[str, Any]:
    return {
        "id": f"r5/{study}/1",
        "output": "r5",
        "topic": "imaging-study",
        "study": study,
        "version": 1,
        "attributes": b"{}",
        "data": event,
        "created_at": 60.0,
        "sent_at": 61.0,
    }


def prepare(bench: Bench) -> None:
    """The large index, once; every repeat goes on with it."""
    fill(bench.folder / _INDEX, _STUDIES[bench.quick])
    os.sync()  # else the next run pays for it


def large(bench: Bench) -> None:
    """Stores with an empty and with a large index by turns; start and queries with the large one."""
    studies = _STUDIES[bench.quick]
    kinds = {"empty": NODE_FSYNC, "large": with_index(NODE_FSYNC, bench.folder / _INDEX)}
    order = sorted(
        kinds, reverse=len(bench.figures.values[START_SECONDS]) % 2 == 1
    )  # each goes first in turn
    for name, count in STORED:
        load: Load = next(load for load in LOADS if load.name == name)
        each = load.objects(bench.quick, count)
        for kind in order:
            result = run(kinds[kind], load, bench.data_sets[name], count, each)
            if result.refused:
                raise RuntimeError(f"{result.refused} objects were refused, {kind} index")
            bench.figures.add(stored(name, count, kind), result.objects_per_second)
    with lodged(bench.folder) as folder:
        begin = time.monotonic()
        with started(kinds["large"], folder) as running:
            bench.figures.add(START_SECONDS, time.monotonic() - begin)
            for keyword in KEYS:
                taken = ask(running, keyword, studies, _QUERIES[bench.quick])
                p95 = statistics.quantiles(taken, n=20, method="inclusive")[-1]
                bench.figures.add(find_ms(keyword), p95)


def ask(running: Running, keyword: str, studies: int, times: int) -> list[float]:
    """Milliseconds of ``times`` queries, each with the key of another study. RuntimeError when one does not
    find as many studies as there are."""
    every = [Entry(number).wanted(keyword) for number in range(studies)]
    expected = Counter(every)
    taken = []
    with closing(Asker(running.host, running.port, NODE_FSYNC.ae_title)) as asker:
        for value in random.Random(keyword).sample(every, times):
            seconds, matches = asker.ask(query(identifier({keyword: value})))
            if matches != expected[value]:
                raise RuntimeError(
                    f"C-FIND by {keyword} {value}: {matches} studies instead of {expected[value]}"
                )
            taken.append(seconds * 1e3)
    return taken


SECTIONS: Final = (Section("large index", (NODE_FSYNC,), False, large, prepare),)
