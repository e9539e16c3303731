"""The pages over HTTP: each is its template, once as a whole and then in fragments as they change."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from node.errors import NodeError
from node.timing import rfc3339
from node.web.errors import json_error, status_of
from node.web.pages import words
from node.web.pages.live import MAX_WATCHERS, Live, LiveResponse, TooManyWatchers
from node.web.pages.loads import PAGES, Asked, Page
from node.web.pages.query import Query, parse
from node.web.pages.tree import tree
from node.web.patience import Patience
from node.web.security import from_another_site
from node.web.services import Json, WebServices

PAGE_SECONDS: Final = 10.0
MAX_MAKING: Final = 8  # pages at a time
CACHED_RESOURCES: Final = 32
# Scripts, styles and updates from this node only, nothing inline, and no form is sent anywhere
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'none'",
    )
)
_STATIC: Final = {
    "style.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_BY_NAME: Final = {page.name: page for page in PAGES}
_NAV: Final = tuple((page.name, page.path, page.in_nav) for page in PAGES if page.in_nav)

View = tuple[str, Query]


class Pages:
    """The pages over ``services``; ``endpoints`` are listed on one of them, ``wall`` is the time."""

    def __init__(
        self,
        services: WebServices,
        endpoints: Iterable[tuple[str, str, str]],
        wall: Callable[[], float] = time.time,
        max_watchers: int = MAX_WATCHERS,
    ) -> None:
        self._services = services
        self._endpoints = [_endpoint(*endpoint) for endpoint in endpoints]
        self._wall = wall
        self._templates = environment()
        self._identity: Json = {}
        self._making = Patience(MAX_MAKING)
        self._static = {name: _static_file(name, media_type) for name, media_type in _STATIC.items()}
        self._resource = lru_cache(CACHED_RESOURCES)(self._render_resource)  # what is published never changes
        self.live: Live[View] = Live(self._fragments, wall, max_watchers)

    def routes(self) -> list[Route]:
        """All but ``/`` and ``/api``, which answer programs too."""
        found = [Route(page.path, self._handler(page), methods=["GET"]) for page in PAGES if page.path != "/"]
        return [
            *found,
            Route("/live", self._live, methods=["GET"]),
            Route("/static/{name}", self._asset, methods=["GET"]),
        ]

    async def status(self, request: Request) -> Response:
        """The first page."""
        return await self._page(request, _BY_NAME["status"])

    async def endpoints(self, _request: Request) -> Response:
        """The endpoints, for people."""
        return await self._answer(
            lambda: self._html(
                "endpoints.html", self._frame("endpoints", "Endpoints"), endpoints=self._endpoints
            )
        )

    def _handler(self, page: Page) -> Callable[[Request], Any]:
        async def handle(request: Request) -> Response:
            return await self._page(request, page)

        return handle

    async def _page(self, request: Request, page: Page) -> Response:
        parameters = {**request.query_params, **{k: str(v) for k, v in request.path_params.items()}}
        return await self._answer(lambda: self._whole(page, parse(parameters)))

    async def _answer(self, make: Callable[[], str]) -> Response:
        """What ``make`` makes in a worker thread; what keeps it from it, as a page too."""
        try:
            return _html_response(await self._making.call(make, PAGE_SECONDS))
        except TimeoutError:
            told = f"the node did not gather this within {PAGE_SECONDS:g} s"
            return self.failure(HTTPException(503, told), "Look at /readyz: a disk or the index may hang.")
        except NodeError as error:
            return self.failure(HTTPException(status_of(error), str(error)), error.hint)

    def failure(self, error: HTTPException, hint: str) -> Response:
        """A page that says what is wrong and what to do."""
        frame = self._frame_of("error", "Not to be had", self._identity)
        body = self._html("error.html", frame, error=error.detail, hint=hint)
        return _html_response(body, error.status_code)

    async def _live(self, request: Request) -> Response:
        """The stream of one page's changes; a page of another site gets none of the places."""
        page = _BY_NAME.get(request.query_params.get("page", ""))
        if page is None:
            hint = f"Use ?page= with one of {', '.join(_BY_NAME)}."
            return json_error(400, "page: not a page of this node", hint)
        if from_another_site(request.headers, request.headers.get("host", "")):
            return json_error(403, "refused: a page of another site asks", "Use the node's own address.")
        query = parse(request.query_params)
        try:
            watcher = self.live.join((page.name, query))
        except TooManyWatchers as error:
            return json_error(503, str(error), error.hint, {"retry-after": "10"})
        if request.method == "HEAD":  # whether there is a place
            self.live.leave(watcher)
            return Response(media_type="text/event-stream")
        return LiveResponse(self.live, watcher)

    async def _asset(self, request: Request) -> Response:
        """Checked at each use, sent again only when it changed: an upgrade is seen at once."""
        found = self._static.get(request.path_params["name"])
        if found is None:
            raise HTTPException(404)
        body, headers = found
        known = request.headers.get("if-none-match", "")
        if headers["etag"] in [tag.strip().removeprefix("W/") for tag in known.split(",")]:
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers)

    # rendering, in worker threads

    def _whole(self, page: Page, query: Query) -> str:
        asked = Asked(self._services, query, self._wall(), self._resource)
        content = page.load(asked)
        frame = self._frame(page.name, _title(page, content), query)
        return self._html(f"{page.name}.html", frame, **content)

    def _fragments(self, view: View) -> dict[str, str]:
        page, query = _BY_NAME[view[0]], view[1]
        asked = Asked(self._services, query, self._wall(), self._resource)
        content = {**self._known(), **page.load(asked), "query": query, "live": True}
        return {name: self._templates.get_template(f"{name}.html").render(content) for name in page.fragments}

    def _render_resource(self, event_id: str) -> Markup:
        shown = tree(self._services.event_data(event_id), self._known()["masked"])
        made = self._templates.get_template("resource.html").render(
            tree=shown, href=words.event_href(event_id)
        )
        return Markup(made)

    def _html(self, template: str, frame: Json, **content: Any) -> str:
        return self._templates.get_template(template).render({**frame, **content})

    def _known(self) -> Json:
        """What every page says of the node; it does not change while the node runs."""
        if not self._identity:
            node = self._services.status()
            self._identity = {name: node[name] for name in ("ae_title", "version", "masked")}
        return self._identity

    def _frame(self, page: str, title: str, query: Query = Query()) -> Json:  # noqa: B008  immutable
        return self._frame_of(page, title, self._known(), query)

    def _frame_of(self, page: str, title: str, known: Json, query: Query = Query()) -> Json:  # noqa: B008
        live_url = ""
        if page in _BY_NAME:
            asked = {name: value for name, value in query._asdict().items() if value}
            live_url = f"/live?{urlencode({'page': page, **asked})}"
        now = self._wall()
        return {
            **(known or {"ae_title": "dicom-fhir-node", "version": "", "masked": False}),
            "page": page,
            "title": title,
            "query": query,
            "now": now,
            "clock": words.utc(rfc3339(now)),
            "nav": _NAV,
            "live": False,
            "live_url": live_url,
        }


def environment() -> Environment:
    """Templates in which everything is text unless a template made it."""
    found = Environment(
        loader=PackageLoader("node.web.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "utc": words.utc,
        "duration": words.duration,
        "amount": words.amount,
        "count_of": words.count,
    }
    return found


def _title(page: Page, content: Json) -> str:
    if page.name == "study":
        return str(content["study"].title)
    return str(content["row"].title) if page.name == "quarantined" else page.title


def _endpoint(method: str, path: str, tells: str) -> Json:
    return {"method": method, "path": path, "tells": tells, "plain": method == "GET" and "{" not in path}


def _html_response(body: str, status: int = 200) -> Response:
    return HTMLResponse(body, status, {"content-security-policy": POLICY})


def _static_file(name: str, media_type: str) -> tuple[bytes, dict[str, str]]:
    body = (files("node.web.pages") / "static" / name).read_bytes()
    tag = hashlib.sha256(body).hexdigest()[:16]
    return body, {"etag": f'"{tag}"', "cache-control": "no-cache", "content-type": media_type}
