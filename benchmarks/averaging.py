"""Neighbor averaging: among the candidates of an answer, as `--averaging` does, against that of the whole database.

    python benchmarks/averaging.py STORE [--labels category] [--queries EXPR] [--targets EXPR]

The whole database would have to be averaged again with every update, and the index with it; candidates are averaged
when a query is answered. Prints a table in Markdown: precision at 1 and at 10, and the difference to the plain vectors,
query by query, with 95 % bounds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vision_recs.filters import Filter
from vision_recs.metrics import compare
from vision_recs.store import Store, attributes_where, load_item_vectors
from vision_recs.vectors import normalize_rows

Scores = NDArray[np.float64]
AT = (1, 10)


def averaged(targets: Scores, neighbors: int) -> Scores:
    """Return each of *targets* (m, dim) averaged with its nearest ones, by cosine ** 3, of unit length."""
    weights = np.maximum(targets @ targets.T, 0.0) ** 3
    least = np.partition(weights, -neighbors - 1, axis=1)[:, -neighbors - 1, None]
    return normalize_rows(np.where(weights >= least, weights, 0.0) @ targets)[0].astype(np.float64)


def plain(queries: Scores, targets: Scores, _: NDArray[np.bool_]) -> Scores:
    """Return the cosines (n, m)."""
    return queries @ targets.T


def of_database(neighbors: int, queries: Scores, targets: Scores, _: NDArray[np.bool_]) -> Scores:
    """Return the cosines with targets that are averaged with those of the whole database."""
    return queries @ averaged(targets, neighbors).T


def of_pool(neighbors: int, pool: int, queries: Scores, targets: Scores, itself: NDArray[np.bool_]) -> Scores:
    """Return the cosines with the best *pool* targets averaged among themselves; all others come after them."""
    scores = np.where(itself, -np.inf, queries @ targets.T - 3.0)
    for row, query in zip(scores, queries, strict=True):
        best = np.argsort(-row, kind="stable")[:pool]
        row[best] = averaged(targets[best], min(neighbors, pool - 1)) @ query
    return scores


WAYS: dict[str, Callable[[Scores, Scores, NDArray[np.bool_]], Scores]] = {
    "plain": plain,
    **{f"whole database, {neighbors} neighbors": partial(of_database, neighbors) for neighbors in (3, 10)},
    **{
        f"pool of {pool}, {neighbors} neighbors": partial(of_pool, neighbors, pool)
        for pool in (40, 100, 400)
        for neighbors in (3, 10)
    },
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--labels", default="category")
    parser.add_argument("--queries", type=Filter.parse)
    parser.add_argument("--targets", type=Filter.parse)
    parser.add_argument("--sample", type=int, default=300, help="The most images that are queries.")
    given = parser.parse_args()
    with Store.open(given.store) as store:
        sides = [attributes_where(store, where) for where in (given.queries, given.targets)]
        items = [load_item_vectors(store, known) for known in sides]
    labels = [
        np.array([str(known[side.ids[owner]].get(given.labels)) for owner in side.owners()])
        for known, side in zip(sides, items, strict=True)
    ]
    chosen = np.sort(np.random.default_rng(0).permutation(len(items[0].vectors))[: given.sample])
    itself = np.array(items[0].ids)[items[0].owners()][:, None] == np.array(items[1].ids)[items[1].owners()]
    labels[0], itself = labels[0][chosen], itself[chosen]
    queries, targets = items[0].vectors[chosen].astype(np.float64), items[1].vectors.astype(np.float64)
    base: dict[int, NDArray[np.float64]] = {}
    print("| method | " + " | ".join(f"P@{k}" for k in AT) + " |\n| --- | --- | --- |")
    for name, way in WAYS.items():
        scores = np.where(itself, -np.inf, way(queries, targets, itself))
        order = np.argsort(-scores, axis=1, kind="stable")
        cells = []
        for k in AT:
            found = (labels[1][order[:, :k]] == labels[0][:, None]).mean(axis=1)
            difference = compare(base.setdefault(k, found), found, np.arange(len(found)))
            bounds = f"{difference.value:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})"
            cells.append(f"{found.mean():.3f}" + ("" if name == "plain" else f", {bounds}"))
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
