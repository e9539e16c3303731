"""The lines of the bench that are not about receiving: large studies made into checked FHIR resources."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import orjson

from node import assemble
from node.fhir.options import EndpointOptions, FhirOptions, OsirisOptions, ReasonReference
from node.fhir.targets import PROFILES, Profile
from node.model import HeaderSet, InstanceRow, Study

_CT: Final = "1.2.840.10008.5.1.4.1.1.2"
_EXPLICIT: Final = "1.2.840.10008.1.2.1"
_STUDY: Final = "1.2.826.0.1.3680043.8.498.1"
_PER_SERIES: Final = 300
_REPEATS: Final = 5
_OPTIONS: Final = FhirOptions(
    wado_rs_base="https://pacs.example.org/dicomweb",
    endpoint=EndpointOptions(name="PACS"),
    osiris=OsirisOptions(reason_reference=ReasonReference(mode="contained")),
)
# Instances, profiles, and the milliseconds wanted at most: built and written as JSON, and checked.
_WANTED: Final = ((3000, ("r5", "imr", "osiris"), 15.0, 150.0),)
_HUGE: Final = 24_000  # r5, everything together within a second and 200 MB


@dataclass(frozen=True, slots=True)
class Outcome:
    """Median milliseconds to build a study of ``instances`` and write it as JSON, and to check it."""

    profile: str
    instances: int
    built_ms: float
    checked_ms: float
    wanted: tuple[float, float]

    def line(self) -> str:
        return (
            f"{self.profile}, {self.instances} CT instances: built and written in {self.built_ms:.1f} ms "
            f"(wanted {self.wanted[0]:g}), checked in {self.checked_ms:.0f} ms (wanted {self.wanted[1]:g})"
        )


@dataclass(frozen=True, slots=True)
class Huge:
    """One study from index rows to a checked ``r5``, in a process of its own: seconds, and MB it grew by."""

    seconds: float
    megabytes: float

    def line(self) -> str:
        return (
            f"r5, {_HUGE} CT instances, from index rows: {self.seconds:.2f} s (wanted 1), "
            f"{self.megabytes:.0f} MB (wanted 200)"
        )


def build_and_check() -> list[Outcome]:
    """Every row of ``_WANTED``; one warming run each is not counted."""
    found = []
    for instances, profiles, *wanted in _WANTED:
        made_of = study(instances)
        for profile in profiles:
            target = PROFILES[profile]
            (made,) = target.build(made_of, _OPTIONS)
            built = _median(partial(_write, target, made_of))
            checked = _median(partial(target.check, made.resource))
            found.append(Outcome(profile, instances, built, checked, (wanted[0], wanted[1])))
    return found


def _write(target: Profile, study: Study) -> bytes:
    return orjson.dumps(target.build(study, _OPTIONS)[0].resource)


def study(instances: int) -> Study:
    """A CT study of so many instances."""
    return assemble.study(_STUDY, *_rows(instances))


def _median(run: Callable[[], object]) -> float:
    taken = []
    for _ in range(1 + _REPEATS):
        begin = time.perf_counter()
        run()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken[1:]) * 1e3


def huge() -> Huge:
    """Measured in a child: what this process holds already would hide its growth."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.bench.fhir"], capture_output=True, text=True, check=True
    )
    seconds, megabytes = ended.stdout.split()
    return Huge(float(seconds), float(megabytes))


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def _huge_here() -> None:
    target = PROFILES["r5"]
    target.check(target.build(study(10), _OPTIONS)[0].resource)  # what is loaded once is not this study's
    headers, rows = _rows(_HUGE)
    before = _peak_mb()
    begin = time.perf_counter()
    (made,) = target.build(assemble.study(_STUDY, headers, rows), _OPTIONS)
    orjson.dumps(made.resource)
    target.check(made.resource)
    print(time.perf_counter() - begin, _peak_mb() - before)


def _rows(instances: int) -> tuple[list[HeaderSet], list[InstanceRow]]:
    headers: list[HeaderSet] = []
    rows: list[InstanceRow] = []
    for number in range(1, -(-instances // _PER_SERIES) + 1):
        series = f"{_STUDY}.{number}"
        headers.append(HeaderSet(number, series, shared(number)))
        for place in range(1, min(_PER_SERIES, instances - len(rows)) + 1):
            rows.append(InstanceRow(series, f"{series}.{place}", _CT, _EXPLICIT, number, own(place), "CT1"))
    return headers, rows


def own(place: int) -> dict[str, list[str | int]]:
    """What one instance's row holds."""
    return {
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "InstanceNumber": [str(place)],
        "ContentDate": ["20240501"],
        "ContentTime": ["101500"],
        "ImagePositionPatient": ["0", "0", str(place)],
        "Rows": [512],
        "Columns": [512],
    }


def shared(number: int) -> dict[str, list[str]]:
    """What the header of series ``number`` holds."""
    return {
        "PatientID": ["BENCH"],
        "PatientName": ["Bench^Load"],
        "PatientSex": ["O"],
        "StudyDate": ["20240501"],
        "StudyTime": ["101500"],
        "AccessionNumber": ["BENCH"],
        "StudyDescription": ["Bench"],
        "Modality": ["CT"],
        "Manufacturer": ["Bench"],
        "SeriesNumber": [str(number)],
        "SeriesDescription": [f"Series {number}"],
        "BodyPartExamined": ["CHEST"],
    }


if __name__ == "__main__":
    _huge_here()
