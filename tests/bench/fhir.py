"""The line of the bench that is not about receiving: one large study made into a checked FHIR resource."""

from __future__ import annotations

import importlib
import importlib.util
import statistics
import time
from dataclasses import dataclass
from typing import Final

from node.model import HeaderSet, InstanceRow

_CT: Final = "1.2.840.10008.5.1.4.1.1.2"
_EXPLICIT: Final = "1.2.840.10008.1.2.1"
_STUDY: Final = "1.2.826.0.1.3680043.8.498.1"
_PER_SERIES: Final = 300
_REPEATS: Final = 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """Median milliseconds to assemble, build and check a study of ``instances``; None: parts are missing."""

    instances: int
    milliseconds: float | None
    missing: str = ""

    def line(self) -> str:
        if self.milliseconds is None:
            return f"FHIR resource of {self.instances} instances: left out, {self.missing}"
        return f"FHIR resource of {self.instances} instances, built and checked: {self.milliseconds:.0f} ms"


def build_and_check(instances: int) -> Outcome:
    """Measures the way from index rows to a checked R5 ImagingStudy; one warming run is not counted."""
    for name in ("node.assemble", "node.fhir.r5", "node.fhir.check"):
        if importlib.util.find_spec(name) is None:
            return Outcome(instances, None, f"{name} is not in this tree")
    assemble = importlib.import_module("node.assemble")
    r5 = importlib.import_module("node.fhir.r5")
    check = importlib.import_module("node.fhir.check")
    options = importlib.import_module("node.fhir.options").FhirOptions()
    headers, rows = _rows(instances)
    taken = []
    for _ in range(1 + _REPEATS):
        begin = time.perf_counter()
        check.check("r5", r5.build(assemble.study(_STUDY, headers, rows), options))
        taken.append(time.perf_counter() - begin)
    return Outcome(instances, statistics.median(taken[1:]) * 1e3)


def _rows(instances: int) -> tuple[list[HeaderSet], list[InstanceRow]]:
    headers: list[HeaderSet] = []
    rows: list[InstanceRow] = []
    for number in range(1, -(-instances // _PER_SERIES) + 1):
        series = f"{_STUDY}.{number}"
        headers.append(HeaderSet(number, series, _shared(number)))
        for place in range(1, min(_PER_SERIES, instances - len(rows)) + 1):
            own: dict[str, list[str | int]] = {
                "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
                "InstanceNumber": [str(place)],
                "ContentDate": ["20240501"],
                "ContentTime": ["101500"],
                "ImagePositionPatient": ["0", "0", str(place)],
                "Rows": [512],
                "Columns": [512],
            }
            rows.append(InstanceRow(series, f"{series}.{place}", _CT, _EXPLICIT, number, own, "CT1"))
    return headers, rows


def _shared(number: int) -> dict[str, list[str]]:
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
