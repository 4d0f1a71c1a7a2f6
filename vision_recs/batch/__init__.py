"""Work over the whole catalog: the neighbors of every item, and duplicates."""
