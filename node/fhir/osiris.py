"""ImagingStudy of FHIR 4.0.1 as profiled by Osiris OncoImagingStudy 1.1.0 (draft of 2025-04-23).

https://ig-osiris.cancer.fr/ig/osiris/StructureDefinition/onco-imagingstudy. It demands values that DICOM may not
have: ``osiris.missing`` says what stands for them. The archive and the reason come from configuration.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from operator import attrgetter
from typing import Final

from node.assemble.values import earliest
from node.fhir import osiris_terms as terms
from node.fhir import r4, terminology
from node.fhir import series as of_series
from node.fhir import study as of_study
from node.fhir.contained import Context, endpoint_address, endpoint_r4
from node.fhir.datatypes import Json, compact, date_time, distinct, resource_id, string, uid, uid_identifier
from node.fhir.options import FhirOptions
from node.fhir.osiris_settings import (
    DEFINITIONS,
    SECTIONS,
    Value,
    imaging_settings,
    lacking,
    primitive,
    size_impossible,
    weight_height,
)
from node.fhir.table import UNKNOWN, Absent, Page, Row, Section, fill
from node.model import BodyPart, Device, Finding, Series, Study
from node.terms import Moment

TARGET: Final = "osiris"
PROFILE: Final = DEFINITIONS + "onco-imagingstudy"

# Private description of a series, (00E1,xx40) in the block of creator ELSCINT1.
PRIVATE_DESCRIPTION: Final = "ELSCINT1:PrivateDescription"


def build(study: Study, options: FhirOptions) -> Json:
    """The resource as plain JSON values, the same bytes for the same study and options.

    ``Series.settings`` hold the imaging settings; where they are None the resource says that they are unknown.
    ``options`` have what ``missing`` asks for. Raises ResourceInvalid when ``require_patient_id`` asks for an
    identifier that the study does not have.
    """
    return {"resourceType": "ImagingStudy", **fill(STUDY, study, Context(study, options))}


def findings(study: Study, _: FhirOptions) -> tuple[Finding, ...]:
    """What only this target uses of a series and could not: a size in centimetres."""
    return tuple(
        Finding("patient-size-impossible", "PatientSize", one.uid, len(one.instances))
        for one in study.series
        if size_impossible(one)
    )


def missing(options: FhirOptions) -> Iterator[tuple[str, str]]:
    """Key and message of what must be configured: archive and reason, which the profile demands."""
    if not endpoint_address(options):
        yield (
            "fhir.wado_rs_base",
            "Osiris demands an endpoint: give the DICOMweb base URL, or fhir.endpoint.address",
        )
    if not string(options.endpoint.name):
        yield "fhir.endpoint.name", "Osiris demands the name of the archive that stores the studies"
    reason = options.osiris.reason_reference
    if reason.mode == "logical" and not reason.system:
        yield (
            "fhir.osiris.reason_reference.system",
            "Osiris demands a reference to the analysis: give the system of its identifier, or another mode",
        )
    if reason.mode == "literal" and not reason.value:
        yield (
            "fhir.osiris.reason_reference.value",
            "mode literal needs the reference itself, like Observation/{accession}",
        )


# --- study


def _modalities(study: Study, _: Context) -> list[Json]:
    return r4.modalities(of_study.modalities(study), terms.MODALITIES, terms.OTHER_MODALITY)


def _started(study: Study, context: Context) -> str | Absent:
    """The earliest acquisition, else series, else content of all series, else the study's own date."""
    ways = (attrgetter("acquired"), attrgetter("started"), attrgetter("content"))
    sources = [earliest(moment for one in study.series if (moment := way(one))) for way in ways]
    return _first((*sources, study.started), context)


def _first(moments: tuple[Moment | None, ...], context: Context) -> str | Absent:
    # Not by the missing-value policy: a sentinel that is no date would be no FHIR, and one that is would lie.
    zone = context.options.default_timezone
    return next((found for one in moments if (found := date_time(one, zone))), UNKNOWN)


def _endpoint(_: Study, context: Context) -> list[Json]:
    body = r4.profiled(DEFINITIONS + "imaging-pacs", endpoint_r4(context.options))
    endpoint = context.contained.refer("endpoint", "Endpoint", body)
    return [endpoint] if endpoint else []


def _location(study: Study, context: Context) -> Json | None:
    name = string(study.institution.name)
    body = r4.profiled(DEFINITIONS + "imaging-service", compact(name=name))
    return context.contained.refer("location", "Location", body)


def _accession(study: Study, context: Context) -> str | None:
    return next((str(one["value"]) for one in of_study.accessions(study, context)), None)


