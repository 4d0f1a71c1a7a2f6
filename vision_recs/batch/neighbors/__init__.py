"""The neighbors file: the similar items of every item of a catalog, computed at once.

writing      `write_neighbors`
from_engine  `write_neighbors_of_engine`: the same from an engine
plan         which items get a list, from which vectors, and how; source is what they are read from
retrieve     the nearest target vectors of each query vector: by exact comparison, or from an index
candidates   from hits to the best items of each list, as a query chooses them
diversity    maximal marginal relevance, as a query with `Policy.diversity` has it
with_rules   lists under a policy with rules
checkpoints  the lists that a stopped run has finished
formats      the columns, Parquet, CSV and JSON lines, and the difference between two files
options      `NeighborsOptions` and `NeighborsReport`
"""

from vision_recs.batch.neighbors.from_engine import write_neighbors_of_engine
from vision_recs.batch.neighbors.options import Method, NeighborsOptions, NeighborsReport
from vision_recs.batch.neighbors.writing import write_neighbors

__all__ = ["Method", "NeighborsOptions", "NeighborsReport", "write_neighbors", "write_neighbors_of_engine"]
