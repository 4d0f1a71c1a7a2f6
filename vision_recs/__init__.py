"""visrec."""
