"""Tuning: a linear projection of the store's vectors, learnt from what the shop calls similar.

lessons     what belongs together: labels, pairs, or the images of each item
basis       the principal axes of the vectors, where learning starts
learning    the contrastive loss
trial       is it better on items that it has not seen?
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vision_recs._lazy import lazy_names

if TYPE_CHECKING:
    from vision_recs.tune.tuning import Tuned, TuneOptions, tune

_HOMES = {"TuneOptions": "tuning", "Tuned": "tuning", "tune": "tuning"}

__all__ = ["TuneOptions", "Tuned", "tune"]

__getattr__ = lazy_names(__name__, _HOMES)
