"""The HTTP application: the table of endpoints, and what each request passes through."""

from __future__ import annotations

from collections.abc import Callable, Collection
from html import escape
from typing import Any, Final, NamedTuple

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from node.errors import NodeError
from node.web.api import Api
from node.web.errors import json_response, on_fault, on_http_exception, on_node_error
from node.web.security import Guard
from node.web.services import WebServices


class Endpoint(NamedTuple):
    """One address: what it answers is said on ``/`` in the words given here."""

    method: str
    path: str
    handler: Callable[[Api, Request], Any]
    tells: str


ENDPOINTS: Final = (
    Endpoint("GET", "/healthz", Api.healthz, "whether the process is alive"),
    Endpoint("GET", "/readyz", Api.readyz, "whether the node can do its work, else why not"),
    Endpoint("GET", "/metrics", Api.metrics, "metrics for Prometheus"),
    Endpoint("GET", "/api/studies", Api.studies, "studies, newest first: state, limit, offset"),
    Endpoint("GET", "/api/studies/{uid}", Api.study, "one study"),
    Endpoint("GET", "/api/studies/{uid}/imagingstudy", Api.resource, "its FHIR resource: profile, version"),
    Endpoint("POST", "/api/studies/{uid}/complete", Api.complete, "publish the study now"),
    Endpoint("POST", "/api/studies/{uid}/hold", Api.hold, "keep the study from completing"),
    Endpoint("POST", "/api/studies/{uid}/reopen", Api.reopen, "wait for more of the study"),
    Endpoint("GET", "/api/events", Api.events, "events, oldest first: study, after, limit, data"),
    Endpoint(
        "GET", "/api/events/{id:path}/data", Api.event_data, "what an event tells of, as FHIR: all of it"
    ),
    Endpoint("POST", "/api/events/replay", Api.replay, 'publish events again: {"ids": [...]}'),
    Endpoint("GET", "/api/quarantine", Api.quarantine, "what was not taken, newest first: limit, offset"),
)


def create_app(
    services: WebServices, *, loopback: bool = True, token: str = "", allowed_hosts: Collection[str] = ()
) -> Starlette:
    """The application over ``services``.

    ``loopback`` tells that it is served on a loopback address only; elsewhere operator commands (POST) need
    ``token``, and wherever one is set. ``allowed_hosts`` are host names it is reached by.
    """
    api = Api(services)
    routes = [Route("/", _index, methods=["GET"])]
    routes += [Route(e.path, e.handler.__get__(api), methods=[e.method]) for e in ENDPOINTS]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Guard, loopback=loopback, token=token, allowed_hosts=allowed_hosts)],
        exception_handlers={
            HTTPException: on_http_exception,
            NodeError: on_node_error,
            Exception: on_fault,
        },
    )
    app.router.redirect_slashes = False
    return app


async def _index(request: Request) -> Response:
    """The endpoints, as a page for browsers and as JSON for everything else."""
    if "text/html" not in request.headers.get("accept", ""):
        listed = [{"method": e.method, "path": e.path, "tells": e.tells} for e in ENDPOINTS]
        return json_response({"service": "dicom-fhir-node", "endpoints": listed})
    rows = "\n".join(f"<tr><td>{e.method}<td>{_link(e)}<td>{escape(e.tells)}" for e in ENDPOINTS)
    return HTMLResponse(
        '<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>dicom-fhir-node</title>\n'
        f"<h1>dicom-fhir-node</h1>\n<table>\n{rows}\n</table>\n</html>\n"
    )


def _link(endpoint: Endpoint) -> str:
    path = escape(endpoint.path)
    return f'<a href="{path}">{path}</a>' if endpoint.method == "GET" and "{" not in path else path
