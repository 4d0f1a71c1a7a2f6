"""Files of FAISS, and arrays that FAISS reads where they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vision_recs.errors import StoreError, read_error
from vision_recs.indexes._faiss import faiss

_STREAM_BYTES = 1 << 20

_WITHOUT_OWNER = faiss.MaybeOwnedVectorInt32()
NO_OWNER = _WITHOUT_OWNER.owner
"""Says that FAISS does not own an array: a null pointer, which is a part of that object."""


def view_codes(storage: faiss.IndexFlatCodes, codes: NDArray[np.uint8]) -> None:
    """Let *storage* hold the *codes* (number x size,) of vectors without a copy; it keeps the array alive."""
    storage.codes = faiss.MaybeOwnedVectorUInt8.create_view(faiss.swig_ptr(codes), len(codes), NO_OWNER)
    storage.ntotal = len(codes) // storage.sa_code_size()
    storage.referenced_objects = [codes]


def write_faiss(index: faiss.Index, path: Path) -> None:
    """Write *index* to the file *path*; raises OSError.

    FAISS itself loses the last bytes of a file where the disk is full, and only prints that.
    """
    with path.open("wb") as file:
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write, _STREAM_BYTES))


def read_faiss(path: Path, *, mapped: bool) -> faiss.Index:
    """Return the index in the file *path*, whose vectors stay in the file where it is *mapped*.

    Raises StoreDamaged, or StoreUnavailable where the machine is at fault.
    """
    try:
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC if mapped else 0)
    except TypeError as error:
        raise StoreError(f"{path} is not UTF-8, which FAISS needs; name another folder with --store") from error
    except RuntimeError as error:
        why = str(error).rpartition("failed: ")[2]  # before that are names of C++
        raise read_error(path, RuntimeError(why), "rebuild it with `visrec index`") from error


@contextmanager
def build_threads() -> Iterator[None]:
    """Let FAISS use as many threads as this process really has, which may be fewer than there are cores."""
    from vision_recs.threads import available_threads  # a query does without

    with threads(available_threads()):
        yield


@contextmanager
def train_alone() -> Iterator[None]:
    """Let the principal components of FAISS be found by one thread: several would mostly wait for each other."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        yield


@contextmanager
def threads(most: int) -> Iterator[None]:
    """Let FAISS use at most so many threads, 1 at least, for this thread: waiting for idle ones takes long."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(max(1, min(before, most)))
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
