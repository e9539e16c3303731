"""Series and instance level values that the ImagingStudy of R4 and R5 share; rules as in ``study``.

Sources: DICOM PS3.3 C.7.3 (series), C.12.1 (SOP common), C.7.5.1 (equipment), C.7.6.22 (specimen).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from node.fhir import terminology
from node.fhir.contained import Context
from node.fhir.datatypes import Json, date_time, distinct, identifier, reference, string, unsigned
from node.fhir.people import person
from node.fhir.sopclasses import Kind, kind
from node.fhir.table import Row, fill
from node.model import Device, Instance, Labels, Organization, Series
from node.terms import Code, Moment


def moment(series: Series) -> Moment | None:
    """When a series started: the first source that gives a date, content only for what is no image."""
    content = None if series.representative else series.content
    sources = (series.started, series.pps_started, series.acquired, content)
    return next((moment for moment in sources if date_time(moment, "")), None)


def started(series: Series, context: Context) -> str | None:
    return date_time(moment(series), context.options.default_timezone)


def number(series: Series, _: Context) -> int | None:
    return unsigned(series.number)


def description(series: Series, context: Context) -> str | None:
    """Series Description, else its code's meaning, else Protocol Name where configured."""
    protocol = series.protocol if context.options.protocol_as_description else ""
    sources = (series.description, *(entry.meaning for entry in series.description_codes), protocol)
    return next((text for raw in sources if (text := string(raw))), None)


def instance_count(series: Series, _: Context) -> int:
    return len(series.instances)


def specimens(series: Series, context: Context) -> list[Json]:
    known = (identifier(one, context.options) for one in series.specimens)
    return [one for found in known if (one := reference("Specimen", found))]


def performers(series: Series, context: Context, device: Callable[[Device], Json]) -> list[Json]:
    """Devices, then people; the institution only where there is nobody else. ``device`` spells a Device."""
    actors = [context.contained.refer("dev", "Device", device(one)) for one in series.devices]
    actors += [person(one, context) for one in (*series.operators, *series.performers)]
    known = [actor for actor in actors if actor]
    if not known and (organization := _organization(series.institution, context)):
        return [{"actor": organization}]
    return [{"function": terminology.PERFORMER, "actor": actor} for actor in distinct(known)]


def _organization(institution: Organization, context: Context) -> Json | None:
    return reference("Organization", identified(institution.codes, context), string(institution.name))


def identified(codes: Sequence[Code], context: Context) -> Json | None:
    """The first coded entry that has a system, as Identifier."""
    for entry in codes:
        coded = terminology.coding(entry, context.options)
        if coded:
            return {"system": coded["system"], "value": coded["code"]}
    return None


# Which labels an object of a kind is called by, the first that says anything.
_TITLES: Final[dict[Kind, tuple[str, ...]]] = {
    "image": (),
    "report": ("concept",),
    "document": ("document_title", "concept"),
    "content": ("content_label", "content_description"),
    "structure-set": ("structure_set_label",),
    "plan": ("plan_label",),
    "dose": ("dose_summation",),
}


def title(instance: Instance, context: Context) -> str | None:
    """What an instance is called, by its kind; images only where ``title_from_image_type`` asks for it."""
    of = kind(instance.sop_class)
    if of == "image":
        return string("\\".join(instance.image_type)) if context.options.title_from_image_type else None
    labels = instance.labels or Labels()
    for name in _TITLES[of]:
        label = getattr(labels, name)
        text = string(label.meaning if isinstance(label, Code) else label or "")
        if text:
            return text
    return None


INSTANCE: Final[tuple[Row[Instance, Context], ...]] = (
    Row("uid", "1..1", "(0008,0018)", "SOP Instance UID", lambda one, _: one.uid),
    Row(
        "sopClass",
        "1..1",
        "(0008,0016)",
        "`urn:ietf:rfc:3986` and `urn:oid:`, displayed by its registered name",
        lambda one, _: terminology.sop_class(one.sop_class),
    ),
    Row(
        "number", "0..1", "(0020,0013)", "0 to 2147483647, else omitted", lambda one, _: unsigned(one.number)
    ),
    Row(
        "title",
        "0..1",
        "(0040,A043), (0042,0010), (0070,0080), (0070,0081), (3006,0002), (300A,0002), (3004,000A), (0008,0008)",
        "by kind of object; Image Type only with `title_from_image_type`",
        title,
    ),
)


def instances(series: Series, context: Context) -> list[Json] | None:
    """``series.instance``, by number and UID; None where ``include_instances`` is off."""
    if not context.options.include_instances:
        return None
    return [fill(INSTANCE, one, context) for one in series.instances]
