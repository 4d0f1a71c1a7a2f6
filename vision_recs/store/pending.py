"""What an index lacks of a generation, and what it has too much, as ranges of positions: found from lists of shards.

A position stands for the same vector in every generation of an encoder, so the difference of two generations is the
difference of the positions that they use. What it costs grows with the shards that changed, not with the vectors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from vision_recs.store.layout import IndexPending, Manifest, Ranges, ShardEntry


def pending_after(base: Manifest, shards: Sequence[ShardEntry]) -> IndexPending:
    """Return what is pending for the index of *base* in a generation of *shards*, which has the encoder of *base*."""
    before, after = set(base.shards), set(shards)
    old = tuple(chain.from_iterable(_in_use(shard) for shard in base.shards if shard not in after))
    new = tuple(chain.from_iterable(_in_use(shard) for shard in shards if shard not in before))
    added, removed, pending = _without(new, old), _without(old, new), base.index_pending
    return IndexPending(
        added=_joined(_without(pending.added, removed), _without(added, pending.removed)),
        removed=_joined(_without(pending.removed, added), _without(removed, pending.added)),
    )


def _in_use(shard: ShardEntry) -> Iterator[tuple[int, int]]:
    """Yield the ranges of positions whose vectors in *shard* are in use, ascending."""
    begin = 0
    for first, stop in (*shard.deleted, (shard.rows, shard.rows)):
        if begin < first:
            yield shard.first_position + begin, shard.first_position + first
        begin = stop


def _without(ranges: Ranges, others: Ranges) -> Ranges:
    """Return what of *ranges* is in none of *others*; both ascend."""
    left: list[tuple[int, int]] = []
    number = 0
    for begin, stop in ranges:
        first = begin
        while number < len(others) and others[number][0] < stop:
            if first < others[number][0]:
                left.append((first, others[number][0]))
            first = max(first, others[number][1])
            if others[number][1] > stop:  # it reaches into the next range
                break
            number += 1
        if first < stop:
            left.append((first, stop))
    return tuple(left)


def _joined(*parts: Iterable[tuple[int, int]]) -> Ranges:
    """Return the ranges of all *parts*, ascending; those that touch each other become one."""
    joined: list[tuple[int, int]] = []
    for first, stop in sorted(chain(*parts)):
        if joined and joined[-1][1] == first:
            joined[-1] = joined[-1][0], stop
        else:
            joined.append((first, stop))
    return tuple(joined)
