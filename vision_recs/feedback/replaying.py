"""`replay`: what another policy would have brought to the shoppers of the log, or why the log cannot tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from vision_recs.errors import EvaluationError
from vision_recs.feedback.counts import Counts
from vision_recs.feedback.features import Matrix
from vision_recs.feedback.learning import Catalog, CrossFitted, KnowsAttributes, cross_fitted
from vision_recs.feedback.logged import LoggedAnswers, seen
from vision_recs.feedback.model import MOST_MOVED, Learned
from vision_recs.feedback.value import Estimate, difference_over_shoppers, estimate, mean_over_shoppers, refusal
from vision_recs.metrics import Difference, Interval

ASSUMPTION = (
    "it is assumed that whether an item is clicked depends on the item and on how likely its place is looked at, and "
    "not on the items around it"
)
"""What the estimate stands on; where shoppers stop at the first click, good orders are worth less than it says."""

Target: TypeAlias = Callable[[CrossFitted], tuple[Matrix, float]]
"""How likely a policy has each item of the pools of some answers looked at (n, m), and the sum for items elsewhere."""


@dataclass(frozen=True)
class Replayed:
    """Clicks an answer that the log *had* and that another policy *would* have had, and their *difference*.

    *effective* and *support* are those of `value.Estimate`. Pinned items do not count, on either side.
    """

    had: Interval
    would: Interval
    difference: Difference
    answers: int
    effective: float
    support: float

    @property
    def refusal(self) -> str:
        """Why the log says too little about the policy; empty where it says enough."""
        return refusal(self.effective, self.support)

    def require(self) -> None:
        """Raise EvaluationError where the log says too little about the policy."""
        if self.refusal:
            raise EvaluationError(self.refusal)


def replay(counts: Counts, answers: LoggedAnswers, items: KnowsAttributes, target: Target) -> Replayed:
    """Return what *target* would have brought for *answers*; models of the other half of the shoppers help.

    *counts* should reach back to before the logged order was learned, and hold plain answers: where good items are
    always at the top, clicks alone do not tell how much is due to the place. Raises EvaluationError where the log says
    too little about the target.
    """
    found = replay_anyway(counts, answers, items, target)
    found.require()
    return found


def replay_anyway(counts: Counts, answers: LoggedAnswers, items: KnowsAttributes, target: Target) -> Replayed:
    """Return what `replay` returns, also where its `refusal` says that nobody should believe it.

    Raises EvaluationError where nothing can be computed.
    """
    crossed = cross_fitted(counts, answers, Catalog.of(counts, answers, items))
    if crossed is None:
        raise EvaluationError("the log has too few answers with clicks to replay; wait for more")
    estimates = [_estimate(part, target) for part in crossed]
    shopper = np.concatenate([part.answers.shopper for part in crossed])
    had = np.concatenate([part.answers.clicked.sum(axis=1) for part in crossed])
    would = np.concatenate([each.by_answer for each in estimates])
    effective = sum(each.effective for each in estimates)
    weights = [len(part.answers) / len(answers) for part in crossed]
    support = sum(weight * each.support for weight, each in zip(weights, estimates, strict=True))
    return Replayed(
        mean_over_shoppers(had, shopper),
        mean_over_shoppers(would, shopper),
        difference_over_shoppers(had, would, shopper),
        len(answers),
        effective,
        support,
    )


def _estimate(part: CrossFitted, target: Target) -> Estimate:
    looked, elsewhere = target(part)
    return estimate(part.answers, looked, part.clicks, part.model.fitted.examination, elsewhere=elsewhere)


def plain(part: CrossFitted) -> tuple[Matrix, float]:
    """Show the plain order: by score and by rules, without what was learned and without exploring."""
    answers = part.answers
    return answers.showing(answers.ranked(answers.base), part.model.fitted.examination), 0.0


def learned(model: Learned, catalog: Catalog, *, most: float = MOST_MOVED) -> Target:
    """Return the target that shows the order of *model*; it must not have been learned from the same shoppers."""

    def target(part: CrossFitted) -> tuple[Matrix, float]:
        answers = part.answers
        deltas = model.deltas(catalog.expected(model, answers), answers.scores, most=most)
        return answers.showing(answers.ranked(answers.base + deltas), part.model.fitted.examination), 0.0

    return target


def listed(lists: Mapping[str, Sequence[str]]) -> Target:
    """Return the target that shows *lists*: for each item asked for, ids in the order of the free places.

    Answers for other items stay as they were ranked.
    """

    def target(part: CrossFitted) -> tuple[Matrix, float]:
        answers, examination = part.answers, part.model.fitted.examination
        ids = (*answers.items, "")
        code_of = {item: code for code, item in enumerate(answers.items)}
        looked = answers.showing(np.tile(np.arange(answers.pool.shape[1]), (len(answers), 1)), examination)
        elsewhere = 0.0
        for row, asked in enumerate(answers.asked.tolist()):
            wanted = lists.get(ids[asked])
            if wanted is not None:
                own = seen(examination, answers.shapes[answers.shape[row]])
                column_of = {code: column for column, code in enumerate(answers.pool[row].tolist()) if code >= 0}
                looked[row] = 0.0
                for chance, item in zip(own.tolist(), wanted, strict=False):
                    column = column_of.get(code_of.get(item, -1))
                    if column is None:
                        elsewhere += chance
                    else:
                        looked[row, column] = chance
        return looked, elsewhere

    return target
