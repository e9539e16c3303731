"""A morning of a made-up hospital, sent by DCMTK: several callers, a study in each state, a shape in the chart."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydicom.dataset import Dataset

from node.demo import make_study
from node.index import schema
from tests.harness import Address, LocalNode, eventually
from tests.scenarios.sender import instance, new_uid
from tests.tools import dcmtk

# Quiet periods by caller: studies of the first kind complete while a test waits, of the others when told
RULES = '[{"calling_ae": "CT*", "quiet_seconds": 0.4}, {"calling_ae": "MR*", "quiet_seconds": 90}]'
_files = itertools.count()
Elements = dict[str, Any]


def study(uid: str, count: int, series: int = 1, first: int = 1, **elements: Any) -> list[Dataset]:
    """``count`` instances in each of ``series`` series, numbered from ``first``."""
    return [
        instance(uid, number, one, **{"SeriesDescription": f"Series {one}", **elements})
        for one in range(1, series + 1)
        for number in range(first, first + count)
    ]


def dcmsend(node: Address, folder: Path, calling_ae: str, *datasets: Dataset) -> None:
    """DCMTK stores these objects; each must be answered 0x0000."""
    files = []
    for dataset in datasets:
        path = folder / f"{next(_files)}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        files.append(path)
    _send(node, calling_ae, files)


def _send(node: Address, calling_ae: str, paths: Sequence[Path]) -> None:
    port = str(node.port)
    done = dcmtk("dcmsend", "-aet", calling_ae, "-aec", node.ae_title, "127.0.0.1", port, *paths)
    assert done.returncode == 0, done.stdout


def indexed(node: Address, uid: str, instances: int, state: str) -> None:
    """Returns when the study has so many instances and this state."""

    def there() -> bool:
        rows = {row["uid"]: row for row in node.get("/api/studies")["studies"]}
        return uid in rows and (rows[uid]["instances"], rows[uid]["state"]) == (instances, state)

    eventually(there)


def waiting(node: Address, uid: str) -> int:
    """The number of the newest row of quarantine for this study, once it is there."""

    def found() -> list[int]:
        rows = node.get("/api/quarantine")["quarantine"]
        return [row["id"] for row in rows if row["study"] == uid]

    return eventually(found)[0]


class Earlier:
    """A clock that stands in the last hour, for what the node counts a minute."""

    def __init__(self, at: float) -> None:
        self.at = at

    def now(self) -> float:
        return self.at

    def wall(self) -> float:
        return self.at


def shape_of_the_hour(node: LocalNode) -> None:
    """Counts as scanners make them: bursts of a study, pauses between patients."""
    activity = node.node.activity
    clock, dice = activity._clock, random.Random(7)
    now = clock.now()
    for minute in range(59, 0, -1):
        busy = max(0.1, math.sin(minute / 5.3) + math.sin(minute / 2.1) / 2) * dice.uniform(120, 300)
        activity._clock = Earlier(now - 60 * minute)
        for number in range(int(busy)):
            activity.stored(("CT1", "CT1", "MR2", "US3")[number % 4], 0, 526_000)
    activity._clock = clock


def spread(node: LocalNode, uid: str, seconds: float) -> None:
    """As if the study's objects had come one after the other, over so many seconds until now."""
    instance = schema.instance
    mine = sa.and_(instance.c.study == uid)
    with node.node.engine.write() as connection:
        found = list(connection.execute(sa.select(instance.c.uid).where(mine)).scalars())
        for place, name in enumerate(sorted(found)):
            back = seconds * (1 - place / len(found)) + 8 * math.sin(place / 3)
            earlier = instance.c.received_at - max(0.0, back)
            connection.execute(
                sa.update(instance).where(mine, instance.c.uid == name).values(received_at=earlier)
            )


def waited(node: LocalNode, uid: str, seconds: float) -> None:
    """As if nothing had come for an open study for so long."""
    study = schema.study
    with node.node.engine.write() as connection:
        connection.execute(
            sa.update(study)
            .where(study.c.uid == uid)
            .values(last_at=study.c.last_at - seconds, deadline=study.c.deadline - seconds)
        )


def morning(node: LocalNode, folder: Path) -> dict[str, str]:
    """A study of each kind; returns their UIDs by kind, and that of a collision as its number in quarantine."""
    uids = {kind: new_uid() for kind in ("amended", "open", "filling", "held", "two")}
    head = folder / "head"
    head.mkdir()
    uids["complete"] = make_study(head, datetime.now())
    _send(node, "CT1", sorted(head.iterdir()))
    ct: Elements = {
        "StudyDescription": "CT chest and abdomen",
        "PatientID": "H-20418",
        "AccessionNumber": "A260117",
    }
    dcmsend(node, folder, "CT1", *study(uids["amended"], 40, 3, **ct))
    indexed(node, uids["complete"], 24, "complete")
    indexed(node, uids["amended"], 120, "complete")
    dcmsend(node, folder, "CT1", *study(uids["amended"], 6, 1, 41, **ct))
    indexed(node, uids["amended"], 126, "complete")
    us: Elements = {
        "StudyDescription": "US abdomen",
        "Modality": "US",
        "PatientID": "H-30977",
        "AccessionNumber": "A260119",
    }
    dcmsend(node, folder, "US3", *study(uids["held"], 18, **us))
    indexed(node, uids["held"], 18, "open")
    node.post(f"/api/studies/{uids['held']}/hold")
    dx: Elements = {"StudyDescription": "Chest PA", "Modality": "DX", "AccessionNumber": "A260120"}
    dcmsend(node, folder, "DX4", *study(uids["two"], 1, PatientID="H-11240", **dx))
    dcmsend(node, folder, "DX4", *study(uids["two"], 1, 1, 2, PatientID="H-11420", **dx))
    indexed(node, uids["two"], 2, "quarantined")
    again = study(uids["amended"], 1, **ct)[0]
    again.ImageComments = "sent again after a change"
    again.InstitutionName = "Demo Hospital, second floor"
    dcmsend(node, folder, "ARCHIVE", again)
    uids["collision"] = str(waiting(node, uids["amended"]))
    mr: Elements = {
        "StudyDescription": "MR knee left",
        "Modality": "MR",
        "PatientID": "H-20533",
        "AccessionNumber": "A260121",
    }
    dcmsend(node, folder, "MR2", *study(uids["open"], 22, 4, **mr))
    indexed(node, uids["open"], 88, "open")
    mr |= {"StudyDescription": "MR head with contrast", "PatientID": "H-19902", "AccessionNumber": "A260122"}
    dcmsend(node, folder, "MR2", *study(uids["filling"], 30, 2, **mr))
    indexed(node, uids["filling"], 60, "open")
    return uids
