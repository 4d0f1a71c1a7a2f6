"""The table of similar items: the answer for every item of a shop, at once.

near        the vectors near to each vector: all compared with all, or as an index finds them
answering   the rows that may be answers, by the vectors that they show
shortlists  from near pictures to the best items, as `recommend.sieve` has them for one query
variety     as `recommend.diversity` has it for one query
lists       all of this for one generation
parts       what a run that was stopped has finished
formats     Parquet, CSV and JSON lines
changes     what is another list than it was in an older generation
writing     `write_table`
"""

from vision_recs.recommend.table.options import Method, TableOptions, TableReport
from vision_recs.recommend.table.writing import write_table

__all__ = ["Method", "TableOptions", "TableReport", "write_table"]
