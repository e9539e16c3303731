"""The endpoints: one handler each, thin over ``WebServices``; what blocks runs in a worker thread."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar, get_args

import anyio
import orjson
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from node.errors import EventNotFound
from node.health import SILENT
from node.index.outbox import Record
from node.model import State
from node.web.errors import BadRequest, json_error, json_response
from node.web.patience import Patience
from node.web.services import Json, WebServices, instant

MAX_BODY: Final = 256 * 1024
MAX_IDS: Final = 1000
MAX_ROWS: Final = 1000
MAX_EVENTS: Final = 100  # with data: each may be as long as events.max_event_bytes
BODY_SECONDS: Final = 10.0
READY_SECONDS: Final = 5.0
METRICS_SECONDS: Final = 10.0  # what Prometheus waits for, if it is told nothing else
LONG_SECONDS: Final = 60.0
FHIR_JSON: Final = "application/fhir+json"
STATES: Final = get_args(State)

T = TypeVar("T")
_UID: Final = re.compile(r"[0-9]+(\.[0-9]+)*")  # PS3.5 9.1; leading zeros are seen in the wild
_PROFILE: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Api:
    """Handlers of all endpoints; holds nothing but the callables."""

    def __init__(self, services: WebServices) -> None:
        self._services = services
        self._probing = Patience()
        self._scraping = Patience()
        self._reading = Patience()

    async def healthz(self, _request: Request) -> Response:
        """The process answers."""
        return json_response({"status": "alive"})

    async def readyz(self, _request: Request) -> Response:
        """A probe that hangs (a dead disk) is an answer too: it must not make the question hang."""
        try:
            reasons = dict(await self._probing.call(self._services.reasons, READY_SECONDS))
        except TimeoutError:
            reasons = {SILENT: f"no answer within {READY_SECONDS:g} s"}
        if not reasons:
            return json_response({"status": "ready"})
        error = f"not ready: {', '.join(reasons)}"
        hint = "docs/first-hour.md says what to do for each reason; until then the node goes on with what it can."
        return json_response({"error": error, "hint": hint, "reasons": reasons}, 503)

    async def metrics(self, request: Request) -> Response:
        accepted = request.headers.get("accept", "")
        try:
            body, content_type = await self._scraping.call(
                lambda: self._services.metrics(accepted), METRICS_SECONDS
            )
        except TimeoutError:
            hint = "Look at /readyz: a disk or the index may hang."
            return json_error(503, f"no metrics within {METRICS_SECONDS:g} s", hint)
        return Response(body, headers={"content-type": content_type})

    async def studies(self, request: Request) -> Response:
        state = request.query_params.get("state")
        if state is not None and state not in STATES:
            raise BadRequest("state: not a state of a study", f"Use one of {', '.join(STATES)}.")
        limit = _number(request, "limit", 100, 1, MAX_ROWS)
        offset = _number(request, "offset", 0, 0)
        rows = await run_in_threadpool(self._services.studies, state, limit + 1, offset)
        return json_response({"studies": rows[:limit], "next": _next(rows, limit, offset)})

    async def study(self, request: Request) -> Response:
        return json_response(await run_in_threadpool(self._services.study, _uid(request)))

    async def resource(self, request: Request) -> Response:
        profile = request.query_params.get("profile", "r5")
        if not _PROFILE.fullmatch(profile):
            raise BadRequest("profile: not a name of a profile", "Use ?profile=r5.")
        version = _number(request, "version", 0, 1) or None
        uid = _uid(request)
        return await self._whole(lambda: self._services.resource(uid, profile, version))

    async def _whole(self, read: Callable[[], bytes]) -> Response:
        return await self._bounded(read, lambda body: Response(body, media_type=FHIR_JSON))

    async def _bounded(self, read: Callable[[], T], answer: Callable[[T], Response]) -> Response:
        """What has no bound of its own, or reads whole files: a few at a time, and no thread of the others'."""
        try:
            found = await self._reading.call(read, LONG_SECONDS)
        except TimeoutError:
            hint = "Others are being answered, or it is very large: ask again."
            return json_error(503, f"not read within {LONG_SECONDS:g} s", hint, {"retry-after": "5"})
        return answer(found)

    async def complete(self, request: Request) -> Response:
        return await self._command(request, self._services.complete)

    async def hold(self, request: Request) -> Response:
        return await self._command(request, self._services.hold)

    async def reopen(self, request: Request) -> Response:
        return await self._command(request, self._services.reopen)

    async def _command(self, request: Request, command: Callable[[str], Json]) -> Response:
        return json_response(await run_in_threadpool(command, _uid(request)))

    async def events(self, request: Request) -> Response:
        study = request.query_params.get("study")
        if study is not None:
            study = checked_uid(study)
        with_data = request.query_params.get("data", "true").lower() not in ("0", "false", "no")
        after = _number(request, "after", -1, 0)
        limit = _number(request, "limit", 20, 1, MAX_EVENTS if with_data else MAX_ROWS)
        rows = await run_in_threadpool(
            self._services.events, study, None if after < 0 else after, limit, with_data
        )
        last = rows[-1].event.seq if rows else max(after, 0)
        return json_response({"events": [_event(row) for row in rows], "after": last})

    async def event_data(self, request: Request) -> Response:
        name = request.path_params["id"]
        return await self._whole(lambda: self._services.event_data(name))

    async def replay(self, request: Request) -> Response:
        ids = _ids(await _body(request))
        found = set(await run_in_threadpool(self._services.replay, ids))
        unknown = [name for name in ids if name not in found]
        if not found:
            raise EventNotFound("no event has one of these ids")
        return json_response({"replayed": [name for name in ids if name in found], "unknown": unknown}, 202)

    async def quarantine(self, request: Request) -> Response:
        limit = _number(request, "limit", 100, 1, MAX_ROWS)
        offset = _number(request, "offset", 0, 0)
        rows = await run_in_threadpool(self._services.quarantine, limit + 1, offset)
        return json_response({"quarantine": rows[:limit], "next": _next(rows, limit, offset)})

    async def quarantined(self, request: Request) -> Response:
        number = request.path_params["id"]
        return await self._bounded(lambda: self._services.quarantined(number), json_response)

    async def release(self, request: Request) -> Response:
        return await self._on_quarantine(request, self._services.release)

    async def discard(self, request: Request) -> Response:
        return await self._on_quarantine(request, self._services.discard)

    async def _on_quarantine(self, request: Request, command: Callable[[int], Json]) -> Response:
        return json_response(await run_in_threadpool(command, request.path_params["id"]))

    async def status(self, _request: Request) -> Response:
        return json_response(await run_in_threadpool(self._services.status))

    async def callers(self, _request: Request) -> Response:
        return json_response({"callers": await run_in_threadpool(self._services.callers)})

    async def timeline(self, request: Request) -> Response:
        return json_response(await run_in_threadpool(self._services.timeline, _uid(request)))


