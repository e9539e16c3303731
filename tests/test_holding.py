"""What keeps a study from going out as one patient's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from node.fhir.options import FhirOptions
from node.holding import Hold, reason_to_hold
from tests.studies import assembled, ct

REQUIRED = FhirOptions(require_patient_id=True)


def test_one_patient_is_no_reason() -> None:
    assert reason_to_hold(assembled([ct(1), ct(2)]), REQUIRED) is None


def test_two_patients() -> None:
    study = assembled([ct(1), ct(2, PatientID="SOMEBODY")])
    held = reason_to_hold(study, FhirOptions())
    assert held is not None
    assert held.reason == "patient-conflict"
    assert "SOMEBODY" in held.detail
    assert "SOMEBODY" not in held.rule, "the rule is for everybody's eyes"
    assert reason_to_hold(study, FhirOptions(on_patient_conflict="majority")) is None


@pytest.mark.parametrize(("options", "reason"), [(REQUIRED, "no-patient-id"), (FhirOptions(), None)])
def test_no_patient_id(options: FhirOptions, reason: str | None) -> None:
    study = assembled([ct(1, PatientID="")])
    held = reason_to_hold(study, options)
    assert (held and held.reason) == reason


def test_a_conflict_is_said_first() -> None:
    study = assembled([ct(1), ct(2, PatientID="SOMEBODY")])
    nameless = replace(study, patient=replace(study.patient, id=""))
    held = reason_to_hold(nameless, REQUIRED)
    assert isinstance(held, Hold)
    assert held.reason == "patient-conflict"
