"""What the pages show of a node and its studies: the values of ``WebServices`` -> what the templates need. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from node.index.outbox import Record
from node.web.pages import actions, chart, held, words
from node.web.services import Json, instant

# Below this many times the least free space the disk is worth a look
_DISK_NEAR: Final = 2.0
_SHOWN_EVENTS: Final = 8  # of one version; reports can select hundreds of things
_COMPLETIONS: Final = {
    "quiet": "quiet period over",
    "max-age": "longest wait over",
    "forced": "by an operator",
}
_STATES: Final = {
    "open": "filling",
    "held": "held",
    "complete": "complete",
    "quarantined": "in quarantine",
}
_DELIVERY: Final = {"pending": "waiting", "sent": "published", "parked": "parked"}


class Quiet(NamedTuple):
    """The quiet bar of an open study: it runs from ``last_at`` down to ``deadline``."""

    deadline: str
    seconds: float
    left: float


class Study(NamedTuple):
    """A line of a list of studies, and the head of a study's page."""

    uid: str
    href: str
    title: str
    facts: Sequence[tuple[str, str]]
    state: str
    state_tells: str
    instances: int
    series: int
    added: int
    version: int
    modalities: str
    senders: Sequence[str]
    quiet: Quiet | None
    last_at: str
    completed_at: str
    completion: str
    conflicting: bool


class Published(NamedTuple):
    """An event of the outbox. ``lag`` is from its creation to the sink's confirmation."""

    id: str
    href: str
    study: str
    study_href: str
    title: str
    output: str
    kind: str
    version: int
    completion: str
    instances: str
    state: str
    state_tells: str
    created_at: str
    sent_at: str
    replayed_at: str
    lag: str
    parked_reason: str


class Tile(NamedTuple):
    """One figure at the top of the page; ``state`` is ok, busy, warn or bad."""

    name: str
    value: str
    tells: str
    state: str
    href: str


def title(row: Json) -> str:
    """What a study is called: its description, else what it is."""
    return row.get("description") or f"{'/'.join(row.get('modalities') or ['Study'])} without description"


def study(row: Json, now: float) -> Study:
    """One row of ``studies`` or ``study``."""
    modalities = "/".join(row.get("modalities") or ())
    facts = [
        ("Patient", row.get("patient_name") or ""),
        ("Patient ID", row.get("patient_id") or ""),
        ("Accession", row.get("accession") or ""),
        ("Date", words.dicom_date(row.get("study_date"))),
    ]
    completion = row.get("completion") or ""
    return Study(
        uid=row["uid"],
        href=words.study_href(row["uid"]),
        title=title(row),
        facts=[(label, value) for label, value in facts if value],
        state=row["state"],
        state_tells=_STATES[row["state"]],
        instances=row["instances"],
        series=row["number_of_series"],
        added=row["added"],
        version=row["version"],
        modalities=modalities,
        senders=row["calling_aes"],
        quiet=_quiet(row, now),
        last_at=row["last_at"],
        completed_at=row["completed_at"] or "",
        completion=_COMPLETIONS.get(completion, completion),
        conflicting=row["conflicting"],
    )


def _quiet(row: Json, now: float) -> Quiet | None:
    if row["state"] != "open" or row["deadline"] is None:
        return None
    left = max(0.0, words.seconds_of(row["deadline"]) - now)
    return Quiet(row["deadline"], row["quiet_seconds"], min(left, row["quiet_seconds"]))


def published(record: Record, title: str = "") -> Published:
    """One event of the outbox; ``title`` is its study's."""
    attributes = record.event.attributes
    version = int(attributes.get("studyversion", record.version))
    return Published(
        id=record.event.id,
        href=words.event_href(record.event.id),
        study=record.event.study,
        study_href=words.study_href(record.event.study),
        title=title,
        output=record.event.output,
        kind=_kind(str(attributes.get("type", "")), version),
        version=version,
        completion=_COMPLETIONS.get(str(attributes.get("completion", "")), ""),
        instances=_instances(attributes),
        state=record.state,
        state_tells=_DELIVERY[record.state],
        created_at=instant(record.created_at) or "",
        sent_at=instant(record.sent_at) or "",
        replayed_at=instant(record.replayed_at) or "",
        lag=_lag(record.created_at, record.sent_at, record.replayed_at),
        parked_reason=record.parked_reason or "",
    )


