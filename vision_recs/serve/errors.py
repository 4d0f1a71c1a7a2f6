"""Errors as JSON, all in one shape, and the status that belongs to each."""

from __future__ import annotations

import logging
import math
from typing import Final

import msgspec
from starlette.responses import Response

from vision_recs import errors
from vision_recs.serve.schemas import Problem, ProblemAnswer

log = logging.getLogger("visrec.serve")

_STATUS: Final = {
    errors.UnknownItem: 404,
    errors.FilterError: 400,
    errors.PolicyError: 400,
    errors.HistoryError: 400,
    errors.ImageError: 422,
    errors.ZeroVector: 422,
    errors.NoTextTower: 422,
    errors.EncoderError: 503,
}
_STATUS_OF_REASON: Final = {"missing": 404, "unsupported": 415, "too-large": 413}
STATUSES: Final = {
    400: "the request cannot be understood, or says what cannot be",
    401: "the token is missing or wrong",
    404: "there is no such item or image",
    405: "the method is not one of this address",
    406: "there is nothing in a form that is accepted",
    408: "the body took too long to arrive",
    413: "the body, or an image in it, is too large",
    415: "the body is not of a type that is read here",
    422: "the image or the text cannot be used",
    500: "the server failed",
    503: "too many requests wait, or the encoder is not to be had",
}
"""What each status of an error means, for the OpenAPI document."""

_encode = msgspec.json.Encoder().encode


def status_of(error: errors.VisionRecsError) -> int:
    """Return the status of HTTP for *error*."""
    if isinstance(error, errors.RequestError):
        return error.status
    if isinstance(error, errors.ImageError) and error.reason in _STATUS_OF_REASON:
        return _STATUS_OF_REASON[error.reason]
    return next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 500)


def response_of(error: Exception, request_id: str) -> Response:
    """Return what is answered for *error*; one that is nobody's request is logged, and its text kept from strangers."""
    if not isinstance(error, errors.VisionRecsError):
        log.error("a request failed", exc_info=error, extra={"event": "failed", "request_id": request_id})
        error = errors.RequestError(
            f"the server failed; its log has more under the request id {request_id}", status=500
        )
    status = status_of(error)
    if status >= 500 and not isinstance(error, errors.RequestError):  # noqa: PLR2004 - what is the server's fault
        log.error("%s", error, extra={"event": "failed", "request_id": request_id})
    headers = {"cache-control": "no-store"}
    if isinstance(error, errors.RequestError) and error.retry_after_s is not None:
        headers["retry-after"] = str(error.retry_after_s)
    if status == 401:  # noqa: PLR2004
        headers["www-authenticate"] = "Bearer"
    tree = [kind.__name__ for kind in type(error).__mro__ if issubclass(kind, errors.VisionRecsError)]
    problem = Problem(tree[0], tree, str(error), status, request_id, _details(error))
    return Response(_encode(ProblemAnswer(problem)), status, headers, media_type="application/json")


def _details(error: errors.VisionRecsError) -> dict[str, str | int | float | bool | list[str] | None]:
    """Return the fields of *error* as JSON has them."""
    details: dict[str, str | int | float | bool | list[str] | None] = {}
    for name, value in vars(error).items():
        if isinstance(value, tuple):
            details[name] = [str(each) for each in value]
        elif (
            value is None or isinstance(value, str | int | bool) or (isinstance(value, float) and math.isfinite(value))
        ):
            details[name] = value
    return {name: value for name, value in details.items() if name != "status" and value is not None}
