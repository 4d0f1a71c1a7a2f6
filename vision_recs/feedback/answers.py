"""Answers as functions: what is random in an answer follows from what was asked, by whom, under what, in which hour.

So the same query gives the same answer until the hour ends, whoever computes it: reloading a page counts nothing
twice, caches may keep an answer, and tests are reproducible. The id of an answer carries a code that only the secret of
the event folder can make. So an event for an answer that was never given is refused without looking anything up.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import struct
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from typing import NamedTuple

ID_LENGTH = 22
"""The characters of the id of an answer, and of a pseudonym: 16 bytes in the alphabet of Base64 that URLs allow."""

_BYTES = 16
_HALF = 8
_HOUR_S = 3_600


class AnswerKey(NamedTuple):
    """Everything that decides an answer.

    *query* and *policy* are texts that differ where queries or policies do; *shopper* is a pseudonym, or empty; *hour*
    counts the hours since 1970.
    """

    query: str
    shopper: str
    policy: str
    generation: int
    hour: int


class Draw(NamedTuple):
    """The *id* of an answer, and the random *numbers* for it, each from 0 to below 1."""

    id: str
    numbers: tuple[float, float, float]


def hour_of(time: float) -> int:
    """Return the hour of *time*, which is in seconds since 1970."""
    return int(time // _HOUR_S)


def draw(secret: bytes, key: AnswerKey) -> Draw:
    """Return what is random in the answer of *key*: the same for equal arguments, unforeseeable without *secret*."""
    digest = _keyed(secret, "answer", _json(key))
    chosen = digest[:_HALF]
    first, second, third = struct.unpack(">QQQ", digest[_HALF:])
    return Draw(_text(chosen + _code(secret, chosen)), (_fraction(first), _fraction(second), _fraction(third)))


def is_answer(secret: bytes, answer: str) -> bool:
    """Whether *answer* is the id of an answer that was made with *secret*, in its one spelling."""
    if len(answer) != ID_LENGTH:
        return False
    try:
        raw = base64.urlsafe_b64decode(answer + "==")
    except (binascii.Error, ValueError):
        return False
    return _text(raw) == answer and hmac.compare_digest(raw[_HALF:], _code(secret, raw[:_HALF]))


def foreign_answer(secret: bytes, name: str) -> str:
    """Return the id of the answer that another system calls *name*: the same for equal names."""
    chosen = _keyed(secret, "foreign", name.encode())[:_HALF]
    return _text(chosen + _code(secret, chosen))


def pseudonym(secret: bytes, shopper: str) -> str:
    """Return the name under which *shopper* is logged; nobody can go back without *secret*."""
    return _text(_keyed(secret, "shopper", shopper.encode())[:_BYTES])


def sees_learned(secret: bytes, shopper: str, share: float) -> bool:
    """Whether *shopper* is among the *share*, from 0 to 1, of shoppers whose answers are learned ones; for good."""
    return share >= 1 or _fraction(_first(_keyed(secret, "arm", shopper.encode()))) < share


def sees_candidate(secret: bytes, shopper: str, share: float) -> bool:
    """Whether *shopper* is among the *share*, from 0 to 1, of shoppers who are answered from the candidate; for good.

    It says nothing of `sees_learned`.
    """
    return _fraction(_first(_keyed(secret, "candidate", shopper.encode()))) < share


def half_of(shopper: str) -> int:
    """Return 0 or 1, half of all shoppers each: what is learned from one half is judged by the other."""
    return _keyed(b"half", "half", shopper.encode())[0] & 1


def _keyed(secret: bytes, purpose: str, message: bytes) -> bytes:
    code = _begun(secret, purpose).copy()
    code.update(message)
    return code.digest()


@lru_cache(maxsize=32)
def _begun(secret: bytes, purpose: str) -> hmac.HMAC:
    """Return a code that has read what the messages of a *purpose* begin with: to begin takes most of the time."""
    return hmac.new(secret, purpose.encode() + b"\0", "sha256")


def _code(secret: bytes, chosen: bytes) -> bytes:
    return _keyed(secret, "code", chosen)[:_HALF]


def _json(key: AnswerKey) -> bytes:
    """Return what `json.dumps` makes of *key*, in a third of the time."""
    texts = ", ".join(map(encode_basestring_ascii, key[:3]))
    return f"[{texts}, {key.generation}, {key.hour}]".encode()


def _first(digest: bytes) -> int:
    return int.from_bytes(digest[:_HALF], "big")


def _fraction(bits: int) -> float:
    """Return a number from 0 to below 1 that 64 *bits* stand for: a float has 53 bits."""
    return (bits >> 11) * 2.0**-53


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
