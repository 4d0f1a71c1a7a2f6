"""How good a ranking of items is, against a truth that somebody gave; NumPy alone, and no store.

measures    of one query, from the ranks of what is relevant to it
confidence  how far the mean of many queries can be trusted, and whether two rankings differ
truth       which items are relevant to which: labels, graded pairs, the images of one item
ranking     every item's rank for every query, and the measures of all of them
exposure    which items are recommended at all, and how often
"""

from vision_recs.metrics.confidence import Difference, Interval, compare, interval, intervals
from vision_recs.metrics.exposure import Exposure, expose, gini
from vision_recs.metrics.measures import MEASURES
from vision_recs.metrics.ranking import ItemVectors, Judged, judge
from vision_recs.metrics.truth import Labels, OwnItem, Pairs, Truth

__all__ = [
    "MEASURES",
    "Difference",
    "Exposure",
    "Interval",
    "ItemVectors",
    "Judged",
    "Labels",
    "OwnItem",
    "Pairs",
    "Truth",
    "compare",
    "expose",
    "gini",
    "interval",
    "intervals",
    "judge",
]
