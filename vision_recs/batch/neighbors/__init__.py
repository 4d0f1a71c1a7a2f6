"""The table of similar items: the answer for every item of a shop, at once.

near        the vectors near to each vector: all compared with all, or as an index finds them
answering   the rows that may be answers, by the vectors that they show
shortlists  from near images to the best items, as `recommend.sieve` has them for one query
variety     as `recommend.diversity` has it for one query
lists       all of this for one generation
parts       what a run that was stopped has finished
formats     Parquet, CSV and JSON lines
changes     what is another list than it was in an older generation
writing     `write_neighbors`
"""

from vision_recs.batch.neighbors.options import Method, NeighborsOptions, NeighborsReport
from vision_recs.batch.neighbors.writing import write_neighbors

__all__ = ["Method", "NeighborsOptions", "NeighborsReport", "write_neighbors"]
