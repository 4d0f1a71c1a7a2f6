"""The graph of an HNSW index in files that are mapped, so that opening it copies neither codes nor links.

FAISS can map a file of its own, too, but then copies every link in it: 50 ms for a million vectors. Here the codes of
the vectors, their links and their levels are NumPy files, beside an index of FAISS without vectors that knows all else.
A walk goes wherever a link points, so all links are looked at when the graph is opened: 20 ms for a million vectors.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vision_recs.errors import StoreDamaged
from vision_recs.file_formats import mmap_array, save_npy
from vision_recs.indexes._faiss import faiss
from vision_recs.indexes.faiss_files import NO_OWNER, view_codes

GRAPH = "graph"
"""With which the names of the files of a graph begin, unless it is another graph in the same directory."""

_PARTS = ("codes", "links", "offsets", "levels", "entry")
_LINKS_AT_ONCE = 1 << 16


def reorder_by_proximity(index: faiss.IndexHNSW) -> NDArray[np.int64]:
    """Renumber the vectors of *index* in the order of a walk from its entry, and return the numbers that they had.

    A search reads the neighbors of a vector one after the other: it takes a quarter less time where they lie side by
    side. The entry, which has the most links, comes last: so a walk that takes any vector for one of the highest level
    finds as many links, and `load_graph` need not look at the level of each.
    """
    links = _array(index.hnsw.neighbors, np.int32)
    firsts = faiss.vector_to_array(index.hnsw.offsets)[:-1].astype(np.int64)
    neighbors = np.stack([links[firsts + number] for number in range(index.hnsw.nb_neighbors(0))], axis=1)
    is_met = np.zeros(index.ntotal, np.bool_)
    order = [np.arange(0)]
    front = np.array([index.hnsw.entry_point] if index.ntotal else [], np.int64)
    while len(front):
        is_met[front] = True
        order.append(front)
        near = neighbors[front].ravel()
        near = near[near >= 0]
        near = near[~is_met[near]]
        _, first = np.unique(near, return_index=True)
        front = near[np.sort(first)]
    walked = np.concatenate([*order[2:], np.flatnonzero(~is_met), *order[:2]]).astype(np.int64)
    index.permute_entries(walked)
    return walked


def graph_files(name: str = GRAPH) -> list[str]:
    """Return the names of the files of the graph *name*: codes, links, offsets, levels and entry."""
    return [f"{name}.{part}.npy" for part in _PARTS]


def save_graph(index: faiss.IndexHNSW, directory: Path, name: str = GRAPH) -> None:
    """Write the codes and links of *index* into *directory* as the graph *name*, and remove them from *index*."""
    arrays = (
        _array(faiss.downcast_index(index.storage).codes, np.uint8),
        _array(index.hnsw.neighbors, np.int32),
        faiss.vector_to_array(index.hnsw.offsets).astype(np.int64),
        faiss.vector_to_array(index.hnsw.levels),
        np.array([index.hnsw.entry_point, index.hnsw.max_level]),
    )
    for file, array in zip(graph_files(name), arrays, strict=True):
        save_npy(directory / file, array)
    index.reset()


class GraphArrays(NamedTuple):
    """A graph in memory: what `walk_graph` of the functions in C takes, in their order; see `NativeKernels`."""

    codes: NDArray[np.uint8]
    links: NDArray[np.int32]
    offsets: NDArray[np.int64]
    firsts: NDArray[np.int32]
    entry: NDArray[np.int64]


def load_graph(index: faiss.IndexHNSW, directory: Path, name: str = GRAPH, *, is_writable: bool = False) -> GraphArrays:
    """Put what `save_graph` wrote into the empty *index*: mapped, or where it *is_writable*, in memory; return it.

    Raises StoreDamaged where the files do not fit together, or a walk would leave them.
    """
    files = [directory / file for file in graph_files(name)]
    codes, links = mmap_array(files[0], np.uint8), mmap_array(files[1], np.int32)
    offsets, levels = mmap_array(files[2], np.int64), mmap_array(files[3], np.int32)
    entry = mmap_array(files[4], np.int64)
    storage = faiss.downcast_index(index.storage)
    count = len(levels)
    fits = len(offsets) == count + 1 and offsets[-1] == len(links) and len(codes) == count * storage.sa_code_size()
    if not (fits and _is_entry(entry, levels) and _is_graph(index.hnsw, links, offsets, levels)):
        raise StoreDamaged(f"the files of {directory} do not fit together; rebuild it with `visrec index`")
    faiss.copy_array_to_vector(offsets.view(np.uint64), index.hnsw.offsets)
    faiss.copy_array_to_vector(np.ascontiguousarray(levels), index.hnsw.levels)
    index.hnsw.entry_point, index.hnsw.max_level = map(int, entry)
    if is_writable:
        _fill(index.hnsw.neighbors, links)
        _fill(storage.codes, codes)
    else:
        view_codes(storage, codes)
        index.hnsw.neighbors = faiss.MaybeOwnedVectorInt32.create_view(faiss.swig_ptr(links), len(links), NO_OWNER)
        index.referenced_objects = [links, codes]  # FAISS reads them where they are
    index.ntotal = storage.ntotal = count
    firsts = faiss.vector_to_array(index.hnsw.cum_nneighbor_per_level)
    return GraphArrays(codes, links, offsets, firsts, entry)


def _is_entry(entry: NDArray[np.int64], levels: NDArray[np.int32]) -> bool:
    """Return whether *entry* is a vector and its highest level; *levels* says on how many levels each vector is."""
    if not len(levels):
        return bool(entry.tolist() == [-1, -1])
    is_inside = len(entry) == 2 and 0 <= entry[0] < len(levels)  # noqa: PLR2004 - the vector and its highest level
    return bool(is_inside and entry[1] == levels[entry[0]] - 1 == levels.max() - 1)


def _is_graph(
    hnsw: faiss.HNSW, links: NDArray[np.int32], offsets: NDArray[np.int64], levels: NDArray[np.int32]
) -> bool:
    """Return whether a walk over *links* meets vectors and links only."""
    firsts = faiss.vector_to_array(hnsw.cum_nneighbor_per_level)
    if not len(levels):
        return bool(offsets[0] == 0)
    if not 1 <= levels.min() <= levels.max() < len(firsts):
        return False
    parts = (links[start : start + _LINKS_AT_ONCE] for start in range(0, len(links), _LINKS_AT_ONCE))
    if not all(-1 <= part.min() <= part.max() < len(levels) for part in parts):
        return False
    most = int(firsts[levels.max()])
    if offsets.min() >= 0 and offsets[:-1].max() + most <= len(links):
        return True  # whichever vector a walk takes for whatever level, there are links
    return _ends_where_it_should(firsts, links, offsets, levels)


def _ends_where_it_should(
    firsts: NDArray[np.int32], links: NDArray[np.int32], offsets: NDArray[np.int64], levels: NDArray[np.int32]
) -> bool:
    """Return whether each vector has the links of its *levels*, and is linked to on these alone."""
    if offsets[0] != 0 or (np.diff(offsets) != firsts[levels]).any():
        return False
    above = np.flatnonzero(levels > 1)
    for level in range(1, int(levels.max())):
        above = above[levels[above] > level]
        places = offsets[above] + firsts[level]
        linked = links[places[:, None] + np.arange(firsts[level + 1] - firsts[level])]
        if (levels[linked[linked >= 0]] <= level).any():
            return False
    return True


def _array(vector: faiss.MaybeOwnedVectorUInt8, dtype: type[np.generic]) -> NDArray[np.generic]:
    if not vector.size():  # FAISS does not know the type of an empty one
        return np.empty(0, dtype)
    found: NDArray[np.generic] = faiss.rev_swig_ptr(vector.data(), vector.size())
    return found


def _fill(vector: faiss.MaybeOwnedVectorUInt8, values: NDArray[np.generic]) -> None:
    vector.resize(len(values))
    if len(values):
        _array(vector, values.dtype.type)[:] = values
