"""How long a filter takes over a million items: from the columns of a store, against SQLite over its items.

python benchmarks/filters.py [--items 1000000]        (in an environment where visrec is installed; some minutes)

The items have ten attributes, from a flag to a title that no two share. Each filter is asked at four selectivities. A
round asks the columns, opened anew (cold, but in the page cache), the same again (warm), and SQLite over the JSON of
the items, in turn; medians are compared, and both have to select the same. Prints the table and writes filters.json
beside this file.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import NamedTuple, TypeVar

import numpy as np
from machine import provenance

from vision_recs.filters import Filter
from vision_recs.store.attributes.bitmaps import FilterBitmaps
from vision_recs.store.attributes.format import AttributeColumns
from vision_recs.store.attributes.write import write_attribute_columns
from vision_recs.store.items import Items
from vision_recs.store.layers import SCHEMA

T = TypeVar("T")

ROUNDS = 5
SHARES = (1.0, 0.1, 0.01, 0.0001)
CATEGORIES = [f"category {number:02}" for number in range(60)]
COLORS = ["red", "green", "blue", "white", "black", "grey", "brown", "yellow", "pink", "navy", None]
WORDS = [
    "striped",
    "cotton",
    "classic",
    "handmade",
    "small",
    "large",
    "oak",
    "steel",
    "summer",
    "linen",
    "round",
    "soft",
]


class Question(NamedTuple):
    """A filter, and what it is in SQL, by hand."""

    text: str
    sql: str


def main() -> None:
    """Write the items and their columns, ask, and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, default=1_000_000)
    count: int = parser.parse_args().items
    with tempfile.TemporaryDirectory() as folder:
        items, columns = Path(folder) / "items.sqlite", Path(folder) / "columns.bin"
        write_items(items, count)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        _, seconds = timed(lambda: write_attribute_columns(items, columns, items_digest=""))
        result = {
            "items": count,
            "items_megabytes": round(items.stat().st_size / 1e6, 1),
            "columns_megabytes": round(columns.stat().st_size / 1e6, 1),
            "write_seconds": round(seconds, 2),
            "write_peak_megabytes": round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3, 1),
            "filters": [compare(question, items, columns, count) for question in questions(count)],
            "rounds": ROUNDS,
            "sqlite": sqlite3.sqlite_version,
            **provenance("numpy"),
        }
    print_table(result["filters"])
    print({name: result[name] for name in list(result)[:5]})
    (Path(__file__).parent / "filters.json").write_text(json.dumps(result, indent=1) + "\n")


def write_items(path: Path, count: int) -> None:
    """Write an items file of *count* items with an image each, in the order of a catalog that knows no ids."""
    places = np.random.default_rng(1).permutation(count).tolist()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(SCHEMA)
        connection.executemany("INSERT INTO items VALUES (?, ?)", made(count))
        connection.executemany(
            "INSERT INTO images VALUES (?, 0, 'x.jpg', ?, NULL, '{}')",
            ((f"item{number:08}", place) for number, place in enumerate(places)),
        )
        connection.commit()


def made(count: int) -> Iterator[tuple[str, str]]:
    """Yield ids and attributes; `rank` is another whole number below *count* for each item."""
    draw = random.Random(0)  # noqa: S311 - nothing here is a secret
    for number, rank in enumerate(draw.sample(range(count), count)):
        marks = [f"mark{share}" for share in SHARES if rank < share * count]
        attributes = {
            "title": " ".join([*draw.choices(WORDS, k=4), *marks, str(number)]),
            "category": draw.choice(CATEGORIES),
            "brand": f"brand {draw.randrange(3000)}",
            "color": draw.choice(COLORS),
            "price": round(draw.uniform(0, 1000), 2),
            "stock": draw.randrange(50),
            "in_stock": draw.randrange(10) > 0,
            "rating": draw.choice([None, 3.5, 4.0, 4.5, 5.0]),
            "rank": rank,
            "sku": f"{rank / count:.8f}"[2:],
        }
        yield f"item{number:08}", json.dumps(attributes)


def questions(count: int) -> Iterator[Question]:
    """Yield four typical filters at each selectivity."""
    for share in SHARES:
        chosen = CATEGORIES[: max(1, round(len(CATEGORIES) * share**0.5))]
        price = f"{1000 * share * len(CATEGORIES) / len(chosen):.2f}"
        prefix = "0" * round(-np.log10(share))
        yield Question(f"rank < {round(share * count)}", f"{column('rank')} < {round(share * count)}")
        yield Question(
            f"category in {chosen} and price <= {price} and color != 'beige' and stock is not null",
            f"{column('category')} IN (SELECT value FROM json_each('{json.dumps(chosen)}'))"  # noqa: S608
            f" AND {column('price')} <= {price} AND {column('color')} IS NOT 'beige' AND {column('stock')} IS NOT NULL",
        )
        yield Question(f"sku.startswith('{prefix}')", f"substr({column('sku')}, 1, {len(prefix)}) = '{prefix}'")
        yield Question(f"title.contains('mark{share} ')", f"instr({column('title')}, 'mark{share} ')")


def column(name: str) -> str:
    """Return an attribute in SQL."""
    return f"json_extract(items.attributes, '$.{name}')"


def compare(question: Question, items: Path, columns: Path, count: int) -> dict[str, object]:
    """Return how long *question* takes each way."""
    cold, warm, by_sqlite = [], [], []
    where = Filter.parse(question.text)
    for _ in range(ROUNDS):
        table = AttributeColumns(columns, items_digest="")
        masks, opening = timed(lambda table=table: FilterBitmaps(Items(items), [table], vectors=count))
        selected, asking = timed(lambda masks=masks: masks.select(where))
        cold.append(opening + asking)
        warm.append(min(timed(lambda masks=masks: masks.select(where))[1] for _ in range(9)))
        expected, seconds = timed(lambda: ask_sqlite(items, question.sql))
        by_sqlite.append(seconds)
        assert selected.positions.tolist() == expected, question.text  # noqa: S101 - wrong answers are worth no time
    return {
        "filter": question.text,
        "share": len(expected) / count,
        "cold_ms": round(median(cold) * 1e3, 2),
        "warm_us": round(median(warm) * 1e6, 1),
        "sqlite_ms": round(median(by_sqlite) * 1e3, 1),
        "sqlite_to_cold": round(median(a / b for a, b in zip(by_sqlite, cold, strict=True)), 1),
    }


def ask_sqlite(items: Path, condition: str) -> list[int]:
    """Return the positions of the vectors of the items of which *condition* is true."""
    with closing(sqlite3.connect(items)) as connection:
        query = f"SELECT DISTINCT position FROM items CROSS JOIN images USING (item_id) WHERE {condition} ORDER BY 1"  # noqa: S608
        return [position for (position,) in connection.execute(query)]


def timed(call: Callable[[], T]) -> tuple[T, float]:
    """Return what *call* returned, and the seconds that it took."""
    started = perf_counter()
    result = call()
    return result, perf_counter() - started


def print_table(rows: list[dict[str, object]]) -> None:
    """Print *rows* with the names of their figures above."""
    print(f"{'share':>8} {'cold ms':>9} {'warm us':>9} {'SQLite ms':>10} {'ratio':>7}  filter")
    for row in rows:
        print(
            f"{row['share']:8.4%} {row['cold_ms']:9} {row['warm_us']:9} {row['sqlite_ms']:10} "
            f"{row['sqlite_to_cold']:7}  {str(row['filter'])[:60]}"
        )


if __name__ == "__main__":
    main()
