"""How good a store is, as two questions that are never mixed into one number.

finding     does the index find what exact search finds, and how fast?
relevance   are the neighbors what the shop calls similar?
comparison  is one store better than another, or is it chance?
"""

from vision_recs.evaluate.comparison import Comparison, compare_stores
from vision_recs.evaluate.index_quality import IndexQuality, measure_index_quality
from vision_recs.evaluate.provenance import Provenance
from vision_recs.evaluate.relevance import Group, Relevance, measure_relevance
from vision_recs.evaluate.task import Question

__all__ = [
    "Comparison",
    "IndexQuality",
    "Group",
    "Provenance",
    "Question",
    "Relevance",
    "compare_stores",
    "measure_index_quality",
    "measure_relevance",
]
