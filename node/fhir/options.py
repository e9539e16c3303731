"""What an operator decides about the resources; ``wiring.py`` fills it from the ``[fhir]`` keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class EndpointOptions:
    """Where consumers get the images, for targets that must say so.

    connection_type
        ``dicom-wado-rs``, or ``ihe-iid`` for a viewer (IHE Invoke Image Display).
    name
        What the archive is called; Osiris wants it.
    address
        The endpoint's address when it is not ``wado_rs_base``.
    """

    connection_type: Literal["dicom-wado-rs", "ihe-iid"] = "dicom-wado-rs"
    name: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class ReferenceTemplates:
    """Literal references instead of logical ones, each with its placeholder: ``Patient/{patient_id}``,
    ``ServiceRequest/{accession}``, ``Encounter/{admission_id}``. The value is made to fit FHIR's id."""

    patient: str = ""
    service_request: str = ""
    encounter: str = ""


@dataclass(frozen=True, slots=True)
class ReasonReference:
    """What Osiris' reasonReference, which DICOM can't give, is made of.

    ``mode``: ``logical`` has an identifier of ``system``, its value the template ``value`` (placeholders
    ``{accession}``, ``{study_uid}``; empty: the accession number, else the Study Instance UID); ``literal`` has
    the template ``value`` as reference; ``contained`` has an Observation of profile *analysis* inside.
    """

    mode: Literal["logical", "literal", "contained"] = "logical"
    system: str = ""
    value: str = ""


@dataclass(frozen=True, slots=True)
class OsirisOptions:
    """``missing``: ``data-absent`` says so by extension, ``sentinel`` writes "Unknown" and 999999."""

    reason_reference: ReasonReference = field(default_factory=ReasonReference)
    missing: Literal["data-absent", "sentinel"] = "data-absent"


@dataclass(frozen=True, slots=True)
class SelectionOptions:
    """``rtstruct_sopclass``: ``profile`` has the code that the region-in-space profile fixes (it is wrong, the
    true one goes beside it), ``dicom`` has the true one and claims no profile. ``identifier_system`` is of the
    second identifier, which tells the selections of one document apart."""

    rtstruct_sopclass: Literal["profile", "dicom"] = "profile"
    identifier_system: str = ""


# PS3.16 CID 7010: manifests and lists of content, which select nothing.
CONTENT_LISTS: Final = ("113030", "113031", "113032", "113033", "113034", "113035")


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
    availability
        Instance Availability that ``dstu1`` publishes: ONLINE, OFFLINE, NEARLINE or UNAVAILABLE.
    bodysite_display_only
        ``imr``, ``dstu1``: a body part without a code is published as a Coding that has only a display.
    imr_endpoint_address_template
        ``imr``: appended to the endpoint's address when it starts with a slash, else the whole address;
        ``{study_uid}`` stands for the study's.
    instance_urls
        ``dstu1``: publish series.instance.url.
    rtstruct_mode, seg_mode
        ``imagingselection``: one selection a structure set or one a region; one a segment or one a segmentation.
    kos_skip_titles
        ``imagingselection``: codes of key object titles that select nothing.
    sr_document_selection
        ``imagingselection``: a report without measurement groups is one selection.
    max_coordinates
        ``imagingselection``: a region with more numbers than this is left out, its selection stays. Of several
        points in an image each counts as 16 numbers.
    max_selections
        ``imagingselection``: of one document, and four times as many of one study; what is beyond is counted
        and left out.
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
    availability: Literal["", "ONLINE", "OFFLINE", "NEARLINE", "UNAVAILABLE"] = ""
    bodysite_display_only: bool = False
    imr_endpoint_address_template: str = ""
    instance_urls: bool = False
    rtstruct_mode: Literal["instance", "roi"] = "instance"
    seg_mode: Literal["segment", "instance"] = "segment"
    kos_skip_titles: tuple[str, ...] = CONTENT_LISTS
    sr_document_selection: bool = False
    max_coordinates: int = 20_000
    max_selections: int = 5_000
    endpoint: EndpointOptions = field(default_factory=EndpointOptions)
    references: ReferenceTemplates = field(default_factory=ReferenceTemplates)
    osiris: OsirisOptions = field(default_factory=OsirisOptions)
    sel: SelectionOptions = field(default_factory=SelectionOptions)
