"""Handlers: events of shoppers, which browsers send too."""

from __future__ import annotations

import hashlib
import hmac

import msgspec

from vision_recs.errors import RequestError
from vision_recs.feedback.answers import is_answer
from vision_recs.feedback.records import LATE_S, Event, event_of, under_pseudonym
from vision_recs.serve.recording import RETRY_S
from vision_recs.serve.routing import Context
from vision_recs.serve.schemas import EventsParameters, LooseEvents, Recorded, RefusedEvent

BODY_TYPES = ("application/json", "text/plain")
"""`sendBeacon` of browsers sends text as text/plain, which needs no leave of another web site's server."""

_decoder = msgspec.json.Decoder(LooseEvents)


async def record(context: Context, parameters: EventsParameters) -> Recorded:
    """Keep events: what shoppers saw, clicked, put into the cart, bought or dismissed.

    The answer comes when the events are on the disk; it says which were refused, and why. Send the others again after a
    status of 503. A server with an events key takes it as the parameter `key`, since `sendBeacon` sends no headers; it
    opens nothing else.
    """
    state = context.state
    await _require_key(context, parameters.key)
    recorder = state.recorder
    if recorder is None:
        raise RequestError("this server keeps no events; start it with --events", status=403)
    data = await state.bodies.events(context.request, BODY_TYPES)
    try:
        values = _decoder.decode(data).events
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise RequestError(f"the body is not valid: {error}; see /openapi.json") from None
    secret = recorder.secret
    if secret is None:
        raise RequestError("the events cannot be kept now; send them again", status=503, retry_after_s=RETRY_S)
    kept, refused = _sorted(values, secret, state.now())
    state.metrics.count_events(len(refused), "refused")
    recorded = await state.event_batches.run(context.snapshot, kept) if kept else 0
    return Recorded(recorded, refused)


async def _require_key(context: Context, key: str | None) -> None:
    """Raise RequestError 401 unless the request brings the events key, or the token of the server."""
    auth, wanted = context.state.auth, context.state.options.events_key
    if wanted is None and not auth.is_required:
        return
    if auth.is_required and context.is_authenticated:
        return
    if key is not None:
        if wanted is not None and _is_equal(key, wanted):
            return
        await auth.reject(context.request.scope, "events key")
    raise RequestError("events need a key; send it as the parameter `key`", status=401)


def _is_equal(one: str, other: str) -> bool:
    return hmac.compare_digest(hashlib.sha256(one.encode()).digest(), hashlib.sha256(other.encode()).digest())


def _sorted(values: list[object], secret: bytes, now: float) -> tuple[list[Event], list[RefusedEvent]]:
    """Return the events that *values* describe at the time *now*, and those that are refused."""
    kept: list[Event] = []
    refused: list[RefusedEvent] = []
    for index, value in enumerate(values):
        try:
            kept.append(_event(value, secret, now))
        except ValueError as error:
            refused.append(RefusedEvent(index, str(error)))
    return kept, refused


def _event(value: object, secret: bytes, now: float) -> Event:
    event = event_of(value, now=now, earliest=now - LATE_S)
    if event.answer and not is_answer(secret, event.answer):
        raise ValueError(f"the answer {event.answer!r} was never given; send the id that came with the matches")
    return under_pseudonym(event, secret)