def _next(rows: Sequence[Any], limit: int, offset: int) -> int | None:
    """The offset of the next page, None on the last."""
    return offset + limit if len(rows) > limit else None


def _uid(request: Request) -> str:
    return checked_uid(request.path_params["uid"])


def checked_uid(text: str) -> str:
    if len(text) > 64 or not _UID.fullmatch(text):
        raise BadRequest("not a Study Instance UID", "A UID has digits and dots, 64 characters at most.")
    return text


def _number(request: Request, name: str, default: int, least: int, most: int = 2**53) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,16}", text) or not least <= int(text) <= most:
        raise BadRequest(f"{name}: not a number that can be used", f"Give a number from {least} to {most}.")
    return int(text)


async def _body(request: Request) -> bytes:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "the body must be application/json")
    body = bytearray()
    with anyio.move_on_after(BODY_SECONDS) as waiting:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                raise HTTPException(413, f"the body is longer than {MAX_BODY} bytes")
    if waiting.cancelled_caught:
        raise HTTPException(408, f"the body did not come within {BODY_SECONDS:g} s", {"connection": "close"})
    return bytes(body)


def _ids(body: bytes) -> list[str]:
    hint = f'Send {{"ids": ["…"]}} with 1 to {MAX_IDS} event ids; `dicom-fhir-node events` lists them.'
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}", hint) from error
    ids = given.get("ids") if isinstance(given, dict) else None
    if not isinstance(ids, list) or not 1 <= len(ids) <= MAX_IDS or not all(isinstance(i, str) for i in ids):
        raise BadRequest("ids: not a list of event ids", hint)
    return list(dict.fromkeys(ids))


def _event(row: Record) -> dict[str, Any]:
    """A row of the outbox with its CloudEvent in structured mode (CloudEvents JSON format 1.0); ``data`` is
    the very bytes that are published."""
    cloud_event: dict[str, Any] = dict(row.event.attributes)
    if row.event.data:
        cloud_event["data"] = orjson.Fragment(row.event.data)
    return {
        "seq": row.event.seq,
        "state": row.state,
        "topic": row.event.topic,
        "created_at": instant(row.created_at),
        "sent_at": instant(row.sent_at),
        "replayed_at": instant(row.replayed_at),
        "parked_reason": row.parked_reason,
        "event": cloud_event,
    }
