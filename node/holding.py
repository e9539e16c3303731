"""What keeps a study from being published as one patient's resource (pure); an operator can publish it anyway."""

from __future__ import annotations

from typing import Final, NamedTuple

from node.fhir.options import FhirOptions
from node.model import Study

PATIENT_CONFLICT: Final = "patient-conflict"
NO_PATIENT_ID: Final = "no-patient-id"


class Hold(NamedTuple):
    """``reason`` is a label of ``quarantined_total``, ``rule`` what was found and the key that decides, without
    values; ``detail`` is for /api/quarantine alone and names the patients."""

    reason: str
    rule: str
    detail: str


def reason_to_hold(study: Study, options: FhirOptions) -> Hold | None:
    """None when the study may go out."""
    if len(study.identities) > 1 and options.on_patient_conflict == "quarantine":
        patients = " and ".join(f"patient {identity.value!r}" for identity in study.identities)
        rule = "several patients in one study (fhir.on_patient_conflict = quarantine)"
        return Hold(PATIENT_CONFLICT, rule, f"{patients} in one study")
    if options.require_patient_id and not study.patient.id:
        rule = "no Patient ID (0010,0020) in any instance (fhir.require_patient_id)"
        return Hold(NO_PATIENT_ID, rule, rule)
    return None
