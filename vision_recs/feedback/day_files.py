"""A compacted day as Parquet: its answers, its events, and the counts that are learned from.

Rows are ordered by time, then by id, so that equal days have equal counts, whatever came in which order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vision_recs.errors import read_error
from vision_recs.feedback.answers import half_of
from vision_recs.feedback.attribution import Attributed, Given
from vision_recs.feedback.exploration import Explored, Slate
from vision_recs.feedback.records import Answer, Event

_TEXTS = pa.list_(pa.string())
_NUMBERS = pa.list_(pa.float64())

ANSWERS = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "shopper", "arm", "asked", "policy", "model")),
        ("time", pa.float64()),
        ("generation", pa.int64()),
        *((name, _TEXTS) for name in ("shown", "ranked", "outside", "pin_items")),
        *((name, _NUMBERS) for name in ("shown_scores", "scores", "deltas", "weights")),
        ("best", pa.float64()),
        *((name, pa.list_(pa.int32())) for name in ("open", "pin_places")),
        ("share", pa.float64()),
        *((name, pa.int32()) for name in ("explored_slot", "explored_outside")),
        ("reports_shown", pa.bool_()),
        ("bot", pa.bool_()),
    ]
)
"""The columns of the answers of a day; *shown*, *shown_scores* and *best* follow from the others."""

EVENTS = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "type", "item", "answer", "shopper")),
        ("time", pa.float64()),
        ("place", pa.int32()),
        *((name, pa.float64()) for name in ("quantity", "value")),
        ("bot", pa.bool_()),
    ]
)
"""The columns of the events of a day."""

SUMS = ("impressions", "clicks", "carts", "buys", "dismissals")
KEYS = ("arm", "half", "asked", "shown", "place")

COUNTS = pa.schema(
    [
        ("arm", pa.string()),
        ("half", pa.int8()),
        ("asked", pa.string()),
        ("shown", pa.string()),
        ("place", pa.int32()),
        *((name, pa.int64()) for name in SUMS),
        *((name, pa.float64()) for name in ("value", "score", "best")),
    ]
)
"""The columns of the counts of a day: sums over the impressions of an item at a place of the answers for an item.

*score* is the sum of the scores, and *best* that of the best scores of these answers; null where these are not known.
*half* is `answers.half_of` the shopper.
"""

_SUM_OF = {"click": "clicks", "cart": "carts", "buy": "buys", "dismiss": "dismissals"}


def date_of(time: float) -> str:
    """Return the day of *time*, in UTC, as 2026-05-01."""
    return datetime.fromtimestamp(time, UTC).date().isoformat()


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Return the Parquet file *path*; raises StoreDamaged and StoreUnavailable."""
    try:
        return pq.read_table(path, columns=columns)
    except (OSError, ValueError) as error:
        raise read_error(path, error, "restore it from a backup") from error


def write_table(table: pa.Table, path: Path) -> None:
    """Write *table* to the file *path*."""
    pq.write_table(table, path, compression="zstd")


def answers_table(answers: Iterable[Answer]) -> pa.Table:
    """Return *answers* as a table."""
    return pa.Table.from_pylist([_row(answer) for answer in answers], schema=ANSWERS)


def _row(answer: Answer) -> dict[str, Any]:
    slate = answer.slate
    score_of = dict(zip((*slate.ranked, *slate.outside), answer.scores, strict=False))
    plain = ("id", "time", "shopper", "arm", "asked", "scores", "deltas", "generation", "policy", "model")
    return {
        **{name: getattr(answer, name) for name in (*plain, "shown", "reports_shown")},
        **{name: getattr(slate, name) for name in ("ranked", "outside", "weights", "open", "share")},
        "pin_places": list(slate.pins),
        "pin_items": list(slate.pins.values()),
        "explored_slot": None if answer.explored is None else answer.explored.slot,
        "explored_outside": None if answer.explored is None else answer.explored.outside,
        "shown_scores": [score_of.get(item) for item in answer.shown],
        "best": max(answer.scores, default=None),
        "bot": False,
    }


def answers_of(table: pa.Table) -> Iterator[Answer]:
    """Yield the answers in *table*."""
    for row in table.to_pylist():
        slate = Slate(
            ranked=tuple(row["ranked"]),
            outside=tuple(row["outside"]),
            weights=tuple(row["weights"]),
            pins=dict(zip(row["pin_places"], row["pin_items"], strict=True)),
            open=tuple(row["open"]),
            share=row["share"],
        )
        slot = row["explored_slot"]
        yield Answer(
            slate=slate,
            explored=None if slot is None else Explored(slot, row["explored_outside"]),
            scores=tuple(row["scores"]),
            deltas=tuple(row["deltas"]),
            **{field.name: row[field.name] for field in fields(Answer) if field.name in _SAME},
        )


_SAME = {"id", "time", "shopper", "arm", "asked", "generation", "policy", "model", "reports_shown"}


def events_table(events: Iterable[Event]) -> pa.Table:
    """Return *events* as a table."""
    return pa.Table.from_pylist([{**asdict(event), "bot": False} for event in events], schema=EVENTS)


