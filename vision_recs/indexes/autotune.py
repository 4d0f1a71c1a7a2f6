"""Finding out with what effort an index has to be searched, and what it then is worth."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from vision_recs.indexes.base import Scored
from vision_recs.indexes.config import Built, IndexConfig, IndexStats, Point, Tuning
from vision_recs.indexes.holdout import DEPTHS, Questions, draw
from vision_recs.indexes.index_dir import write_label
from vision_recs.indexes.rescoring import ApproximateIndex, Proposer
from vision_recs.types import Vectors, VectorSource

_QUESTIONS = 256
_TUNED = (10, 20, 40, 100)  # matches: a shop asks for ten items, and so for some images more
_FILTERED_QUESTIONS = 256  # one of which may miss all of its answers
_FILTERED_RECALL = 0.995
_SHARES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_FETCHES = (1.1, 1.2, 1.35, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 5.0, 8.0)  # times k: how many candidates are scored exactly
_SPARE = 0.1  # of the errors that are allowed: other queries than the measured ones come
_TIMED = 64


_SMALL = 1_000  # vectors: of so few, every search may propose all


class Told(NamedTuple):
    """What is wanted of an index, and how it is searched and what to measure it with, where that is known."""

    config: IndexConfig
    tuning: Tuning | None = None
    questions: Questions | None = None


class Searched(Protocol):
    """What has positions and exact scores to give; with *depth* the search is tuned for so many instead of *k*."""

    def nearest(self, queries: Vectors, k: int, *, depth: int | None = None) -> list[Scored]:
        """Return the *k* nearest to each of the unit *queries*."""
        ...


def finish(source: VectorSource, directory: Path, proposer: Proposer, *, built: Built, told: Told) -> IndexStats:
    """Tune the index in *directory* unless it has a tuning, measure it, and write its label."""
    vectors = len(source.positions())
    config, tuning, questions = told
    if vectors <= _SMALL:
        tuning = _everything(proposer, vectors)
    elif tuning is None:
        tuning = tune(source, proposer, config)
    index = ApproximateIndex(source, proposer, tuning, size=vectors)
    questions = questions or questions_of(source, config)
    questions.save(directory)
    stats = stats_of(measure(index, questions), config, built)
    facts = {"config": asdict(config), "built": asdict(built), "tuning": asdict(tuning), "stats": asdict(stats)}
    write_label(directory, source, name=built.index_type, vectors=vectors, facts=facts)
    return stats


def _everything(proposer: Proposer, vectors: int) -> Tuning:
    return Tuning(tuple(Point(k, proposer.largest_effort, max(k, vectors)) for k in _TUNED), (), vectors)


def tune(source: VectorSource, proposer: Proposer, config: IndexConfig) -> Tuning:
    """Return the cheapest way to search *proposer* with the recall that is wanted, or the best one there is.

    The cost of a way is the work that *proposer* names, not a time, so that the same vectors give the same index.
    """
    questions = draw(source, _QUESTIONS, seed=config.seed + 1)
    points = tuple(_point(source, proposer, questions, k, config.target_recall) for k in _TUNED)
    tuning = Tuning(points)
    filtered = _filtered(source, proposer, config.seed + 2)
    return Tuning(points, filtered, _rows_for_a_query(source, proposer, tuning, questions))


def questions_of(source: VectorSource, config: IndexConfig) -> Questions:
    """Return what an index of *source* is measured with; it was not tuned on them."""
    return draw(source, _QUESTIONS, seed=config.seed + 3)


def measure(index: Searched, questions: Questions) -> dict[str, float]:
    """Return recall@1, @10 and @100 and the rate of single queries, by the names that `IndexStats` has for them."""
    measured = {}
    for depth in DEPTHS:  # one more, since the query itself may be in the index
        found = index.nearest(questions.vectors, depth + 1, depth=depth)
        measured[f"recall_at_{depth}"] = questions.recall([(each.positions, each.scores) for each in found], depth)
    asked = questions.vectors[:_TIMED]
    started = perf_counter()
    for number in range(len(asked)):
        index.nearest(asked[number : number + 1], 10)
    measured["queries_per_second"] = len(asked) / (perf_counter() - started) if len(asked) else 0.0
    return measured


def stats_of(measured: dict[str, float], config: IndexConfig, built: Built) -> IndexStats:
    """Return what was *measured* together with what is known of the index."""
    return IndexStats(
        index_factory=built.index_factory,
        recall_at_1=round(measured["recall_at_1"], 4),
        recall_at_10=round(measured["recall_at_10"], 4),
        recall_at_100=round(measured["recall_at_100"], 4),
        queries_per_second=round(measured["queries_per_second"], 1),
        bytes_per_vector=round(built.bytes_per_vector, 1),
        build_seconds=round(built.seconds, 3),
        target_recall_met=measured["recall_at_10"] >= config.target_recall,
    )


class _Way(NamedTuple):
    point: Point
    recall: float
    work: float


def _point(source: VectorSource, proposer: Proposer, questions: Questions, k: int, recall: float) -> Point:
    """Return the point of least work whose recall@k is enough, else that of the highest recall."""
    wanted = recall + _SPARE * (1 - recall)
    fetches = [round((k + 1) * times) for times in _FETCHES]  # one more: the query itself may be in the index
    highest = cheapest = _Way(Point(k, 1, fetches[0]), -1.0, float("inf"))
    last = 0.0

    def way(effort: int, fetch: int) -> _Way:
        proposed = proposer.propose(questions.vectors, fetch, effort)
        found = list(zip(proposed, _scored(source, questions.vectors, proposed), strict=True))
        return _Way(Point(k, effort, fetch), questions.recall(found, k), proposer.work(effort, fetch))

    for effort in _efforts(proposer):
        least = proposer.work(effort, fetches[0])
        if least >= cheapest.work:
            break
        if least == last:  # a graph looks at as many as it gives
            continue
        last = least
        most = way(effort, fetches[-1])
        highest = max(highest, most, key=lambda each: each.recall)
        if most.recall < wanted:
            continue
        enough = next((each for each in (way(effort, fetch) for fetch in fetches) if each.recall >= wanted), most)
        cheapest = min(cheapest, enough, key=lambda each: each.work)
    return (cheapest if cheapest.recall >= wanted else highest).point


def _efforts(proposer: Proposer) -> list[int]:
    """Return efforts from 1 to the largest, each about 1.4 times the one before."""
    largest = proposer.largest_effort
    steps = {min(largest, round(2 ** (half / 2))) for half in range(2 * largest.bit_length() + 1)}
    return sorted(steps)


def _scored(source: VectorSource, queries: Vectors, proposed: NDArray[np.int64]) -> list[NDArray[np.float32]]:
    """Return the scores of *proposed*, in its order, as float32 adds them up; -2 for nothing."""
    results = []
    for query, own in zip(queries, proposed, strict=True):
        scores = np.full(len(own), -2, np.float32)
        scores[own >= 0] = source.vectors(own[own >= 0]) @ query
        results.append(scores)
    return results


class _Random:
    """A Subset of random positions: a filter that has nothing to do with what images look like."""

    def __init__(self, source: VectorSource, share: float, seed: int) -> None:
        self.fingerprint, self.generation, self.dim = source.fingerprint, source.generation, source.dim
        self.vectors, self.rows = source.vectors, source.rows
        alive = source.positions()
        chosen = np.random.default_rng(seed).random(len(alive)) < share
        self._positions = alive[chosen]
        self._mask = np.zeros(int(alive.max(initial=-1)) + 1, np.bool_)
        self._mask[self._positions] = True

    def positions(self) -> NDArray[np.int64]:
        return self._positions

    def count(self) -> int:
        return len(self._positions)

    def mask(self) -> NDArray[np.bool_]:
        return self._mask


def _filtered(source: VectorSource, proposer: Proposer, seed: int) -> tuple[tuple[float, int], ...]:
    """Return for each of some shares the least effort with which 99 of 100 are found among so many vectors."""
    found: list[tuple[float, int]] = []
    for share in _SHARES:
        subset = _Random(source, share, seed)
        if subset.count() < DEPTHS[-1]:
            continue
        questions = draw(source, _FILTERED_QUESTIONS, seed=seed, within=subset.positions(), depth=10)
        for effort in _efforts(proposer):
            proposed = proposer.propose(questions.vectors, proposer.filtered_fetch * 11, effort, subset)
            scores = _scored(source, questions.vectors, proposed)
            if questions.recall(list(zip(proposed, scores, strict=True)), 10) >= _FILTERED_RECALL:
                found.append((share, effort))
                break
    return tuple(found)


def _rows_for_a_query(source: VectorSource, proposer: Proposer, tuning: Tuning, questions: Questions) -> int:
    """Return how many vectors are scored exactly in the time of a query, both measured."""
    point = tuning.point(10)
    asked = questions.vectors[:_TIMED]
    if not len(asked):
        return 0
    proposer.propose(asked, point.fetch, point.effort)
    started = perf_counter()
    for number in range(len(asked)):
        proposed = proposer.propose(asked[number : number + 1], point.fetch, point.effort)
        _scored(source, asked[number : number + 1], proposed)
    query = (perf_counter() - started) / len(asked)
    rows = source.positions()[:4096]
    started = perf_counter()
    _ = source.vectors(rows) @ asked[0]
    return int(query / ((perf_counter() - started) / len(rows)))