def _reason(study: Study, context: Context) -> list[Json]:
    """What the images were analysed for, which DICOM does not know: as configured, in one of three ways."""
    reason = context.options.osiris.reason_reference
    if reason.mode == "contained":
        analysis = context.contained.refer("analysis", "Observation", _analysis(study, context))
        return [analysis] if analysis else []
    names = {"accession": _accession(study, context) or study.uid, "study_uid": study.uid}
    if reason.mode == "literal":
        return [compact(reference=of_study.literal(reason.value, **names), type="Observation")]
    value = string((reason.value or "{accession}").format(**names))
    return [{"type": "Observation", "identifier": compact(system=reason.system, value=value)}]


def _analysis(study: Study, context: Context) -> Json:
    accession = _accession(study, context)
    return {
        **r4.profiled(DEFINITIONS + "analysis", {"status": "unknown"}),
        **compact(category=[{"text": accession}] if accession else []),
        "code": {"coding": [terms.IMAGING]},
        "subject": of_study.subject(study, context),
        **primitive("effectiveDateTime", _started(study, context)),
    }


def _description(study: Study, context: Context) -> Value | Absent:
    """Of the study, of the request, or what most series are called (the first of equals)."""
    called = Counter(text for one in study.series if (text := string(one.description)))
    most = next((text for text, _ in called.most_common(1)), None)
    return of_study.description(study, context) or most or lacking("string", context.options.osiris, UNKNOWN)


# --- series


def _modality(series: Series, _: Context) -> Json:
    code = terminology.modality_code(series)
    return r4.modality(code, terms.MODALITIES, terms.OTHER_MODALITY)


def _extensions(series: Series, context: Context) -> list[Json]:
    options, code = context.options.osiris, terminology.modality_code(series)
    measures = weight_height(series, code, options)
    return [*([measures] if measures else []), imaging_settings(series, code, options)]


def _series_description(series: Series, context: Context) -> Value | Absent:
    private = "\\".join((series.settings or {}).get(PRIVATE_DESCRIPTION, ()))
    sources = (series.description, private, series.protocol)
    own = next((text for raw in sources if (text := string(raw))), None)
    found = own or of_study.description(context.study, context)
    return found or lacking("string", context.options.osiris, UNKNOWN)


def _body_part(part: BodyPart, options: FhirOptions) -> Json | None:
    """A member of the value set by region, else by term; else text, which counts but is not published."""
    region = terminology.coding(part.region, options) if part.region else None
    coded = terms.region(region["code"]) if region and region["system"] == terminology.SCT else None
    coded = coded or terms.examined(part.examined)
    if coded:
        return {"coding": [coded]}
    meaning = part.region.meaning or part.region.value if part.region else ""
    return compact(text=string(part.examined) or string(meaning)) or None


def _body_site(series: Series, context: Context) -> Json | None:
    return r4.coding(terminology.body_site(series, context.options, _body_part))


def _series_started(series: Series, context: Context) -> str | Absent:
    return _first((series.acquired, series.started, series.content, context.study.started), context)


def _performers(series: Series, context: Context) -> list[Json]:
    actors = (context.contained.refer("dev", "Device", _device(one, context)) for one in series.devices)
    return [{"actor": actor} for actor in distinct([one for one in actors if one])]


def _device(device: Device, context: Context) -> Json:
    """Manufacturer, model, and one software version; nothing when the first two are both missing."""
    manufacturer, model = string(device.manufacturer), string(device.model)
    if not manufacturer and not model:
        return {}
    unknown = lacking("string", context.options.osiris, UNKNOWN)
    software = string("\\".join(device.software))
    known = compact(
        identifier=[uid_identifier(device.uid)] if uid(device.uid) else None,
        **primitive("manufacturer", manufacturer or unknown),
        serialNumber=string(device.serial),
        deviceName=[{**primitive("name", model or unknown), "type": "manufacturer-name"}],
        version=[primitive("value", software or unknown)],
    )
    return r4.profiled(DEFINITIONS + "imaging-device", known)