def _kind(event_type: str, version: int) -> str:
    """``org.dicom-fhir-node.imagingstudy.amended.v1`` -> ``amended``."""
    parts = event_type.split(".")
    return parts[-2] if len(parts) > 2 else ("completed" if version == 1 else "amended")


def _instances(attributes: Mapping[str, Any]) -> str:
    total, added = attributes.get("instances"), attributes.get("added")
    if total is None:
        return ""
    return f"{total:,}" if added in (None, total) else f"{total:,} (+{added:,})"


def _lag(created: float, sent: float | None, replayed: float | None) -> str:
    # A replay's own lag would be counted from the request; the row keeps only its last delivery
    return "" if sent is None or replayed is not None else words.duration(max(0.0, sent - created))


def publications(records: Iterable[Record], studies: Sequence[Json] = ()) -> list[Published]:
    """Newest first: the services give the outbox in its order. ``studies``: rows that have some of the titles."""
    titles = {row["uid"]: title(row) for row in studies}
    return [published(record, titles.get(record.event.study, "")) for record in reversed(list(records))]


def status(node: Json, now: float) -> dict[str, Any]:
    """The first page but its lists."""
    return {
        "node": node,
        "reasons": sorted(node["reasons"].items()),
        "tiles": tiles(node),
        "chart": chart.chart(node["receiving"], now),
        "last_at": node["receiving"]["last_at"] or "",
        "started_at": node["started_at"],
    }


class Attention(NamedTuple):
    """Something that waits for a person; ``state`` is warn or bad."""

    what: str
    why: str
    href: str
    state: str


def attention(node: Json, waiting: Sequence[Json]) -> list[Attention]:
    """What does not go on by itself: parked events, held studies, rows of quarantine, callers near the limit."""
    found = []
    parked, held_back = node["outbox"]["parked"], node["studies"]["held"]
    if parked:
        why = "Each says why, and goes again by Replay."
        found.append(Attention(words.count(parked, "parked event"), why, "/events", "bad"))
    more = node["quarantine"]["waiting"]
    if more:
        newest = f"The newest: {held.row(waiting[0]).title}." if waiting else ""
        found.append(Attention(f"{more:,} in quarantine", newest, "/quarantine", "warn"))
    if held_back:
        why = "To be completed or reopened by an operator."
        found.append(
            Attention(
                words.count(held_back, "held study", "held studies"), why, "/studies?state=held", "warn"
            )
        )
    return found


def tiles(node: Json) -> list[Tile]:
    """The figures at the top: what is going on, and what waits."""
    associations, studies = node["associations"], node["studies"]
    waiting = node["quarantine"]["waiting"]
    near = associations["active"] >= associations["limit"] * 0.9
    return [
        Tile(
            "Associations",
            str(associations["active"]),
            f"of {associations['limit']} at a time",
            "warn" if near else "busy" if associations["active"] else "ok",
            "/callers",
        ),
        Tile(
            "Studies filling",
            str(studies["open"]),
            f"{studies['held']:,} held, {studies['complete']:,} complete",
            "busy" if studies["open"] else "ok",
            "/studies",
        ),
        _outbox(node["outbox"]),
        Tile(
            "Quarantine",
            f"{waiting:,}",
            "nothing is held back" if not waiting else "to be looked at",
            "warn" if waiting else "ok",
            "/quarantine",
        ),
        _disk(node["disk"]),
    ]


def _outbox(outbox: Json) -> Tile:
    pending, parked = outbox["pending"], outbox["parked"]
    told = f"{parked:,} parked" if parked else "all is published"
    if pending:
        told = f"oldest for {words.duration(outbox['oldest_seconds'])}" + (f", {told}" if parked else "")
    sink = {"ndjson": "event log", "kafka": "Kafka"}.get(outbox["sink"], outbox["sink"])
    state = "bad" if parked else "busy" if pending else "ok"
    return Tile("Events waiting", f"{pending:,}", f"{told} · {sink}", state, "/events")


