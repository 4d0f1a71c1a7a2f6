"""Attribute columns: how they are built, written, read, and filtered."""
