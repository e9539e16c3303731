"""What selections of every kind share: where instances live, who made the document, when, of which body part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from node.documents import Document, Evidence, Observer, SopReference, When
from node.fhir import series as of_series
from node.fhir import terminology
from node.fhir.contained import Context, device_r5
from node.fhir.datatypes import Json, compact, date_time, distinct, string, uid, unsigned
from node.fhir.options import FhirOptions
from node.fhir.people import person
from node.fhir.selections import concepts, regions
from node.fhir.selections.concepts import Concept, Entry
from node.fhir.table import Row, fill
from node.model import Device, Instance, Series, Study
from node.terms import Code, Moment

# Of performer, basedOn, focus and category of one selection: each is written again in every selection of a
# document, so what a document may name without end would make them grow with its square.
MAX_REFERENCES: Final = 32


class Place(NamedTuple):
    """A series of a study, the most that one selection can select from."""

    study: str
    series: str


class Dropped(NamedTuple):
    """What could not be selected: a name of ``quality.SELECTIONS``, the DICOM keyword, how many times."""

    rule: str
    keyword: str
    times: int = 1


@dataclass(frozen=True, slots=True)
class Held:
    """The study's own series and instances, by UID; of an instance in several series the first (``placed`` has
    each by series and UID)."""

    study: Study
    series: Mapping[str, Series]
    instances: Mapping[str, tuple[Series, Instance]]
    placed: Mapping[tuple[str, str], Instance]

    @classmethod
    def of(cls, study: Study) -> Held:
        instances: dict[str, tuple[Series, Instance]] = {}
        placed: dict[tuple[str, str], Instance] = {}
        for series in study.series:
            for instance in series.instances:
                instances.setdefault(instance.uid, (series, instance))
                placed[series.uid, instance.uid] = instance
        return cls(study, {one.uid: one for one in study.series}, instances, placed)

    def at(self, place: Place) -> Series | None:
        """The series, if it is one of this study."""
        return self.series.get(place.series) if place.study == self.study.uid else None

    def sop_class(self, reference: SopReference) -> str:
        """The SOP class as the reference says it, else as the instance itself does."""
        found = self.instances.get(reference.instance)
        return uid(reference.sop_class) or (found[1].sop_class if found else "")


@dataclass(frozen=True, slots=True)
class Source:
    """A document of the study with its place, and how to place what it refers to."""

    document: Document
    series: Series
    instance: Instance
    held: Held
    options: FhirOptions

    @property
    def place(self) -> Place:
        return Place(self.held.study.uid, self.series.uid)

    def when(self, when: When) -> Moment:
        """A moment of the document's content, in the document's zone."""
        zone = self.instance.zone
        return Moment(when.date, when.time, when.datetime, zone.offset, zone.timezone)


class Places:
    """Where referenced instances live: as the document's evidence says, else as the study at hand holds them."""

    def __init__(self, evidence: Iterable[Evidence], held: Held) -> None:
        self._held = held
        self.known: dict[str, Place] = {}
        self._series: dict[str, Place] = {}
        for one in evidence:
            if uid(one.study) and uid(one.series) and uid(one.instance):
                place = Place(one.study, one.series)
                self.known.setdefault(one.instance, place)
                self._series.setdefault(one.series, place)

    def find(self, instance: str) -> Place | None:
        if instance in self.known:
            return self.known[instance]
        found = self._held.instances.get(instance)
        return Place(self._held.study.uid, found[0].uid) if found and uid(instance) else None

    def of_series(self, series: str) -> Place | None:
        if series in self._series:
            return self._series[series]
        return Place(self._held.study.uid, series) if series in self._held.series else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What one resource is made of.

    ``item`` is its place in the document, ``uid`` the UID of what was selected from. ``concept`` is its purpose
    where the dicom-sr guide has it, ``claimed`` whether it fits the guide's profile. ``focus`` are items of the
    same document, ``sources`` series whose source image selections it is about too.
    """

    source: Source
    item: str
    place: Place
    entries: tuple[Entry, ...]
    uid: str
    concept: Concept | None = None
    claimed: bool = False
    focus: tuple[str, ...] = ()
    sources: tuple[Place, ...] = ()


@dataclass(slots=True)
class SelectionContext(Context):
    """``item`` is the selection's final one, ``several`` whether its document has more selections, ``focus`` the
    references to others, ``requests`` those that the study was made for; both at most ``MAX_REFERENCES``."""

    item: str = ""
    several: bool = False
    focus: list[Json] = field(default_factory=list)
    requests: list[Json] = field(default_factory=list)


def entries(references: Iterable[SopReference], held: Held) -> tuple[Entry, ...]:
    """Instances in the order of their first mention, each once with all of its frames, and once with all of its
    segments: a frame number and a segment number can't be told apart in one list."""
    classes: dict[tuple[str, bool, bool], str] = {}
    subsets: dict[tuple[str, bool, bool], dict[str, None]] = {}
    for one in references:
        for key, numbers in (
            ((one.instance, True, False), one.frames),
            ((one.instance, False, True), one.segments),
            ((one.instance, False, False), () if one.frames or one.segments else ("",)),
        ):
            if numbers:
                classes.setdefault(key, held.sop_class(one))
                subsets.setdefault(key, {}).update({str(number): None for number in numbers if number != ""})
    return tuple(Entry(key[0], classes[key], tuple(subset)) for key, subset in subsets.items())


