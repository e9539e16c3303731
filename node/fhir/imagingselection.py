"""ImagingSelection of FHIR 5.0.0 from key objects, reports, structure sets, segmentations, presentation states.

One resource is one purpose in one series of one study (https://hl7.org/fhir/R5/imagingselection.html), so a
document gives as many as it has series and groups. Where a profile of the HL7 dicom-sr guide applies and is
satisfied, ``meta.profile`` says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, Final, NamedTuple

from node.documents import KeyObjects, PresentationState, Report, Segmentation, StructureSet
from node.fhir import study as of_study
from node.fhir import terminology
from node.fhir.contained import Context, endpoint_r5
from node.fhir.datatypes import Json, compact, resource_id, string, uid_identifier, unsigned
from node.fhir.options import FhirOptions
from node.fhir.selections import base, concepts, keyobjects, presentations, reports, segmentations, structures
from node.fhir.selections.base import (
    MAX_REFERENCES,
    Dropped,
    Held,
    Place,
    Selection,
    SelectionContext,
    Source,
)
from node.fhir.table import Built, Page, Row, Section, fill
from node.model import Finding, Study

TARGET: Final = "imagingselection"
STUDY_SHARE: Final = 4  # a study may have this many times the selections that a document may
_MAX_ITEM: Final = 128
_ITEM: Final = re.compile(r"[!-.0-~]+\Z")


class Kind(NamedTuple):
    """A kind of document: what makes its selections, and the elements that are its own."""

    title: str
    selections: Callable[[Source, Any], Iterator[Selection | Dropped]]
    rows: Sequence[Row[Any, Any]]


KINDS: Final[dict[type, Kind]] = {
    KeyObjects: Kind("key objects", keyobjects.selections, keyobjects.ROWS),
    StructureSet: Kind("structure sets", structures.selections, structures.ROWS),
    Report: Kind("reports", reports.selections, reports.ROWS),
    Segmentation: Kind("segmentations", segmentations.selections, segmentations.ROWS),
    PresentationState: Kind("presentation states", presentations.selections, presentations.ROWS),
}


class _Selected(NamedTuple):
    """The selections of one document with their final items, and what it could not select."""

    source: Source
    items: dict[str, Selection]
    places: dict[str, str]  # Selection.item -> final item
    dropped: dict[tuple[str, str], int]  # rule and keyword of ``Dropped`` -> times


class _Focus:
    """The ids of other selections that one has a focus on."""

    def __init__(self, selected: Sequence[_Selected]) -> None:
        self._of_sources: dict[Place, list[str]] = {}
        for document in selected:
            for item, selection in document.items.items():
                if selection.concept is concepts.SOURCE_IMAGE:
                    self._of_sources.setdefault(selection.place, []).append(_id(document.source, item))
        self._found: dict[int, list[str]] = {}

    def ids(self, document: _Selected, item: str, selection: Selection) -> list[str]:
        """Each once, in order; one more than ``MAX_REFERENCES`` where there are more."""
        own = (document.places[one] for one in selection.focus if one in document.places)
        ids = chain((_id(document.source, one) for one in own if one != item), self._sources(selection))
        return list(islice(dict.fromkeys(ids), MAX_REFERENCES + 1))

    def _sources(self, selection: Selection) -> list[str]:
        # The segments of one document share one tuple of sources, which may be long.
        key = id(selection.sources)
        if key not in self._found:
            ids = chain.from_iterable(self._of_sources.get(place, ()) for place in selection.sources)
            self._found[key] = list(islice(ids, MAX_REFERENCES + 1))
        return self._found[key]


def build(study: Study, options: FhirOptions) -> Sequence[Built]:
    """The resources of a study's documents, in their order; each document's in its own order.

    Raises ResourceInvalid when ``require_patient_id`` asks for an identifier that the study does not have.
    """
    selected = list(_selected(study, options))
    focus = _Focus(selected)
    requests = _requests(study, options)[:MAX_REFERENCES] if selected else []
    return [
        Built(
            _resource(document, item, focus.ids(document, item, selection), requests),
            document.source.document.instance,
            item,
        )
        for document in selected
        for item, selection in document.items.items()
    ]


def findings(study: Study, options: FhirOptions) -> tuple[Finding, ...]:
    """What documents refer to and ``build`` could not select, or left out: by rule, keyword and document."""
    selected = list(_selected(study, options))
    focus = _Focus(selected)
    many = bool(selected) and len(_requests(study, options)) > MAX_REFERENCES
    counts: dict[tuple[str, str, str], int] = {}
    for document in selected:
        crowded = sum(
            (many and not selection.claimed)
            or _crowded(document)
            or len(focus.ids(document, item, selection)) > MAX_REFERENCES
            for item, selection in document.items.items()
        )
        over = {("selection-references-over-maximum", "ContentSequence"): crowded} if crowded else {}
        for (rule, keyword), times in {**document.dropped, **over}.items():
            key = rule, keyword, document.source.document.instance
            counts[key] = counts.get(key, 0) + times
    return tuple(Finding(*key, count) for key, count in counts.items())


def _crowded(document: _Selected) -> bool:
    modifiers = getattr(document.source.document.content, "modifiers", ())
    return base.crowded(document.source) or len(modifiers) > MAX_REFERENCES


def _selected(study: Study, options: FhirOptions) -> Iterator[_Selected]:
    documents = [one for one in study.documents if one.content is not None]
    if not documents:
        return
    held = Held.of(study)
    left = options.max_selections * STUDY_SHARE
    seen: set[str] = set()
    for document in documents:
        series = held.series[document.series]
        instance = held.placed[document.series, document.instance]
        source = Source(document, series, instance, held, options)
        # One SOP Instance UID in two series: both are documents, and no two resources may share an item.
        suffix = f"@{series.uid}" if document.instance in seen else ""
        seen.add(document.instance)
        found = _of_document(source, suffix, min(left, options.max_selections))
        left -= len(found.items)
        yield found


def _of_document(source: Source, suffix: str, most: int) -> _Selected:
    """At most ``most`` selections; those beyond are not kept, only counted."""
    content = source.document.content
    items: dict[str, Selection] = {}
    places: dict[str, str] = {}
    dropped: dict[tuple[str, str], int] = {}
    for one in KINDS[type(content)].selections(source, content):
        if isinstance(one, Selection) and len(items) < most:
            item = _item(one.item, suffix, items)
            items[item] = one
            places.setdefault(one.item, item)
            continue
        lost = Dropped("selections-over-maximum", "ContentSequence") if isinstance(one, Selection) else one
        key = lost.rule, lost.keyword
        dropped[key] = dropped.get(key, 0) + lost.times
    return _Selected(source, items, places, dropped)


def _item(place: str, suffix: str, taken: dict[str, Selection]) -> str:
    """The selection's item: ``place``, or what stands for it where it is too long or not unique."""
    count, item = 1, place + suffix
    while True:
        if len(item) > _MAX_ITEM or not _ITEM.match(item):
            item = resource_id("item", item)
        if item not in taken:
            return item
        count += 1
        item = f"{place}+{count}{suffix}"


