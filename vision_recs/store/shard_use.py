"""Which shards a generation uses, which of them are better copied, and copying what is in use out of them.

A vector that is not used any more stays in its shard. Where that is most of a shard, or where there are many small
shards, what is in use is copied into a new one, so that `visrec gc` can remove the others. A copied vector has another
position, so that this needs a new base of the items.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vision_recs.store.added import added_to
from vision_recs.store.items import Items
from vision_recs.store.layout import Layout, ShardEntry
from vision_recs.store.shards import Embedded, shard_problems, write_shard
from vision_recs.store.vectors import map_vectors
from vision_recs.types import EncoderSpec

_LEAST_IN_USE = 0.5  # of the vectors of a shard
_SMALL_ROWS, _LARGE_ROWS = 1_024, 65_536
_FEW_SHARDS, _MANY_SHARDS = 16, 128
"""Of so many small shards: more are joined with the next base, and many more are worth a new base."""


def shards_in_use(
    shards: Iterable[ShardEntry], known: set[str], *, used: NDArray[np.int64], dead: Sequence[int]
) -> Iterator[ShardEntry]:
    """Yield those of *shards* of which a vector is in use, by position.

    Of the *known* ones, which the generation before uses, all vectors are in use that were, but for those at the
    positions *dead*; of the others only those at the positions *used*. Both are ascending.
    """
    going = np.array(dead, dtype=np.int64)
    for shard in sorted(shards, key=lambda shard: shard.first_position):
        own, lost = (_rows_at(positions, shard) for positions in (used, going))
        if not len(own) and not len(lost) and shard.name in known:
            yield shard
            continue
        alive = np.full(shard.rows, shard.name in known)
        for first, stop in shard.deleted:
            alive[first:stop] = False
        alive[lost] = False
        alive[own] = True
        if alive.any():
            yield replace(shard, deleted=_gaps(np.flatnonzero(alive), shard.rows))


def are_worth_a_base(shards: Sequence[ShardEntry], images: int, share: float) -> bool:
    """Return whether to copy the vectors of some shards is worth a new base of *images* images.

    So it is where more than a *share* of the images could be freed, or where there are too many shards, as one for each
    image that an update brings: a reader holds each of them open.
    """
    dead = sum(shard.rows - shard.in_use for shard in shards if _is_hardly_used(shard))
    return dead > share * images or sum(shard.rows < _SMALL_ROWS for shard in shards) > _MANY_SHARDS


def groups_to_copy(layout: Layout, shards: Sequence[ShardEntry]) -> Iterator[list[ShardEntry]]:
    """Yield those of *shards* whose vectors are better copied, as many together as make a large shard.

    They are those hardly in use, and small ones if there are many. A damaged shard stays as it is.
    """
    small = {shard.name for shard in shards if shard.rows < _SMALL_ROWS}
    joined = small if len(small) > _FEW_SHARDS else set()
    group: list[ShardEntry] = []
    for shard in shards:
        if (shard.name in joined or _is_hardly_used(shard)) and not any(shard_problems(layout.shard(shard.name))):
            group.append(shard)
        if sum(each.in_use for each in group) >= _LARGE_ROWS:
            yield group
            group = []
    if group:
        yield group


def copy_shards(layout: Layout, group: Sequence[ShardEntry], items: Items, spec: EncoderSpec) -> tuple[str, list[int]]:
    """Write a shard of the vectors of *group* that *items* use; return its name, and their positions, row by row."""
    rows = [row for shard in group for row in items.stored.images_between(shard.first_position, shard.stop_position)]
    embedded = [
        Embedded(item, image, digest, row, added=added_to(attributes))
        for row, (_, digest, item, image, attributes) in enumerate(rows)
    ]
    positions = np.array([position for position, *_ in rows], dtype=np.int64)
    vectors = [
        map_vectors(layout.shard(shard.name), rows=shard.rows, dim=spec.dim)[_rows_at(positions, shard)]
        for shard in group
    ]
    return write_shard(layout, spec.fingerprint, embedded, np.concatenate(vectors)), positions.tolist()


def _is_hardly_used(shard: ShardEntry) -> bool:
    return shard.in_use < _LEAST_IN_USE * shard.rows


def _rows_at(positions: NDArray[np.int64], shard: ShardEntry) -> NDArray[np.int64]:
    """Return the rows of *shard* at *positions*, which are ascending."""
    begin, end = np.searchsorted(positions, [shard.first_position, shard.stop_position])
    return positions[begin:end] - shard.first_position


def _gaps(used: NDArray[np.int64], rows: int) -> tuple[tuple[int, int], ...]:
    """Return the half-open ranges of 0..rows that *used* (ascending) leaves out."""
    bounds = np.concatenate(([-1], used, [rows]))
    holes = np.flatnonzero(np.diff(bounds) > 1)
    return tuple((int(bounds[hole]) + 1, int(bounds[hole + 1])) for hole in holes)
