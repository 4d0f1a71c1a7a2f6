"""Tuning: a linear projection of the vectors of a store, learned from what is similar in its catalog.

tuning         `tune`: from options to a projection, and whether it is better
positives      which items are similar: by labels, by pairs, or by the images of each item
learning       InfoNCE, and what it works with: principal axes, batches, hard negatives
words          how much the words of items count beside their images
unsupervised   the projection that needs no label
cross_fitting  whether a projection is better on items that it has not seen
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vision_recs._lazy import lazy_names

if TYPE_CHECKING:
    from vision_recs.tune.tuning import Tuned, TuneOptions, tune

_HOMES = {"TuneOptions": "tuning", "Tuned": "tuning", "tune": "tuning"}

__all__ = ["TuneOptions", "Tuned", "tune"]

__getattr__ = lazy_names(__name__, _HOMES)
