"""How precisely a runtime multiplies; it changes speed, and vectors only as much as rounding does."""

from __future__ import annotations

from typing import Literal, TypeAlias

Precision: TypeAlias = Literal["auto", "bf16", "f16", "f32"]
"""bfloat16, IEEE half, or single precision; "auto" is the fastest that the device is made for."""
