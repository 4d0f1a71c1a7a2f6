"""FAISS, imported so that its threads sleep while they wait for each other.

By default the threads of OpenMP spin for some milliseconds before they sleep. Where other programs use the cores, a
thread that is waited for does not run meanwhile, and training a product quantizer by two threads was seen to take 30
times the processor's time of one. OpenMP reads the policy when its library is loaded, so it is set for just that long:
neither other libraries nor programs that this one starts see it. Who imports FAISS before visrec, or sets the variable,
has decided otherwise.
"""

from __future__ import annotations

import os

_POLICY = "OMP_WAIT_POLICY"
_is_free = _POLICY not in os.environ
if _is_free:
    os.environ[_POLICY] = "PASSIVE"
try:
    import faiss
finally:
    if _is_free:
        del os.environ[_POLICY]

__all__ = ["faiss"]
