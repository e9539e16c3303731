"""Which pages there are, and what each asks of the node. The loads block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from markupsafe import Markup

from node.web.pages import actions, held, views, words
from node.web.pages.query import PAGE_ROWS, Query
from node.web.services import Json, WebServices

Resource = Callable[[str], Markup]

_FILLING: Final = 10
_PUBLISHED: Final = 10
_TITLED: Final = 50  # studies that changed last: what was published lately is nearly always of one of them
_SENDERS: Final = 10
_WAITING: Final = 5
_SERIES: Final = 200
_RESOURCES: Final = 4  # of the newest version; reports select more
_EVENTS: Final = 100

_FILTERS: Final = (
    ("", "All"),
    ("open", "Filling"),
    ("held", "Held"),
    ("complete", "Complete"),
    ("quarantined", "In quarantine"),
)


class Asked(NamedTuple):
    """``now`` is seconds since the epoch; ``resource`` renders that of an event, by its id."""

    services: WebServices
    query: Query
    now: float
    resource: Resource


class Page(NamedTuple):
    """``fragments`` are the templates that are renewed; ``in_nav`` its words in the navigation, if it is there."""

    name: str
    path: str
    title: str
    fragments: Sequence[str]
    load: Callable[[Asked], dict[str, Any]]
    in_nav: str = ""


def _status(asked: Asked) -> dict[str, Any]:
    services, now = asked.services, asked.now
    node = services.status()
    open_studies = services.studies("open", _FILLING + 1, 0)
    senders = services.callers()
    waiting = [row for row in services.quarantine(_WAITING, 0) if row["state"] == "waiting"]
    return {
        **views.status(node, now),
        "attention": views.attention(node, waiting),
        "filling": [views.study(row, now) for row in open_studies[:_FILLING]],
        "filling_more": len(open_studies) > _FILLING,
        "published": views.publications(
            services.events(None, None, _PUBLISHED, False), services.studies(None, _TITLED, 0)
        ),
        "senders": senders[:_SENDERS],
        "senders_more": len(senders) if len(senders) > _SENDERS else 0,
    }


def _studies(asked: Asked) -> dict[str, Any]:
    query = asked.query
    rows = asked.services.studies(query.state or None, PAGE_ROWS + 1, query.offset)
    return {
        "rows": [views.study(row, asked.now) for row in rows[:PAGE_ROWS]],
        "filters": [(state, told, Query(state=state).address("/studies")) for state, told in _FILTERS],
        **_paging(query, "/studies", len(rows)),
    }


def _study(asked: Asked) -> dict[str, Any]:
    services, uid = asked.services, asked.query.uid
    row, timeline = services.study(uid), services.timeline(uid)
    events = views.latest_events(timeline, _RESOURCES)
    return {
        "study": views.study(row, asked.now),
        "actions": actions.study_actions(uid, row["state"]),
        "series": [views.series(one) for one in row["series"][:_SERIES]],
        "series_more": len(row["series"][_SERIES:]),
        "arrivals": views.arrivals(timeline["arrivals"]),
        "versions": views.versions(timeline),
        "resources": [
            {"output": event["output"], "event": event["id"], "html": asked.resource(event["id"])}
            for event in events
        ],
    }


def _quarantine(asked: Asked) -> dict[str, Any]:
    rows = asked.services.quarantine(PAGE_ROWS + 1, asked.query.offset)
    return {
        "rows": [held.row(one) for one in rows[:PAGE_ROWS]],
        **_paging(asked.query, "/quarantine", len(rows)),
    }


def _quarantined(asked: Asked) -> dict[str, Any]:
    return held.page(asked.services.quarantined(asked.query.row))


def _events(asked: Asked) -> dict[str, Any]:
    study = asked.query.study
    return {
        "rows": views.publications(
            asked.services.events(study or None, None, _EVENTS, False),
            [asked.services.study(study)] if study else asked.services.studies(None, _EVENTS, 0),
        ),
        "study_href": words.study_href(study),
        "most": _EVENTS,
    }


def _callers(asked: Asked) -> dict[str, Any]:
    return {"senders": asked.services.callers(), "started_at": asked.services.status()["started_at"]}


def _paging(query: Query, path: str, found: int) -> Json:
    """Addresses of the pages beside this one, None where there is none."""
    newer = query.address(path, offset=max(0, query.offset - PAGE_ROWS)) if query.offset else None
    older = query.address(path, offset=query.offset + PAGE_ROWS) if found > PAGE_ROWS else None
    return {"newer": newer, "older": older}


PAGES: Final = (
    Page(
        "status",
        "/",
        "Status",
        (
            "status/state",
            "status/attention",
            "status/tiles",
            "status/receiving",
            "status/filling",
            "status/published",
            "status/callers",
        ),
        _status,
        "Status",
    ),
    Page("studies", "/studies", "Studies", ("studies_list",), _studies, "Studies"),
    Page(
        "study",
        "/studies/{uid}",
        "Study",
        ("study/head", "study/series", "study/timeline", "study/resources"),
        _study,
    ),
    Page("events", "/events", "Events", ("events_list",), _events, "Events"),
    Page("quarantine", "/quarantine", "Quarantine", ("quarantine_list",), _quarantine, "Quarantine"),
    Page("quarantined", "/quarantine/{row:number}", "In quarantine", ("quarantined_row",), _quarantined),
    Page("callers", "/callers", "Callers", ("started", "callers_list"), _callers, "Callers"),
)
