"""How good a store is: two measurements that are never mixed into one number.

search_quality an engine beside the store: recall, latency and bytes of both
index_quality  how much of the exact neighbors an index finds, and how fast
relevance      whether the neighbors are relevant, and whether one store is better than another
task           which items are queries and targets, and what is relevant
words          the vectors of queries that are single images, without the words of their items
provenance     what measurements depend on, kept beside them
"""

from vision_recs.evaluate.index_quality import IndexQuality, measure_index_quality
from vision_recs.evaluate.provenance import Measured, Provenance
from vision_recs.evaluate.relevance import Comparison, Group, Relevance, compare_stores, measure_relevance
from vision_recs.evaluate.search_quality import FilteredQuality, SearchQuality, measure_engine_quality
from vision_recs.evaluate.task import EvaluationTask

__all__ = [
    "Comparison",
    "EvaluationTask",
    "FilteredQuality",
    "Group",
    "IndexQuality",
    "Measured",
    "Provenance",
    "Relevance",
    "SearchQuality",
    "compare_stores",
    "measure_engine_quality",
    "measure_index_quality",
    "measure_relevance",
]
