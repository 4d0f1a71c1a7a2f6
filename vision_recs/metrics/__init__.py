"""How good rankings of items are, by relevance judgments; NumPy alone, without a store.

measures    relevance judgments (labels, graded pairs, own items), and the measures of one query
ranking     every target ranked for every query, and the measures of all queries
confidence  how certain the mean of many queries is, and whether two rankings differ
exposure    which items are recommended at all, and how often
"""

from vision_recs.metrics.confidence import Difference, Interval, bounds_of_share, compare, interval, intervals
from vision_recs.metrics.exposure import Exposure, expose, gini
from vision_recs.metrics.measures import MEASURES, Judgments, LabelJudgments, OwnItemJudgments, PairJudgments
from vision_recs.metrics.ranking import ItemVectors, RankingResult, evaluate_rankings, ndcg_at_10

__all__ = [
    "MEASURES",
    "Difference",
    "Exposure",
    "Interval",
    "ItemVectors",
    "Judgments",
    "LabelJudgments",
    "OwnItemJudgments",
    "PairJudgments",
    "RankingResult",
    "bounds_of_share",
    "compare",
    "evaluate_rankings",
    "expose",
    "gini",
    "interval",
    "intervals",
    "ndcg_at_10",
]