def events_of(table: pa.Table) -> list[Event]:
    """Return the events in *table*."""
    return [Event(**row) for row in table.drop_columns(["bot"]).to_pylist()]


def given(table: pa.Table, ids: AbstractSet[str]) -> dict[str, Given]:
    """Return those answers of *table* that have one of *ids*, by id."""
    some = table.filter(pc.is_in(table["id"], value_set=pa.array(sorted(ids), pa.string())))
    rows = some.select(["id", "time", "shopper", "shown"]).to_pylist()
    return {row["id"]: Given(row["id"], row["time"], row["shopper"], row["shown"]) for row in rows}


def with_bots(table: pa.Table, found: pa.BooleanArray) -> pa.Table:
    """Return *table* with the column "bot" replaced by *found*."""
    return table.set_column(table.schema.get_field_index("bot"), ANSWERS.field("bot"), found)


def sorted_by_time(table: pa.Table) -> pa.Table:
    """Return *table* ordered by time, then by id."""
    return table.sort_by([("time", "ascending"), ("id", "ascending")])


def count(answers: pa.Table, attributed: Iterable[Attributed]) -> pa.Table:
    """Return the counts of *answers*, of which *attributed* are the events; those of programs are left out."""
    people = sorted_by_time(answers.filter(pc.invert(answers["bot"])))
    done = _done(attributed)
    impressions = _impressions(people, done)
    found = impressions.group_by(KEYS, use_threads=False).aggregate(
        [(name, "sum") for name in (*SUMS, "value", "score", "best")]
    )
    found = found.rename_columns([name.removesuffix("_sum") for name in found.column_names])
    return found.select(COUNTS.names).cast(COUNTS).sort_by([(name, "ascending") for name in KEYS])


def _done(attributed: Iterable[Attributed]) -> dict[tuple[str, int], dict[str, float]]:
    """Return what was done at each place of each answer: 1 for each kind of event, and the value of what was bought."""
    done: dict[tuple[str, int], dict[str, float]] = {}
    for event, answer, place in attributed:
        own = done.setdefault((answer, place), {})
        if event.type in _SUM_OF:
            own[_SUM_OF[event.type]] = 1
        if event.type == "buy":
            own["value"] = own.get("value", 0.0) + event.value
    return done


def _impressions(answers: pa.Table, done: dict[tuple[str, int], dict[str, float]]) -> pa.Table:
    """Return a row for each item that an answer showed; of answers that report what was seen, for each seen one."""
    owner = pc.list_parent_indices(answers["shown"]).combine_chunks()
    place = _places(answers["shown"])
    ids = answers["id"].combine_chunks()
    table = pa.table(
        {
            "arm": answers["arm"].combine_chunks().take(owner),
            "half": _halves(answers).take(owner),
            "asked": answers["asked"].combine_chunks().take(owner),
            "shown": pc.list_flatten(answers["shown"]).combine_chunks(),
            "place": place,
            "score": pc.list_flatten(answers["shown_scores"]).combine_chunks(),
            "best": answers["best"].combine_chunks().take(owner),
        }
    )
    row_of = _rows_of(ids, owner, done)
    sums: dict[str, list[float]] = {name: [0] * len(table) for name in (*SUMS, "value")}
    sums["impressions"] = pc.cast(pc.invert(answers["reports_shown"]).combine_chunks().take(owner), "int64").to_pylist()
    for (answer, at), own in done.items():
        row = row_of.get(answer)
        if row is not None:
            sums["impressions"][row + at - 1] = 1
            for name, each in own.items():
                sums[name][row + at - 1] = each
    for name, column in sums.items():
        table = table.append_column(name, pa.array(column, COUNTS.field(name).type))
    is_known = pc.not_equal(table["shown"], "")
    return table.filter(pc.and_(is_known, pc.greater(table["impressions"], 0)))


def _places(shown: pa.ChunkedArray) -> pa.Array:
    lengths = pc.list_value_length(shown).to_pylist()
    return pa.array([place for length in lengths for place in range(1, length + 1)], pa.int32())


def _rows_of(ids: pa.Array, owner: pa.Array, done: dict[tuple[str, int], dict[str, float]]) -> dict[str, int]:
    """Return the first row of each answer in *done*; *owner* is ascending."""
    wanted = {answer for answer, _ in done}
    numbers = pc.index_in(pa.array(sorted(wanted), pa.string()), value_set=ids).to_pylist()
    starts = owner.to_numpy(zero_copy_only=False).searchsorted(range(len(ids)))
    return {
        answer: int(starts[number])
        for answer, number in zip(sorted(wanted), numbers, strict=True)
        if number is not None
    }


def _halves(answers: pa.Table) -> pa.Array:
    """Return the half of each answer: that of its shopper, or of its id where there is none."""
    who = pc.if_else(pc.equal(answers["shopper"], ""), answers["id"], answers["shopper"]).combine_chunks()
    distinct = who.dictionary_encode()
    halves = pa.array([half_of(each) for each in distinct.dictionary.to_pylist()], pa.int8())
    return halves.take(distinct.indices)
