"""OpenMP, loaded so that its threads soon sleep while they wait for each other.

By default they spin for some milliseconds before they sleep. Where other programs use the cores, a thread that is
waited for does not run meanwhile, and the others spend the processor's time on nothing: training a product quantizer by
two threads was seen to take 60 times the time that it takes with threads that sleep at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

SLEEP_AT_ONCE = ("OMP_WAIT_POLICY", "PASSIVE")
SLEEP_SOON = ("GOMP_SPINCOUNT", "50000")
"""After a tenth of a millisecond: threads that are given work again and again do not wait for each other to wake."""


@contextmanager
def openmp(how: tuple[str, str]) -> Iterator[None]:
    """Let the threads of an OpenMP that is loaded meanwhile wait as *how* says, a variable and its value.

    FAISS and PyTorch each bring an OpenMP of their own, which reads its variables when it is loaded, so they are set
    for just that long: neither other libraries nor programs that this one starts see them. Who loads the library before
    visrec, or sets one of the variables, has decided otherwise.
    """
    variable, value = how
    if any(name in os.environ for name, _ in (SLEEP_AT_ONCE, SLEEP_SOON)):
        yield
        return
    os.environ[variable] = value
    try:
        yield
    finally:
        del os.environ[variable]
