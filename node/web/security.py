"""Who may ask: against DNS rebinding, posts from other sites' pages, and operators without the token."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Collection
from email.utils import formatdate
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from node.web.errors import SECURITY_HEADERS, json_error

_READS: Final = ("GET", "HEAD")


class Guard:
    """ASGI middleware: checks each request, adds Date and the security headers to each answer.

    ``loopback`` tells that only this machine can connect. A browser on this machine can too, on behalf of any
    page: a foreign name in Host is DNS rebinding, a foreign Origin a cross-site post. Elsewhere ``token`` is
    what operator commands are refused without.
    """

    def __init__(self, app: ASGIApp, loopback: bool, token: str, allowed_hosts: Collection[str]) -> None:
        self._app = app
        self._loopback = loopback
        self._token = token.encode()
        self._allowed_hosts = frozenset(name.lower().rstrip(".") for name in allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("date", formatdate(usegmt=True))
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self.refusal(scope["method"], Headers(scope=scope))
        await (refusal or self._app)(scope, receive, send_with_headers)

    def refusal(self, method: str, headers: Headers) -> Response | None:
        """The answer to a request that goes no further."""
        host = headers.get("host", "")
        if not self._host_allowed(_host_name(host)):
            return json_error(
                403,
                "this host name is not this node's",
                "Use its address, or add the name to http.allowed_hosts.",
            )
        if method in _READS:
            return None
        if from_another_site(headers, host):
            return json_error(403, "refused: a page of another site sent this", "Use the node's own address.")
        return self._unauthorised(headers.get("authorization", ""))

    def _host_allowed(self, name: str) -> bool:
        if not name:
            return False
        if name == "localhost" or name in self._allowed_hosts or _is_address(name):
            return True  # rebinding needs a name: a page can't make a browser write an address of ours
        return not self._loopback and not self._allowed_hosts

    def _unauthorised(self, authorization: str) -> Response | None:
        if self._loopback and not self._token:
            return None
        scheme, _, given = authorization.partition(" ")
        if (
            self._token
            and scheme.lower() == "bearer"
            and hmac.compare_digest(given.strip().encode(), self._token)
        ):
            return None
        hint = (
            "Send the header Authorization: Bearer TOKEN with the value of http.token; `dicom-fhir-node` takes it from "
            "--config FILE or NODE_HTTP__TOKEN."
        )
        if not self._token:
            hint = "Set http.token: operator commands need it when http.host is not loopback."
        return json_error(401, "operator commands need the token", hint, {"www-authenticate": "Bearer"})


def _host_name(host: str) -> str:
    """Host without its port, lower case; empty when it is not a host."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def from_another_site(headers: Headers, host: str) -> bool:
    """Whether a page of another site made a browser send this to ``host``."""
    # Browsers send Origin with every cross-origin post, and Sec-Fetch-Site beside it; other clients neither
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return True
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2].lower() != host.lower()
