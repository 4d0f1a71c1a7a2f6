"""Duplicates: items that look the same, and placeholder images that many products show.

finding    `find_duplicates`, and complete linkage: from pairs of items to groups
pairs      which items show which image, and the pairs of items that are alike
copies     images that show the same picture in another size, quality or margin
without_words  where vectors have words, too, images are compared without them
threshold  the score from which on two items are alike, estimated from the catalog
report     `DuplicateOptions` and `Duplicates`
"""

from vision_recs.batch.duplicates.finding import find_duplicates
from vision_recs.batch.duplicates.report import DuplicateOptions, Duplicates, Group, Placeholder

__all__ = ["DuplicateOptions", "Duplicates", "Group", "Placeholder", "find_duplicates"]
