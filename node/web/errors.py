"""Every failure as ``{"error": …, "hint": …}``, and the HTTP status of each of the node's errors."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from node import errors


class BadRequest(errors.NodeError):
    """A parameter or body that can't be used."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.hint = hint  # type: ignore[misc]


# The first class on an error's way up the tree that stands here decides; the rest is a fault of ours: 500
STATUS: Final[dict[type[errors.NodeError], int]] = {
    BadRequest: 400,
    errors.StudyNotFound: 404,
    errors.EventNotFound: 404,
    errors.StudyConflict: 409,
    errors.QuarantineNotFound: 404,
    errors.QuarantineConflict: 409,
    errors.QueryError: 400,
    errors.ResourceInvalid: 422,
    errors.IndexUnavailable: 503,
    errors.StorageError: 503,
    errors.PublishUnavailable: 503,
}
HINTS: Final[dict[int, str]] = {
    404: "GET / lists the endpoints.",
    405: "The Allow header names the methods that this address takes.",
    413: "Send the ids in several requests.",
}
HINT: Final = "Correct the request."

# For answers that a browser shows: they load nothing, are in no frame, are not guessed at, and no other
# site's page can read or embed them.
SECURITY_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}


def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """``content`` as UTF-8 JSON."""
    return Response(orjson.dumps(content), status, headers, media_type="application/json")


def json_error(status: int, error: str, hint: str, headers: Mapping[str, str] | None = None) -> Response:
    """The one shape of every error."""
    return json_response({"error": error, "hint": hint}, status, headers)


def on_http_exception(_request: Request, error: Exception) -> Response:
    """404, 405 and what else the router refuses."""
    if not isinstance(error, HTTPException):
        raise error
    hint = HINTS.get(error.status_code, HINT)
    return json_error(error.status_code, error.detail, hint, error.headers)


def status_of(error: errors.NodeError) -> int:
    """The HTTP status of what the node raised on purpose."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def on_node_error(_request: Request, error: Exception) -> Response:
    """What the node raised on purpose."""
    if not isinstance(error, errors.NodeError):
        raise error
    status = status_of(error)
    headers = {"retry-after": "5"} if status == 503 else None
    return json_error(status, str(error) or HTTPStatus(status).phrase, error.hint, headers)


def on_fault(_request: Request, error: Exception) -> Response:
    """A fault of ours: it is in the log, by type and place; its text may quote a data set and stays there.

    This answer is made outside of every middleware, so it carries the security headers itself.
    """
    hint = "Look at the log at this time."
    return json_error(500, f"internal error ({type(error).__name__})", hint, SECURITY_HEADERS)
