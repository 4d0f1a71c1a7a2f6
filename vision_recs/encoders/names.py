"""The names of composite encoders: A+B@0.5 is A and B together, of which B counts half as much."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

from vision_recs.errors import UnknownEncoder

AND: Final = "+"
TIMES: Final = "@"

FullName: TypeAlias = Callable[[str], str]
"""A function that returns the full name of an encoder."""


class Part(NamedTuple):
    """An encoder of a composite one, by its *name*, and its *weight*: what it counts in a score, beside the others."""

    name: str
    weight: float = 1.0


def is_composite(name: str) -> bool:
    """Return whether *name* names parts, or a weight."""
    return AND in name or TIMES in name


def split(name: str) -> list[Part]:
    """Return the parts of *name*, one for a plain encoder; raises UnknownEncoder for an empty part or a bad weight."""
    return [_part(text, name) for text in name.split(AND)]


def joined(parts: Sequence[Part]) -> str:
    """Return the full name of *parts*: the greatest weight is 1, which is not written."""
    greatest = max(part.weight for part in parts)
    shares = [(part.name, f"{part.weight / greatest:.4g}") for part in parts]
    return AND.join(name if weight == "1" else f"{name}{TIMES}{weight}" for name, weight in shares)


def flatten(parts: Sequence[Part], full_name: FullName) -> list[Part]:
    """Return *parts* by their full names; in the place of a composite one stand its parts, which share its weight.

    Raises UnknownEncoder, also where an encoder is named twice.
    """
    found: list[Part] = []
    for part in parts:
        inner = split(full_name(part.name))
        whole = sum(each.weight for each in inner)
        found += [Part(each.name, part.weight * each.weight / whole) for each in inner]
    names = [part.name for part in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UnknownEncoder(f"the composite encoder names {twice} twice; give it a weight in place of that, as A@2+B")
    return found


def _part(text: str, whole: str) -> Part:
    name, times, number = text.rpartition(TIMES) if TIMES in text else (text, "", "1")
    try:
        weight = float(number)
    except ValueError:
        weight = 0.0
    if not name or not 0 < weight < math.inf:
        raise UnknownEncoder(
            f"{text!r} in the encoder {whole!r} is no encoder with a weight above 0; write NAME{AND}NAME{TIMES}0.5"
            if times
            else f"the encoder {whole!r} has an empty part; write NAME{AND}NAME"
        )
    return Part(name, weight)
