"""Jobs over a whole catalog.

neighbors    `write_neighbors`: the similar items of every item, in one file
duplicates   `find_duplicates`: items that look the same, and placeholder images
item_arrays  the items of one generation as arrays, the input of both
"""
