"""What an operator decides about the resources; ``wiring.py`` fills it from the ``[fhir]`` keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class FhirOptions:
    """Choices that the serialisers need. Empty strings mean "not configured".

    default_timezone
        IANA name for times that carry no offset and whose peer has no time zone. Without one such times are
        published as dates, because a FHIR dateTime with a time must have an offset.
    issuers
        Local issuer names, as in (0010,0021) or (0040,0031), to the Identifier.system that they stand for.
    default_patient_id_system, default_accession_system
        Identifier.system of identifiers whose issuer says nothing. A patient's id without any system is not
        unique in the world: set the first in production.
    study_id_system
        Identifier.system of Study ID (0020,0010); without one its assigner is the institution.
    wado_rs_base
        DICOMweb base URL, without ``/studies``; makes ImagingStudy.endpoint.
    include_names
        Publish names of patients and staff.
    include_instances
        Publish series.instance.
    title_from_image_type
        Title of an image from Image Type (0008,0008): the same text for hundreds of instances.
    generate_narrative
        Publish ``text``, made from the structured values, without patient data.
    on_patient_conflict
        What becomes of a study in which several patients were found; ``majority`` publishes it anyway.
    require_patient_id
        True: a study without Patient ID (0010,0020), which is type 2, is refused. False: it is published, its
        subject having the extension data-absent-reason.
    coding_schemes
        Coding scheme designators (0008,0102) to Coding.system, beside and before the built-in table.
    admitting_dx_as_reason
        Admitting diagnoses are the study's reason when no reason for the requested procedure is known.
    protocol_as_description
        Protocol Name (0018,1030) describes a series that has no description.
    source
        URI for meta.source.
    """

    default_timezone: str = ""
    issuers: Mapping[str, str] = field(default_factory=dict)
    default_patient_id_system: str = ""
    default_accession_system: str = ""
    study_id_system: str = ""
    wado_rs_base: str = ""
    include_names: bool = False
    include_instances: bool = True
    title_from_image_type: bool = False
    generate_narrative: bool = False
    on_patient_conflict: Literal["quarantine", "majority"] = "quarantine"
    require_patient_id: bool = False
    coding_schemes: Mapping[str, str] = field(default_factory=dict)
    admitting_dx_as_reason: bool = False
    protocol_as_description: bool = False
    source: str = ""
