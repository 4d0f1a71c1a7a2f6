"""How good a store is, as two questions that are never mixed into one number.

finding     does the index find what exact search finds, and how fast?
relevance   are the neighbours what the shop calls similar?
comparison  is one store better than another, or is it chance?
"""

from vision_recs.evaluate.comparison import Comparison, compare_stores
from vision_recs.evaluate.finding import Finding, measure_finding
from vision_recs.evaluate.provenance import Provenance
from vision_recs.evaluate.relevance import Group, Relevance, measure_relevance
from vision_recs.evaluate.truths import Question

__all__ = [
    "Comparison",
    "Finding",
    "Group",
    "Provenance",
    "Question",
    "Relevance",
    "compare_stores",
    "measure_finding",
    "measure_relevance",
]
