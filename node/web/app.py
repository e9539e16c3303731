"""The HTTP application: the table of endpoints, and what each request passes through."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final, NamedTuple

from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from node.errors import NodeError
from node.web.api import Api
from node.web.errors import HINT, HINTS, json_response, on_fault, on_http_exception, on_node_error
from node.web.pages.routes import Pages
from node.web.security import Guard
from node.web.services import WebServices


class _Number(Convertor[int]):
    """A number of a row. Of ``int``'s any number of digits Python refuses those beyond 4,300: a fault, no 404."""

    regex = "[0-9]{1,18}"

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


register_url_convertor("number", _Number())


class Endpoint(NamedTuple):
    """One address: what it answers is said on ``/api`` in the words given here."""

    method: str
    path: str
    handler: Callable[[Api, Request], Any]
    tells: str


ENDPOINTS: Final = (
    Endpoint("GET", "/healthz", Api.healthz, "whether the process is alive"),
    Endpoint("GET", "/readyz", Api.readyz, "whether the node can do its work, else why not"),
    Endpoint("GET", "/metrics", Api.metrics, "metrics for Prometheus"),
    Endpoint("GET", "/api/status", Api.status, "the node at a glance: receiving, studies, outbox, disk"),
    Endpoint(
        "GET", "/api/callers", Api.callers, "who calls, last seen first: objects, failures, late arrivals"
    ),
    Endpoint("GET", "/api/studies", Api.studies, "studies, newest first: state, limit, offset"),
    Endpoint("GET", "/api/studies/{uid}", Api.study, "one study"),
    Endpoint("GET", "/api/studies/{uid}/imagingstudy", Api.resource, "its FHIR resource: profile, version"),
    Endpoint("GET", "/api/studies/{uid}/timeline", Api.timeline, "what came when, and its versions"),
    Endpoint("POST", "/api/studies/{uid}/complete", Api.complete, "publish the study now"),
    Endpoint("POST", "/api/studies/{uid}/hold", Api.hold, "keep the study from completing"),
    Endpoint("POST", "/api/studies/{uid}/reopen", Api.reopen, "wait for more of the study"),
    Endpoint("GET", "/api/events", Api.events, "events, oldest first: study, after, limit, data"),
    Endpoint(
        "GET", "/api/events/{id:path}/data", Api.event_data, "what an event tells of, as FHIR: all of it"
    ),
    Endpoint("POST", "/api/events/replay", Api.replay, 'publish events again: {"ids": [...]}'),
    Endpoint("GET", "/api/quarantine", Api.quarantine, "what was not taken, what waits first: limit, offset"),
    Endpoint(
        "GET", "/api/quarantine/{id:number}", Api.quarantined, "one of them, and what is stored in its place"
    ),
    Endpoint("POST", "/api/quarantine/{id:number}/release", Api.release, "take it in, or publish the study"),
    Endpoint("POST", "/api/quarantine/{id:number}/discard", Api.discard, "delete an object's bytes for good"),
)


def create_app(
    services: WebServices, *, loopback: bool = True, token: str = "", allowed_hosts: Collection[str] = ()
) -> Starlette:
    """The application over ``services``.

    ``loopback`` tells that it is served on a loopback address only; elsewhere operator commands (POST) need
    ``token``, and wherever one is set. ``allowed_hosts`` are host names it is reached by.
    """
    api = Api(services)
    pages = Pages(services, [(e.method, e.path, e.tells) for e in ENDPOINTS])
    routes = [*_answers(pages), *pages.routes()]
    routes += [Route(e.path, e.handler.__get__(api), methods=[e.method]) for e in ENDPOINTS]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Guard, loopback=loopback, token=token, allowed_hosts=allowed_hosts)],
        exception_handlers={
            HTTPException: _on_http_exception(pages),
            NodeError: on_node_error,
            Exception: on_fault,
        },
    )
    app.router.redirect_slashes = False
    app.state.live = pages.live
    return app


def _on_http_exception(pages: Pages) -> Callable[[Request, Exception], Response]:
    """Who asks for a page that is not there gets one that says so."""

    def answer(request: Request, error: Exception) -> Response:
        path, accepted = request.url.path, request.headers.get("accept", "")
        if isinstance(error, HTTPException) and "text/html" in accepted and not path.startswith("/api/"):
            return pages.failure(error, HINTS.get(error.status_code, HINT))
        return on_http_exception(request, error)

    return answer


def _answers(pages: Pages) -> list[Route]:
    """``/`` and ``/api``: pages for browsers; the endpoints, as JSON, for everything else."""
    listed = {
        "service": "dicom-fhir-node",
        "endpoints": [{"method": e.method, "path": e.path, "tells": e.tells} for e in ENDPOINTS],
    }

    def answer(page: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def either(request: Request) -> Response:
            html = "text/html" in request.headers.get("accept", "")
            found = await page(request) if html else json_response(listed)
            found.headers["vary"] = "accept"
            return found

        return either

    return [
        Route("/", answer(pages.status), methods=["GET"]),
        Route("/api", answer(pages.endpoints), methods=["GET"]),
    ]