def _disk(disk: Json) -> Tile:
    free, least = disk["free"], disk["min_free"]
    if free is None:
        return Tile("Disk free", "unknown", "the disk of the objects does not answer", "bad", "")
    state = "bad" if free < least else "warn" if free < least * _DISK_NEAR else "ok"
    of = f"of {words.amount(disk['total'])}, " if disk.get("total") else ""
    told = f"{of}refuses below {words.amount(least)}" if least else f"{of}never refuses"
    return Tile("Disk free", words.amount(free), told, state, "")


class Version(NamedTuple):
    """A published version of a study. ``more`` counts the events that are not listed; without any, nobody knows how
    many ``instances`` it had."""

    number: int
    completion: str
    instances: int | None
    added: int | None
    created_at: str
    events: Sequence[Json]
    more: int
    replay: actions.Action | None


def versions(timeline: Json) -> list[Version]:
    """Newest first, as ``timeline`` gives them."""
    return [
        Version(
            one["version"],
            _COMPLETIONS.get(one["completion"], one["completion"] or ""),
            one["instances"],
            one["added"],
            one["created_at"],
            [_event(event) for event in one["events"][:_SHOWN_EVENTS]],
            len(one["events"][_SHOWN_EVENTS:]) + one.get("more", 0),
            None if one.get("more") else actions.replay([event["id"] for event in one["events"]]),
        )
        for one in timeline["versions"]
    ]


def _event(event: Json) -> Json:
    lag = event.get("lag_seconds")
    return {
        **event,
        "href": words.event_href(event["id"]),
        "state_tells": _DELIVERY[event["state"]],
        "lag": "" if lag is None else words.duration(lag),
        "replay": actions.replay([event["id"]]),
    }


class Arrivals(NamedTuple):
    """What came when: bars over the time from the first to the last instance, and a sentence."""

    width: int
    height: int
    bars: Sequence[chart.Bar]
    bar_width: float
    begin: str
    end: str
    tells: str


_ARRIVAL_WIDTH: Final = 600
_ARRIVAL_HEIGHT: Final = 48
_ARRIVAL_BAR: Final = 12  # at most: a single burst is not a wall


def arrivals(buckets: Sequence[Json]) -> Arrivals | None:
    """The buckets of ``timeline``; None when there is none."""
    if not buckets:
        return None
    times = [words.seconds_of(bucket["at"]) for bucket in buckets]
    begin = min(times)
    end = max(at + max(bucket["seconds"], 0.001) for at, bucket in zip(times, buckets, strict=True))
    totals: dict[float, int] = {}  # senders at the same time share a bar
    for at, bucket in zip(times, buckets, strict=True):
        totals[at] = totals.get(at, 0) + bucket["instances"]
    top = max(totals.values())
    width = min(max(buckets[0]["seconds"] / (end - begin) * _ARRIVAL_WIDTH * 0.9, 2), _ARRIVAL_BAR)
    bars = [
        chart.Bar(
            round((at - begin) / (end - begin) * (_ARRIVAL_WIDTH - width)),
            round(_ARRIVAL_HEIGHT * (1 - number / top), 1),
            round(_ARRIVAL_HEIGHT * number / top, 1),
            f"{words.utc(_rfc(at))}: {words.count(number, 'instance')}",
        )
        for at, number in sorted(totals.items())
    ]
    senders = list(dict.fromkeys(bucket["calling_ae"] for bucket in buckets))
    number = sum(totals.values())
    tells = (
        f"{words.count(number, 'instance')} from {', '.join(senders)} within {words.duration(end - begin)}."
    )
    return Arrivals(_ARRIVAL_WIDTH, _ARRIVAL_HEIGHT, bars, round(width, 1), _rfc(begin), _rfc(end), tells)


def _rfc(at: float) -> str:
    return instant(at) or ""


class Series(NamedTuple):
    """A line of the series table."""

    uid: str
    number: str
    description: str
    modality: str
    instances: int


def series(row: Json) -> Series:
    """One series of ``study``."""
    number = row.get("number")
    return Series(
        row["uid"],
        "" if number is None else str(number),
        row.get("description") or "",
        row["modality"],
        row["instances"],
    )


def latest_events(timeline: Json, most: int) -> list[Json]:
    """The first events of the newest version, those of whole studies first."""
    newest = timeline["versions"][:1]
    events: list[Json] = [event for one in newest for event in one["events"]]
    return sorted(events, key=lambda event: ".imagingstudy." not in event["type"])[:most]
