"""The attributes of a generation by column, for filters.

format       what the file looks like, and reading it
write        writing it from the items; build turns the values of one attribute into arrays
dictionary   the distinct texts of an attribute, searched
predicates   a predicate on one attribute, evaluated on its whole column
suggestions  the values of a filter that no item has, and the nearest known ones
values       the values of one attribute of items that follow each other
table        the items as rows: which match a filter, in which order, and what they have in a column
lookup       from the positions of vectors to these rows, and which of them match a filter
bitmaps      the part of a generation that a filter selects, as a mask of vectors
"""
