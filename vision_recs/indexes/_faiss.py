"""FAISS, imported so that its threads sleep while they wait for each other: see `_openmp`."""

from __future__ import annotations

from vision_recs._openmp import SLEEP_AT_ONCE, openmp

with openmp(SLEEP_AT_ONCE):
    import faiss

__all__ = ["faiss"]