def own_entry(source: Source, subset: Sequence[str] = ()) -> Entry:
    """The document itself as selected instance."""
    return Entry(source.document.instance, source.document.sop_class, tuple(subset))


def instant(when: When, source: Source) -> str | None:
    """A FHIR instant: only where date, time and offset are known."""
    found = date_time(source.when(when), source.options.default_timezone)
    return found if found and "T" in found else None


def site(region: Code | None, modifiers: Iterable[Code | None], options: FhirOptions) -> Json | None:
    """bodySite by concept; a side or other modifier, which has no place in the concept's coding, is in its text."""
    found = terminology.concept(region, options) if region else None
    if not found:
        return None
    said = [text for one in modifiers if one and (text := string(one.meaning))]
    text = ", ".join([found["text"], *said]) if "text" in found else None
    return {"concept": compact(coding=found.get("coding"), text=text)}


def performers(selection: Selection, context: Context) -> list[Json]:
    """Who observed; where the document names nobody, its operators and equipment; the first of too many."""
    actors = [_observer(one, context) for one in _observers(selection.source)[:MAX_REFERENCES]]
    found = distinct([one for one in actors if one])
    if found:
        return [{"function": terminology.PERFORMER, "actor": one} for one in found]
    series = selection.source.series
    few = replace(series, **{name: found[:MAX_REFERENCES] for name, found in _actors(series).items()})
    return of_series.performers(few, context, device_r5)


def crowded(source: Source) -> bool:
    """Whether ``performers`` leaves somebody out."""
    groups = (_observers(source), *_actors(source.series).values())
    return any(len(group) > MAX_REFERENCES for group in groups)


def _observers(source: Source) -> Sequence[Observer]:
    return getattr(source.document.content, "observers", ())


def _actors(series: Series) -> dict[str, Any]:
    return {name: getattr(series, name) for name in ("devices", "operators", "performers")}


def _observer(observer: Observer, context: Context) -> Json | None:
    if observer.kind == "person":
        return person(observer.person, context)
    device = Device(
        manufacturer=observer.manufacturer,
        model=observer.model,
        serial=observer.serial,
        station=observer.name,
        uid=observer.uid,
    )
    return context.contained.refer("dev", "Device", device_r5(device))


class Chosen(NamedTuple):
    """One instance of a selection."""

    selection: Selection
    entry: Entry


def _number(chosen: Chosen, _: Context) -> int | None:
    held, at = chosen.selection.source.held, chosen.selection.place
    here = held.placed.get((at.series, chosen.entry.uid))
    found = held.instances.get(chosen.entry.uid)
    instance = here or (found[1] if found else None)
    return unsigned(instance.number) if instance else None


def _sop_class(chosen: Chosen, _: Context) -> Json | None:
    of, selection = chosen.entry.sop_class, chosen.selection
    return concepts.sop_class(of, selection.concept, selection.claimed) if of else None


INSTANCE: Final[tuple[Row[Chosen, Context], ...]] = (
    Row("uid", "1..1", "(0008,1155), (0008,0018)", "SOP Instance UID", lambda one, _: one.entry.uid),
    Row("number", "0..1", "(0020,0013)", "of an instance that the node holds in this study", _number),
    Row(
        "sopClass",
        "0..1",
        "(0008,1150), (0008,0016)",
        "`urn:ietf:rfc:3986` and `urn:oid:`; with a dicom-sr profile the bare UID in the guide's own system. "
        "For a structure set that profile fixes a wrong code: the true one is in the extension alternate-codes "
        "(`sel.rtstruct_sopclass`)",
        _sop_class,
    ),
    Row(
        "subset",
        "0..*",
        "(0008,1160), (0062,000B), (0062,0004), (3006,0022), (0040,A160), (0040,A171)",
        "frame, segment or ROI numbers; the Observation UID of a content item; absent: the whole instance",
        lambda one, _: list(one.entry.subset),
    ),
    Row(
        "imageRegion2D",
        "0..*",
        "(0070,0023), (0070,0022)",
        "SCOORD: columns and rows from the top left corner of the image, as sent; of MULTIPOINT one region "
        "a point, each in an entry of its own; none with more than `max_coordinates` numbers, of "
        "which a point of a MULTIPOINT counts as 16",
        lambda one, _: regions.spelt(one.entry.region, 2),
    ),
    Row(
        "imageRegion3D",
        "0..*",
        "(0070,0023), (0070,0022)",
        "SCOORD3D: millimetres in the frame of reference, as sent; the instance is then the report itself",
        lambda one, _: regions.spelt(one.entry.region, 3),
    ),
)


def instances(selection: Selection, context: Context) -> list[Json]:
    return [fill(INSTANCE, Chosen(selection, one), context) for one in selection.entries]
