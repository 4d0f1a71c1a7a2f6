"""What another policy would have brought: a doubly robust estimate by the position model (PBM-DR), with its bounds.

Whether an item is clicked depends on whether its place is looked at, and on the item: that is the assumption. E(i) is
how likely item i is looked at, the sum over the places of how likely it is there times the examination of the place.
The value of a policy for one answer is then

    the sum over the pool of  E_target(i) value(i)
    + the sum over what was shown of  E_target(i) / E_logged(i) * (clicked(i) - examination(place of i) value(i))

where value(i) is what a model, learned from other shoppers, expects. The estimate is right where either that model or
the probabilities are. The bounds are over shoppers, whose answers depend on each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vision_recs.feedback.features import Matrix
from vision_recs.feedback.logged import LoggedAnswers, Ordinals
from vision_recs.metrics import Difference, Interval

FEWEST_ANSWERS = 500
"""Of fewer effective answers an estimate says nothing."""

LEAST_SUPPORT = 0.95
"""The least share of what a policy shows that the log may have shown, too."""

_QUANTILE = 1.959964


@dataclass(frozen=True)
class Estimate:
    """The *value* of a policy, in clicks an answer, with the bounds of the 95 % interval.

    *effective* is how many answers of the policy itself would say as much. *support* is the share of what the policy
    shows, by examination, that the log could have shown. *by_answer* (n,) has the part of each answer in the value.
    """

    value: Interval
    effective: float
    support: float
    by_answer: Matrix


def refusal(effective: float, support: float) -> str:
    """Return why an estimate says too little about a policy, by its *effective* answers and *support*; else nothing."""
    if support < LEAST_SUPPORT:
        return (
            f"the log could have shown only {support:.0%} of what the policy shows, and {LEAST_SUPPORT:.0%} are "
            "needed; let more answers explore, or show a larger part of the policy in an arm"
        )
    if effective < FEWEST_ANSWERS:
        return (
            f"the log says as much as {effective:.0f} answers of the policy, and {FEWEST_ANSWERS} are needed; wait for "
            "more answers, or let more of them explore"
        )
    return ""


def estimate(
    answers: LoggedAnswers, target: Matrix, clicks: Matrix, examination: Matrix, *, elsewhere: float = 0.0
) -> Estimate:
    """Return the value of a policy that has each item of the pools of *answers* looked at as *target* says (n, m).

    *clicks* (n, m) are those that a model expects of each item at the first place, and *examination* (places,) is how
    likely each place is looked at. Both should come from other shoppers. *elsewhere* is the sum over all answers of how
    likely items are looked at that the policy shows and no pool holds.
    """
    logged = answers.logged(examination)
    is_shown = answers.at >= 0
    at = examination[np.clip(answers.at, 0, len(examination) - 1)]
    expected = np.where(answers.pool >= 0, np.nan_to_num(clicks), 0.0)
    weights = np.divide(target, logged, out=np.zeros_like(target), where=is_shown & (logged > 0))
    corrections = np.where(is_shown, weights * (answers.clicked - at * expected), 0.0)
    by_answer = (target * expected).sum(axis=1) + corrections.sum(axis=1)
    looked = np.where(is_shown, at, 0.0)
    squares = float((looked * weights**2).sum())
    kept = float((looked * weights).sum()) ** 2 / (squares * float(looked.sum())) if squares else 0.0
    total = float(target.sum()) + elsewhere
    possible = float(target[logged > 0].sum()) / total if total else 0.0
    return Estimate(mean_over_shoppers(by_answer, answers.shopper), len(answers) * kept, possible, by_answer)


def mean_over_shoppers(values: Matrix, shopper: Ordinals) -> Interval:
    """Return the mean of *values* (n,) with bounds that hold although the values of one *shopper* (n,) go together."""
    mean = float(values.mean()) if len(values) else 0.0
    half = _QUANTILE * _deviation(values - mean, shopper)
    return Interval(mean, mean - half, mean + half)


def difference_over_shoppers(one: Matrix, other: Matrix, shopper: Ordinals) -> Difference:
    """Return how much higher the mean of *other* (n,) is than that of *one* (n,), with bounds over shoppers."""
    values = other - one
    bounds = mean_over_shoppers(values, shopper)
    deviation = _deviation(values - bounds.value, shopper)
    return Difference(bounds.value, bounds.low, bounds.high, two_sided(bounds.value / deviation) if deviation else 1.0)


def _deviation(residuals: Matrix, shopper: Ordinals) -> float:
    if not len(residuals):
        return 0.0
    sums = np.bincount(shopper, residuals)
    return float(np.sqrt((sums**2).sum())) / len(residuals)


def two_sided(z: float) -> float:
    """Return how likely a standard normal number is at least as far from 0 as *z*."""
    from math import erfc, sqrt

    return erfc(abs(z) / sqrt(2))
