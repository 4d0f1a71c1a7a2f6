"""Duplicates: items that are the same thing twice, and images that say nothing of what they are shown for.

showing    which items show which images, and which of these are placeholders
pairs      pairs of items that are alike, by their best pair of images
threshold  how alike, found on the data
linkage    from pairs to groups
finding    `find_duplicates`
"""

from vision_recs.batch.duplicates.finding import find_duplicates
from vision_recs.batch.duplicates.report import DuplicateOptions, Duplicates, Group, Placeholder

__all__ = ["DuplicateOptions", "Duplicates", "Group", "Placeholder", "find_duplicates"]
