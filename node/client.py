"""The operator commands' side of the HTTP API."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from node.errors import NodeError

TIMEOUT_SECONDS: Final = 35.0
_FOLLOW_SECONDS: Final = 1.0


class _Nowhere(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: a node makes none, and urllib would carry the token to wherever one leads, in a GET that
    does not do what was told."""

    def redirect_request(self, *_: Any) -> None:
        """Never asks again: the redirect is an error then."""


# A proxy of the environment is for the way out of the house, not for a node on this machine or beside it.
_DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Nowhere())


class ApiError(NodeError):
    """The node's HTTP API said no, or can't be reached."""

    hint = "Is the node running? `dicom-fhir-node serve` prints its HTTP address; give it with --url."

    def __init__(self, what: str, hint: str | None = None, status: int = 0) -> None:
        super().__init__(what)
        self.http_status = status
        if hint:
            self.hint = hint  # type: ignore[misc]  # the API's own hint is the better one


class Client:
    """Speaks to one node at ``url`` (``http://host:port``, or only the latter two); ``token`` for commands off
    loopback, ``timeout`` the seconds that an answer may take."""

    def __init__(self, url: str, token: str = "", timeout: float = TIMEOUT_SECONDS) -> None:
        self._timeout = timeout
        self._url = (url if "://" in url else f"http://{url}").rstrip("/")
        self._token = token

    def _call(self, method: str, path: str, query: Mapping[str, Any] | None = None, body: Any = None) -> Any:
        words = {name: value for name, value in (query or {}).items() if value is not None}
        url = self._url + path + ("?" + urllib.parse.urlencode(words) if words else "")
        try:
            request = urllib.request.Request(url, method=method)
            if method == "POST":
                request.data = orjson.dumps(body if body is not None else {})
                request.add_header("Content-Type", "application/json")
                if self._token:
                    request.add_header("Authorization", f"Bearer {self._token}")
            with _DIRECT.open(request, timeout=self._timeout) as response:
                return orjson.loads(response.read())
        except urllib.error.HTTPError as error:
            with error:
                raise _said(error) from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise ApiError(f"{method} {url}: {reason}") from error

    def studies(self, state: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
        """Studies, last changed first."""
        found: list[dict[str, Any]] = self._call("GET", "/api/studies", {"state": state, "limit": limit})[
            "studies"
        ]
        return found

    def study(self, uid: str) -> dict[str, Any]:
        """One study with its series. Raises ``ApiError`` with ``http_status`` 404 when it is not there."""
        found: dict[str, Any] = self._call("GET", f"/api/studies/{_quoted(uid)}")
        return found

    def command(self, uid: str, name: str) -> dict[str, Any]:
        """complete, hold or reopen; returns the study after it."""
        found: dict[str, Any] = self._call("POST", f"/api/studies/{_quoted(uid)}/{name}")
        return found

    def events(
        self, study: str | None = None, after: int | None = None, limit: int = 20, with_data: bool = True
    ) -> tuple[list[Any], int]:
        """Rows of the event log, and the ``after`` that continues it."""
        query = {"study": study, "after": after, "limit": limit, "data": None if with_data else "false"}
        answer = self._call("GET", "/api/events", query)
        return answer["events"], answer["after"]

    def follow(self, study: str | None, after: int, pause: float = _FOLLOW_SECONDS) -> Iterator[Any]:
        """Rows of the event log as they are made, from ``after`` on (``events``); never ends."""
        while True:
            found, after = self.events(study, after, 100)
            yield from found
            if not found:
                time.sleep(pause)

    def replay(self, ids: Sequence[str]) -> dict[str, Any]:
        """Publish events again; ``replayed`` and ``unknown`` ids."""
        answer: dict[str, Any] = self._call("POST", "/api/events/replay", body={"ids": list(ids)})
        return answer

    def status(self) -> dict[str, Any]:
        """The node at a glance, as ``web.services.WebServices.status`` has it."""
        found: dict[str, Any] = self._call("GET", "/api/status")
        return found

    def callers(self) -> list[dict[str, Any]]:
        """Who calls, last seen first."""
        found: list[dict[str, Any]] = self._call("GET", "/api/callers")["callers"]
        return found

    def timeline(self, uid: str) -> dict[str, Any]:
        """``arrivals`` and ``versions`` of a study."""
        found: dict[str, Any] = self._call("GET", f"/api/studies/{_quoted(uid)}/timeline")
        return found

    def quarantine(self, limit: int = 100, offset: int = 0) -> list[dict[str, Any]]:
        """What is in quarantine: what waits for a decision, then the rest, each newest first."""
        found: list[dict[str, Any]] = self._call(
            "GET", "/api/quarantine", {"limit": limit, "offset": offset}
        )["quarantine"]
        return found

    def quarantined(self, number: int) -> dict[str, Any]:
        """One row of quarantine, with what is held and what is stored in its place. Raises ``ApiError`` with
        ``http_status`` 404 when it is not there."""
        found: dict[str, Any] = self._call("GET", f"/api/quarantine/{number}")
        return found

    def release(self, number: int) -> dict[str, Any]:
        """Take an object in, or publish a study held back; the row after it. Raises ``ApiError``, 409 says why not."""
        found: dict[str, Any] = self._call("POST", f"/api/quarantine/{number}/release")
        return found

    def discard(self, number: int) -> dict[str, Any]:
        """Delete a quarantined object's bytes; the row after it. Raises ``ApiError``, 409 says why not."""
        found: dict[str, Any] = self._call("POST", f"/api/quarantine/{number}/discard")
        return found


def _quoted(uid: str) -> str:
    return urllib.parse.quote(uid, safe="")


def _said(error: urllib.error.HTTPError) -> ApiError:
    """The JSON error of the API, or what else answered there."""
    place = error.headers.get("location")
    if error.code // 100 == 3 and place:
        return ApiError(
            f"HTTP {error.code}: it sends us on to {place}", "Give --url where the node is.", error.code
        )
    try:
        body = orjson.loads(error.read())
        return ApiError(str(body["error"]), str(body["hint"]), error.code)
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return ApiError(f"HTTP {error.code} {error.reason}: this is not a node's HTTP API", None, error.code)
