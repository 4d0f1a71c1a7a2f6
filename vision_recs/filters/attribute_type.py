"""The types that attributes have."""

from __future__ import annotations

from enum import Flag, auto

from vision_recs.types import Attribute


class AttributeType(Flag):
    """The types of the values that the items have for one attribute; `AttributeType(0)` where all values are null."""

    TEXT = auto()
    NUMBER = auto()
    BOOLEAN = auto()

    @classmethod
    def of(cls, value: Attribute) -> AttributeType:
        """Return the type of *value*: `AttributeType(0)` for null, and for a value that no attribute has, as a list."""
        match value:
            case bool():
                return cls.BOOLEAN
            case int() | float():
                return cls.NUMBER
            case str():
                return cls.TEXT
            case _:
                return cls(0)