def _id(source: Source, item: str) -> str:
    return resource_id(TARGET, source.held.study.uid, source.document.instance, item)


def _resource(document: _Selected, item: str, focus: Sequence[str], requests: list[Json]) -> Json:
    source, selection = document.source, document.items[item]
    context = SelectionContext(
        source.held.study,
        source.options,
        item=item,
        several=len(document.items) > 1 or item != selection.item,
        focus=[
            {"reference": f"ImagingSelection/{one}", "type": "ImagingSelection"}
            for one in focus[:MAX_REFERENCES]
        ],
        requests=requests,
    )
    rows = KINDS[type(source.document.content)].rows
    found: dict[str, Any] = fill(rows, selection, context) | fill(SELECTION, selection, context)
    return {"resourceType": "ImagingSelection", **{name: found[name] for name in ORDER if name in found}}


def _meta(selection: Selection, context: SelectionContext) -> Json:
    found = of_study.meta(context.study, context)
    if selection.concept and selection.claimed:
        found["profile"] = [concepts.profile(selection.concept)]
    return found


def _narrative(selection: Selection, context: SelectionContext) -> Json | None:
    """Counts and series; nothing that anybody wrote by hand."""
    if not context.options.generate_narrative:
        return None
    count = len({one.uid for one in selection.entries})
    purpose = f": {selection.concept.meaning}" if selection.concept else ""
    lines = (f"Imaging selection{purpose}", f"Series {selection.place.series}: {count} instances")
    body = "".join(f"<p>{line}</p>" for line in lines)
    return {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{body}</div>'}


def _identifiers(selection: Selection, context: SelectionContext) -> list[Json]:
    found = [uid_identifier(selection.uid)]
    if context.several:
        value = f"{selection.source.document.instance}/{context.item}"
        found.append(compact(system=string(context.options.sel.identifier_system), value=value))
    return found


def _subject(selection: Selection, context: SelectionContext) -> Json:
    return of_study.subject(context.study, context)


def _requests(study: Study, options: FhirOptions) -> list[Json]:
    """The study's, by accession number: the same for all of its selections."""
    found = []
    for known in of_study.accessions(study, Context(study, options)):
        at = of_study.literal(options.references.service_request, accession=known["value"])
        found.append(compact(reference=at, type="ServiceRequest", identifier=known))
    return found


def _based_on(selection: Selection, context: SelectionContext) -> list[Json]:
    """A profile allows one request: the most frequent one then."""
    return context.requests[:1] if selection.claimed else context.requests


def _derived_from(selection: Selection, _: SelectionContext) -> list[Json]:
    study = selection.place.study
    kind = {"coding": [{"system": terminology.DCM, "code": "110180", "display": "Study Instance UID"}]}
    known = {"type": kind, **uid_identifier(study)}
    at = f"ImagingStudy/{resource_id('r5', study)}"
    return [{"reference": at, "type": "ImagingStudy", "identifier": known}]


def _endpoints(_: Selection, context: SelectionContext) -> list[Json]:
    endpoint = context.contained.refer("endpoint", "Endpoint", endpoint_r5(context.options))
    return [endpoint] if endpoint else []


def _series_number(selection: Selection, _: SelectionContext) -> int | None:
    series = selection.source.held.at(selection.place)
    return unsigned(series.number) if series else None


SELECTION: Final[tuple[Row[Selection, SelectionContext], ...]] = (
    Row(
        "id",
        "0..1",
        "(0020,000D), (0008,0018)",
        "UUIDv5 of target, study and SOP Instance UID of the document, and the place in it",
        lambda one, context: _id(one.source, context.item),
    ),
    Row(
        "meta",
        "0..1",
        "fhir.source",
        "as `source`; `profile` where one of the dicom-sr guide applies and is satisfied",
        _meta,
    ),
    Row("text", "0..1", "", "only with `generate_narrative`; nothing about the patient", _narrative),
    Row(
        "identifier",
        "0..*",
        "(0008,0018), (0040,A171), 112040 DCM",
        "SOP Instance UID of the document; of a measurement group the Observation UID, else the Tracking UID. "
        "Where a document has several selections a second one, of `sel.identifier_system`, tells them apart",
        _identifiers,
    ),
    Row("status", "1..1", "", "available", lambda *_: "available"),
    Row(
        "subject",
        "1..1",
        "(0010,0020), (0010,0021), (0010,0024)",
        "Patient by identifier, type MR; without Patient ID data-absent-reason",
        _subject,
    ),
    Row(
        "performer",
        "0..*",
        "TID 1003, TID 1004, (0008,1070), (0008,1050), (0008,0070), (0008,1090), (0018,1000)",
        "observers of the document, else operators and equipment: a contained Device each, people by identifier "
        "(names with `include_names`), function PRF",
        base.performers,
    ),
    Row(
        "basedOn",
        "0..*",
        "(0008,0050), (0008,0051), (0040,0275)",
        "a ServiceRequest for each accession number, type ACSN; with a profile only the most frequent",
        _based_on,
    ),
    Row(
        "studyUid",
        "0..1",
        "(0040,A375), (0040,A385), (0020,000D)",
        "study of the selected instances: by the document's evidence, else where the node holds them",
        lambda one, _: one.place.study,
    ),
    Row(
        "derivedFrom",
        "1..1",
        "(0040,A375), (0040,A385), (0020,000D)",
        "that study as ImagingStudy: the id of target r5, and its UID as identifier, type 110180 DCM",
        _derived_from,
    ),
    Row("endpoint", "0..*", "fhir.wado_rs_base, fhir.endpoint", "contained, for studies", _endpoints),
    Row(
        "seriesUid",
        "0..1",
        "(0040,A375), (0040,A385), (0008,1115), (0020,000E)",
        "series of the selected instances: as studyUid",
        lambda one, _: one.place.series,
    ),
    Row(
        "seriesNumber",
        "0..1",
        "(0020,0011)",
        "of a series that the node holds in this study",
        _series_number,
    ),
    Row(
        "focus",
        "0..*",
        "",
        "other selections of this run: images of a presentation state, source images of a segment, the "
        "measurement group that an item is of",
        lambda _, context: context.focus,
    ),
    Row("instance", "0..*", "", "in the order of the document", base.instances),
    Row(
        "contained",
        "0..*",
        "",
        "Endpoint and Devices, by id",
        lambda _, context: context.contained.resources(),
    ),
)

# The order of members, that of the resource's definition; what is contained comes last, as it is found last.
ORDER: Final = (
    "id", "meta", "text", "identifier", "status", "subject", "issued", "performer", "basedOn", "category", "code",
    "studyUid", "derivedFrom", "endpoint", "seriesUid", "seriesNumber", "frameOfReferenceUid", "bodySite", "focus",
    "instance", "contained",
)  # fmt: skip

PAGE: Final = Page(
    "ImagingSelection, FHIR R5",
    "One resource for each purpose, study and series that a document selects from: key objects, structured "
    "reports, RT structure sets, segmentations, presentation states. Profiles are those of the HL7 guide DICOM SR "
    "to FHIR 1.0.0 (build of 2025-05-01).",
    (
        Section("ImagingSelection", SELECTION),
        *(Section(f"ImagingSelection of {kind.title}", kind.rows) for kind in KINDS.values()),
        Section("ImagingSelection.code of items of a measurement group", reports.ITEM_ROWS),
        Section("ImagingSelection.instance", base.INSTANCE),
    ),
)
