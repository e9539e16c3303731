"""What the ImagingStudy of R4 spells otherwise than R5's, for both targets that profile it.

R4 has a Coding where R5 has a CodeableConcept (modality, bodySite, laterality), and ``interpreter``,
``procedureCode`` and ``reasonCode`` (https://hl7.org/fhir/R4/imagingstudy.html).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from node.fhir import series as of_series
from node.fhir import study as of_study
from node.fhir import terminology
from node.fhir.contained import Context
from node.fhir.datatypes import Json, compact, uri
from node.fhir.table import Row
from node.model import Series, Study

# https://hl7.org/fhir/R4/extension-originaltext.html, which may stand on any element.
ORIGINAL_TEXT: Final = "http://hl7.org/fhir/StructureDefinition/originalText"


def meta(profile: str, context: Context) -> Json:
    return compact(source=uri(context.options.source), profile=[profile])


def profiled(profile: str, body: Json) -> Json:
    """A contained resource's members with the profile that it claims; nothing when there is nothing."""
    return {"meta": {"profile": [profile]}, **body} if body else {}


def coding(concept: Json | None) -> Json | None:
    """The Coding of a CodeableConcept; None when it is only text."""
    codings: list[Json] = (concept or {}).get("coding", [])
    return codings[0] if codings else None


def modality(code: str, known: Mapping[str, Json], other: Json) -> Json:
    """The Coding of a modality code: of ``known``, else ``other`` with the code as its original text."""
    return known[code] if code in known else _original(other, (code,))


def modalities(codes: Sequence[str], known: Mapping[str, Json], other: Json) -> list[Json]:
    """The Codings of distinct modality codes, each once; ``other`` says all that it stands for."""
    behind = [code for code in codes if known.get(code, other) == other]
    stands = _original(other, behind if set(behind) - set(known) else ())
    found: dict[tuple[str, str], Json] = {}
    for code in codes:
        one = stands if code in behind else known[code]
        found.setdefault((one["system"], one["code"]), one)
    return list(found.values())


def _original(of: Json, texts: Sequence[str]) -> Json:
    # Several values are one text with backslashes, as DICOM itself writes them (PS3.5 6.4).
    extension = {"url": ORIGINAL_TEXT, "valueString": "\\".join(texts)}
    return {**of, "extension": [extension]} if texts else of


def _laterality(series: Series, _: Context) -> Json | None:
    return coding(terminology.laterality(series.lateralities))


ENCOUNTER: Final = Row[Study, Context](
    "encounter", "0..1", "(0038,0010), (0038,0014)", "by identifier, type VN", of_study.encounter
)
BASED_ON: Final = Row[Study, Context](
    "basedOn",
    "0..*",
    "(0008,0050), (0008,0051), (0040,0275), (0040,1001)",
    "a ServiceRequest for each accession number, type ACSN; without any, Requested Procedure IDs, type FILL",
    of_study.based_on,
)
REFERRER: Final = Row[Study, Context](
    "referrer",
    "0..1",
    "(0008,0090), (0008,0096)",
    "by identifier; name with `include_names`",
    of_study.referrer,
)
INTERPRETER: Final = Row[Study, Context](
    "interpreter",
    "0..*",
    "(0008,1060), (0008,1062)",
    "by identifier; names with `include_names`",
    of_study.interpreters,
)
PROCEDURE_CODE: Final = Row[Study, Context](
    "procedureCode",
    "0..*",
    "(0008,1032), (0032,1064), (0032,1060)",
    "what was done, else what was requested, else the request's words",
    of_study.procedures,
)
REASON_CODE: Final = Row[Study, Context](
    "reasonCode",
    "0..*",
    "(0040,100A), (0040,1002), (0008,1084), (0008,1080)",
    "codes, then texts; admitting diagnoses only with `admitting_dx_as_reason` and no other reason",
    of_study.reasons,
)
STATUS: Final = Row[Study, Context](
    "status",
    "1..1",
    "",
    "available; entered-in-error or cancelled when rejection notes take back every instance",
    of_study.status,
)
NARRATIVE: Final = Row[Study, Context](
    "text", "0..1", "", "only with `generate_narrative`; nothing about the patient", of_study.narrative
)
SUBJECT: Final = Row[Study, Context](
    "subject",
    "1..1",
    "(0010,0020), (0010,0021), (0010,0024)",
    "Patient by identifier, type MR; without Patient ID data-absent-reason",
    of_study.subject,
)

SERIES_UID: Final = Row[Series, Context](
    "uid", "1..1", "(0020,000E)", "Series Instance UID", lambda one, _: one.uid
)
SERIES_NUMBER: Final = Row[Series, Context](
    "number", "0..1", "(0020,0011)", "0 to 2147483647, else omitted", of_series.number
)
LATERALITY: Final = Row[Series, Context](
    "laterality",
    "0..1",
    "(0020,0060), (0020,0062), (0020,9072)",
    "R, L, B in SNOMED CT (CID 244); both sides in one series are bilateral",
    _laterality,
)
SPECIMEN: Final = Row[Series, Context](
    "specimen", "0..*", "(0040,0551), (0040,0562), (0040,0512)", "by identifier", of_series.specimens
)
INSTANCES: Final = Row[Series, Context](
    "instance", "0..*", "", "by number, then UID; not with `include_instances = false`", of_series.instances
)
