"""`learn`: counts become a model, and it is judged by shoppers that it has not seen.

Shoppers fall into two halves. What is learned from one half orders the pools of the answers of the other half, and the
difference to the plain order is estimated from what those shoppers did (see `value`). A model is worth publishing where
the bounds of the difference, over all shoppers, lie above 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from vision_recs._version import __version__
from vision_recs.errors import EvaluationError
from vision_recs.feedback.counts import Counts
from vision_recs.feedback.features import Columns, Features, Matrix
from vision_recs.feedback.fitting import fit
from vision_recs.feedback.logged import LoggedAnswers
from vision_recs.feedback.model import MOST_MOVED, OTHER_QUERY, UNKNOWN, Learned
from vision_recs.feedback.value import Estimate, difference_over_shoppers, estimate, mean_over_shoppers, refusal
from vision_recs.metrics import Difference, Interval
from vision_recs.types import Attribute

_FEWEST_CLICKS = 100
_AT_ONCE = 10_000
_ANSWERS_AT_ONCE = 500  # their pairs with features stay in the cache of a processor


class KnowsAttributes(Protocol):
    """What the attributes of items are read from; a `Store` is one."""

    def attributes_of(self, items: Sequence[str]) -> Mapping[str, Mapping[str, Attribute]]:
        """Return the attributes of each of *items*, by id; an unknown id is left out."""
        ...


@dataclass(frozen=True)
class Judged:
    """What unseen shoppers say of learned answers: clicks an answer of *plain* and of *learned* ones, and *difference*.

    *effective* and *support* are those of the learned answers: see `value.Estimate`.
    """

    plain: Interval
    learned: Interval
    difference: Difference
    answers: int
    effective: float
    support: float


@dataclass(frozen=True)
class LearnReport:
    """A *model*, learned from *clicks* clicks, and what unseen shoppers say of it; *why* it is not better, if so."""

    model: Learned
    clicks: int
    impressions: int
    judged: Judged | None
    why: str

    @property
    def is_better(self) -> bool:
        """Whether learned answers bring more clicks than plain ones, beyond the bounds."""
        return not self.why


def learn(
    counts: Counts, answers: LoggedAnswers, items: KnowsAttributes, *, most: float = MOST_MOVED, learned_from: str = ""
) -> LearnReport:
    """Return the model of *counts*, judged by *answers*; the attributes of *items* are features.

    *most* is how far an item may be moved, as a score. *learned_from* is kept in the model. Equal arguments give equal
    models. Raises EvaluationError where there are too few clicks to learn from.
    """
    total = int(counts.clicks.sum())
    if total < _FEWEST_CLICKS:
        raise EvaluationError(f"{total} clicks are too few to learn from; wait for {_FEWEST_CLICKS}")
    catalog = Catalog.of(counts, answers, items)
    model = catalog.model(counts, provenance=_provenance(counts, learned_from, most))
    judged = judge(counts, answers, catalog, most=most)
    return LearnReport(model, total, int(counts.impressions.sum()), judged, _why_not(judged))


def _why_not(judged: Judged | None) -> str:
    if judged is None:
        return "no logged answer has a pool, so there is nothing to judge with; serve with --events first"
    why = refusal(judged.effective, judged.support)
    if not why and judged.difference.low <= 0:
        why = "learned answers are not significantly better than plain ones"
    return why


@dataclass(frozen=True)
class Catalog:
    """The items of counts and of answers, and their attributes as features."""

    ids: tuple[str, ...]
    features: Features
    columns: Columns

    @classmethod
    def of(cls, counts: Counts, answers: LoggedAnswers, items: KnowsAttributes) -> Catalog:
        """Read the attributes of all items that are named, some at a time."""
        ids = tuple(sorted({*counts.items, *answers.items}))
        attributes = {item: own for page in _pages(ids) for item, own in items.attributes_of(page).items()}
        features = Features.of(attributes)
        return cls(ids, features, Columns.of(features, [attributes.get(item, {}) for item in ids]))

    def model(self, counts: Counts, provenance: Mapping[str, str] | None = None) -> Learned:
        """Return what *counts* teach."""
        rows = np.searchsorted(np.array(self.ids), np.array(counts.items)) if counts.items else np.empty(0, np.int64)
        fitted = fit(counts, self.features, self.columns.take(rows))
        return Learned(self.features, fitted, counts.items, provenance or {})

    def expected(self, model: Learned, answers: LoggedAnswers) -> Matrix:
        """Return the clicks (n, m) that *model* expects of each item of the pools of *answers* at the first place."""
        found = np.full(answers.pool.shape, np.nan)
        rows = np.searchsorted(np.array(self.ids), np.array(answers.items))
        codes = model.codes(answers.items)
        for start in range(0, len(answers), _ANSWERS_AT_ONCE):
            part = slice(start, start + _ANSWERS_AT_ONCE)
            pool, scores = answers.pool[part], answers.scores[part]
            row, column = np.nonzero(pool >= 0)
            asked, shown = answers.asked[part][row], pool[row, column]
            inputs = self.features.matrix(
                self.columns.take(np.where(asked < 0, -1, rows[asked])),
                self.columns.take(rows[shown]),
                scores[row, column],
                np.nanmax(scores, axis=1)[row] if scores.size else np.zeros(0),
            )
            known = np.where(codes[asked] < 0, UNKNOWN, codes[asked])
            found[part][row, column] = model.clicks(np.where(asked < 0, OTHER_QUERY, known), codes[shown], inputs)
        return found


def judge(counts: Counts, answers: LoggedAnswers, catalog: Catalog, *, most: float) -> Judged | None:
    """Return what *answers* say of models that the other half of the shoppers taught; None where a half is empty."""
    crossed = cross_fitted(counts, answers, catalog)
    if crossed is None:
        return None
    estimates = [_judge_half(part, most) for part in crossed]
    shopper = np.concatenate([part.answers.shopper for part in crossed])
    plain, learned = (np.concatenate([each.by_answer for each in side]) for side in zip(*estimates, strict=True))
    shares = [len(part.answers) / len(answers) for part in crossed]
    return Judged(
        plain=mean_over_shoppers(plain, shopper),
        learned=mean_over_shoppers(learned, shopper),
        difference=difference_over_shoppers(plain, learned, shopper),
        answers=len(answers),
        effective=sum(each.effective for _, each in estimates),
        support=sum(share * each.support for share, (_, each) in zip(shares, estimates, strict=True)),
    )


@dataclass(frozen=True)
class CrossFitted:
    """The *answers* of one half of the shoppers, the *model* of the other half, and the *clicks* (n, m) it expects."""

    answers: LoggedAnswers
    model: Learned
    clicks: Matrix


def cross_fitted(counts: Counts, answers: LoggedAnswers, catalog: Catalog) -> list[CrossFitted] | None:
    """Return both halves of *answers*, each with the model of the other; None where one is empty or has no clicks."""
    halves = [answers.take(answers.half == half) for half in (0, 1)]
    if not all(map(len, halves)) or not all(counts.of_half(half).clicks.sum() for half in (0, 1)):
        return None
    with threadpool_limits(1, user_api="blas"):
        models = [catalog.model(counts.of_half(1 - half)) for half in (0, 1)]
        return [
            CrossFitted(own, model, catalog.expected(model, own)) for own, model in zip(halves, models, strict=True)
        ]


def _judge_half(part: CrossFitted, most: float) -> tuple[Estimate, Estimate]:
    """Return the value of the plain order of the answers of *part*, and that of the order of its model."""
    answers, model = part.answers, part.model
    deltas = model.deltas(part.clicks, answers.scores, most=most)
    examination = model.fitted.examination
    plain, learned = (
        estimate(answers, answers.showing(answers.ranked(ranks), examination), part.clicks, examination)
        for ranks in (answers.base, answers.base + deltas)
    )
    return plain, learned


def _provenance(counts: Counts, learned_from: str, most: float) -> dict[str, str]:
    days = f"{counts.days[0]} to {counts.days[-1]}" if counts.days else ""
    return {"visrec": __version__, "days": days, "learned_from": learned_from, "most": str(most)}


def _pages(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    yield from (ids[start : start + _AT_ONCE] for start in range(0, len(ids), _AT_ONCE))