SERIES: Final[tuple[Row[Series, Context], ...]] = (
    Row(
        "extension",
        "1..*",
        "",
        "series-weightheigt (spelt as published) and imaging-settings, below; what is mandatory and missing has "
        'data-absent-reason, or a sentinel with `osiris.missing = "sentinel"`',
        _extensions,
    ),
    r4.SERIES_UID,
    r4.SERIES_NUMBER,
    Row(
        "modality",
        "1..1",
        "(0008,0060), (0008,0016)",
        "MR, CT, PT, DX, NM, RTSTRUCT in Osiris' systems; anything else is Unknown, as sent in originalText",
        _modality,
    ),
    Row(
        "description",
        "1..1",
        "(0008,103E), (00E1,xx40) of ELSCINT1, (0018,1030), (0008,1030), (0032,1060)",
        "the first that says anything; else as missing",
        _series_description,
    ),
    Row("numberOfInstances", "1..1", "counted", "each SOP Instance UID once", of_series.instance_count),
    Row(
        "bodySite",
        "0..1",
        "(0008,2218), (0018,0015)",
        "the first that has a code in VSBodySite; else omitted",
        _body_site,
    ),
    r4.LATERALITY,
    r4.SPECIMEN,
    Row(
        "started",
        "1..1",
        "(0008,002A), (0008,0022) (0008,0032), (0008,0021) (0008,0031), (0008,0023) (0008,0033), "
        "(0008,0020) (0008,0030)",
        "the earliest pair; else data-absent-reason; a time only with a known offset",
        _series_started,
    ),
    Row(
        "performer",
        "0..*",
        "(0008,0070), (0008,1090), (0018,1020), (0018,1000), (0018,1002)",
        "a contained Device each: manufacturer, model as its name, software versions joined by a backslash; "
        "missing ones as missing, none without manufacturer and model",
        _performers,
    ),
    r4.INSTANCES,
)

STUDY: Final[tuple[Row[Study, Context], ...]] = (
    Row(
        "id",
        "0..1",
        "(0020,000D)",
        "UUIDv5 of target and Study Instance UID",
        lambda study, _: resource_id(TARGET, study.uid),
    ),
    Row(
        "meta",
        "1..1",
        "fhir.source",
        "as `source`; claims the profile",
        lambda _, context: r4.meta(PROFILE, context),
    ),
    r4.NARRATIVE,
    Row(
        "identifier",
        "1..1",
        "(0020,000D)",
        "Study Instance UID, official; accession numbers are in basedOn",
        lambda study, _: [of_study.study_uid(study)],
    ),
    r4.STATUS,
    Row(
        "modality",
        "1..*",
        "(0008,0060)",
        "of all series, each once; Unknown once, with all that it stands for in originalText",
        _modalities,
    ),
    r4.SUBJECT,
    r4.ENCOUNTER,
    Row(
        "started",
        "1..1",
        "(0008,002A), (0008,0022) (0008,0032), (0008,0021) (0008,0031), (0008,0023) (0008,0033), "
        "(0008,0020) (0008,0030)",
        "the earliest of all series; else the study's; else data-absent-reason; a time only with a known offset",
        _started,
    ),
    r4.BASED_ON,
    r4.REFERRER,
    r4.INTERPRETER,
    Row(
        "endpoint",
        "1..1",
        "fhir.wado_rs_base, fhir.endpoint",
        "contained, of the profile *imaging-pacs*: name and address of the archive",
        _endpoint,
    ),
    Row("numberOfSeries", "1..1", "counted", "what the node holds", lambda study, _: len(study.series)),
    Row("numberOfInstances", "0..1", "counted", "what the node holds", lambda study, _: study.instance_count),
    r4.PROCEDURE_CODE,
    Row(
        "location",
        "0..1",
        "(0008,0080)",
        "the institution's name in a contained Location of the profile *imaging-service*",
        _location,
    ),
    r4.REASON_CODE,
    Row(
        "reasonReference",
        "1..1",
        "fhir.osiris.reason_reference, (0008,0050), (0020,000D)",
        "the analysis: an identifier (accession number, else Study Instance UID, or by template), a literal "
        "reference, or a contained Observation of the profile *analysis*",
        _reason,
    ),
    Row(
        "description",
        "1..1",
        "(0008,1030), (0032,1060), (0008,103E)",
        "the first that says anything, the last of most series; else as missing",
        _description,
    ),
    Row(
        "series",
        "1..*",
        "",
        "by number, then UID",
        lambda study, context: [fill(SERIES, one, context) for one in study.series],
    ),
    Row("contained", "1..*", "", "Endpoint, Location, Devices, Observation, by id", of_study.contained),
)

PAGE: Final = Page(
    "ImagingStudy, Osiris OncoImagingStudy (FHIR R4)",
    "The profile of Osiris 1.1.0 on FHIR 4.0.1. Needs `fhir.wado_rs_base` or `fhir.endpoint.address`, "
    "`fhir.endpoint.name`, and for the default `fhir.osiris.reason_reference` its `system`. `as missing` is "
    'data-absent-reason, or with `fhir.osiris.missing = "sentinel"` the string Unknown and the number 999999; '
    "dates have no sentinel.",
    (
        Section("ImagingStudy", STUDY),
        Section("ImagingStudy.series", SERIES),
        *SECTIONS,
        Section("ImagingStudy.series.instance", of_series.INSTANCE),
    ),
)
