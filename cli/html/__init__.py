"""Pages in HTML that need no other file."""
