"""Duplicates: items that are the same thing twice, and pictures that say nothing of what they are shown for.

showing    which items show which pictures, and which of these are placeholders
pairs      pairs of items that are alike, by their best pair of pictures
threshold  how alike, found on the data
linkage    from pairs to groups
finding    `find_duplicates`
"""

from vision_recs.recommend.duplicates.finding import find_duplicates
from vision_recs.recommend.duplicates.groups import DuplicateOptions, Duplicates, Group, Placeholder

__all__ = ["DuplicateOptions", "Duplicates", "Group", "Placeholder", "find_duplicates"]
