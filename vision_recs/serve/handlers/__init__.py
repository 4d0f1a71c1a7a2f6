"""What answers each route, by what it is about."""
