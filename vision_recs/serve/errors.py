"""Errors over HTTP: problem details (RFC 9457, `application/problem+json`), and the status of each error."""

from __future__ import annotations

import logging
import re
from typing import Any, Final

import msgspec
from starlette.responses import Response

from vision_recs import errors
from vision_recs.serve.schemas import Problem

log = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"

_STATUS: Final = {
    errors.UnknownItem: 404,
    errors.FilterError: 400,
    errors.PolicyError: 400,
    errors.HistoryError: 400,
    errors.ImageError: 422,
    errors.ZeroVector: 422,
    errors.NoTextTower: 422,
    errors.EncoderError: 503,
    errors.DecoderUnavailable: 503,
    errors.StoreUnavailable: 503,
    errors.EngineError: 503,
}
_STATUS_OF_REASON: Final = {
    **dict.fromkeys(("missing", "changed", "outside", "http-404", "http-410"), 404),
    "unsupported": 415,
    "too-large": 413,
}
STATUSES: Final = {
    400: "The request is malformed, or a value in it is not valid.",
    401: "The token is missing or wrong.",
    403: "The server has no token, so that nobody may change anything, or it keeps no events.",
    404: "The item, image or path does not exist.",
    405: "The path does not support the method.",
    408: "The body took too long to arrive.",
    413: "The body, or an image in it, is too large.",
    415: "The media type of the body is not supported.",
    421: "The server does not answer for the host of the request.",
    422: "The image, URL or text cannot be used, or the changes leave no item.",
    429: "Too many bodies of this client are arriving, or too many requests bring a wrong token.",
    500: "The server failed.",
    503: "Too many requests are waiting, or the encoder, the decoder or the store is not available now.",
}
"""What each error status means, for the OpenAPI document."""

_FIELDS: Final = ("item", "nearest", "reason", "expression", "position", "key", "retry_after_s")
"""The fields of errors that clients see: never a path of this machine."""

_encode = msgspec.json.Encoder().encode


def status_of(error: errors.VisionRecsError) -> int:
    """Return the HTTP status for *error*."""
    if isinstance(error, errors.RequestError):
        return error.status
    if isinstance(error, errors.ImageError) and error.reason in _STATUS_OF_REASON:
        return _STATUS_OF_REASON[error.reason]
    return next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 500)


def problem_response(error: Exception, request_id: str) -> Response:
    """Return the response for *error*.

    An error that is the fault of the server, not of the request, is logged, and the client learns the request id only:
    its message may hold paths of this machine.
    """
    if isinstance(error, errors.RequestError):
        status, detail = error.status, str(error)
    else:
        status = status_of(error) if isinstance(error, errors.VisionRecsError) else 500
        detail = _detail(error) if status < 500 else _log_failure(error, status, request_id)  # noqa: PLR2004
    name = type(error).__name__ if isinstance(error, errors.VisionRecsError) else "VisionRecsError"
    headers = {"cache-control": "no-store"}
    retry_after_s = getattr(error, "retry_after_s", None)
    if retry_after_s is not None:
        headers["retry-after"] = str(retry_after_s)
    if status == 401:  # noqa: PLR2004
        headers["www-authenticate"] = "Bearer"
    problem = Problem(
        type=f"urn:visrec:error:{name}",
        title=_title(name),
        status=status,
        detail=detail,
        instance=f"urn:visrec:request:{request_id}",
        request_id=request_id,
        **_fields(error),
    )
    return Response(_encode(problem), status, headers, media_type=MEDIA_TYPE)


def _detail(error: Exception) -> str:
    """Return the message of *error* for clients."""
    if isinstance(error, errors.UnknownItem) and not error.nearest:  # why it was skipped may quote a file
        return f"the item {error.item!r} is not in the store"
    return str(error)


def _log_failure(error: Exception, status: int, request_id: str) -> str:
    """Log *error*, with a traceback if nobody foresaw it, and return the message for the client."""
    is_foreseen = isinstance(error, errors.VisionRecsError)
    log.error(
        "%s" if is_foreseen else "a request failed: %r",
        error,
        exc_info=None if is_foreseen else error,
        extra={"event": "failed", "request_id": request_id},
    )
    failed = "the server failed" if status == 500 else "the encoder, the decoder or the store is not available now"  # noqa: PLR2004
    return f"{failed}; the log of the server says why, under the request id {request_id}"


def _title(name: str) -> str:
    """Return the name of a class as words: UnknownItem as "Unknown item"."""
    words = re.findall("[A-Z][a-z]*", name)
    return " ".join(words).capitalize()


def _fields(error: Exception) -> dict[str, Any]:
    return {name: value for name in _FIELDS if (value := getattr(error, name, None)) is not None}
