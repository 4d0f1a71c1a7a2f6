"""The attributes of a generation by column, for filters.

format       what the file looks like, and reading it
write        writing it from the items; build turns the values of one attribute into arrays
dictionary   the distinct texts of an attribute, searched
bitmaps      what a filter selects: predicates on whole columns, then the vectors of the items that match
"""
