"""Files in the format of FAISS, written so that a full disk is noticed, and read with errors that say what is wrong."""

from __future__ import annotations

from pathlib import Path

import faiss

from vision_recs.errors import StoreError, read_error

_BLOCK_BYTES = 1 << 20


def write_faiss(index: faiss.Index, path: Path) -> None:
    """Write *index* to the file *path*; raises OSError.

    FAISS itself loses the last bytes of a file where the disk is full, and only prints that.
    """
    with path.open("wb") as file:
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write, _BLOCK_BYTES))


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
