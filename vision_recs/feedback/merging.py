"""Answers of a shop's own log that grow: a later import tells of items that an earlier one did not know."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from vision_recs.feedback.day_files import answers_of, date_of
from vision_recs.feedback.records import Answer


class Merged(NamedTuple):
    """New *answers*, and *known* ones without those among them that have *grown*.

    *left_out* counts the items whose place another item has.
    """

    answers: list[Answer]
    known: pa.Table
    grown: int
    left_out: int


def merge_imported(known: pa.Table, answers: Iterable[Answer]) -> Merged:
    """Return *answers*, where each imported one shows what all versions of it do, those in the table *known* too."""
    others: list[Answer] = []
    told: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        (told[answer.id] if is_imported(answer) else others).append(answer)
    is_told = pc.is_in(known["id"], value_set=pa.array(sorted(told), pa.string()))
    before = {answer.id: answer for answer in answers_of(known.filter(is_told))}
    left_out = 0
    grown: list[Answer] = []
    for name, versions in told.items():
        merged = before.get(name, versions[0])
        for version in versions:
            merged, count = _merged(merged, version)
            left_out += count
        if name not in before:
            others.append(merged)
        elif merged != before[name]:
            grown.append(merged)
    has_grown = pc.is_in(known["id"], value_set=pa.array([answer.id for answer in grown], pa.string()))
    return Merged([*others, *grown], known.filter(pc.invert(has_grown)), len(grown), left_out)


def is_imported(answer: Answer) -> bool:
    """Whether *answer* comes from a shop's log, which knows no scores."""
    return not answer.scores and not answer.generation


def _merged(one: Answer, other: Answer) -> tuple[Answer, int]:
    """Return *one* with what *other* shows beyond it, and how many items have a place that is taken."""
    if one == other:
        return one, 0
    items = {place: item for place, item in enumerate(one.slate.ranked, 1) if item}
    left_out = 0
    for place, item in enumerate(other.slate.ranked, 1):
        if item and item not in items.values():
            left_out += items.setdefault(place, item) != item
    ranked = tuple(items.get(place, "") for place in range(1, max(items, default=0) + 1))
    merged = replace(
        one,
        time=min(one.time, other.time) if date_of(one.time) == date_of(other.time) else one.time,
        slate=replace(one.slate, ranked=ranked),
        shopper=one.shopper or other.shopper,
        asked=one.asked or other.asked,
    )
    return merged, left_out
