"""Copies: images that show the same picture in another size, quality or margin.

An encoder moves the vector of a picture that was made smaller or saved anew as far as it moves to the next product of
the same kind, so that no score parts the two. Their pixels do: 16 x 16 of them differ between copies by less than a
hundredth of what varies in the picture, and between products by more than a twentieth.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vision_recs.batch.duplicates.pairs import ImageUsage
from vision_recs.batch.duplicates.report import Looked
from vision_recs.catalog.image_files import ImageFiles, image_bytes
from vision_recs.encoders.words import image_of
from vision_recs.errors import ImageError
from vision_recs.images import load
from vision_recs.knn_join import Nearest, Pairs
from vision_recs.ordered_map import ordered_map
from vision_recs.store import Store
from vision_recs.threads import available_threads
from vision_recs.types import PreprocessConfig

_LEAST = 0.8
"""The least score of a pair that is looked at: of 260 copies made for a test, all but 2 have it."""

_SIDE, _CELLS = 128, 16
_RECIPE = PreprocessConfig((_SIDE, _SIDE), "stretch", _SIDE, "bilinear", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

_MARGIN = 24
"""Levels: what differs less from the color of the border belongs to the margin; JPEG moves white by some ten."""

_SPOTS = 0.01
"""The share of the pixels of a row or column that may be something else, and it is a margin still."""

_SAME = 0.03
"""The largest mean squared difference of two copies, as a share of the variance of the one that varies less."""

_NOISE = 4.0
"""Squared levels that are added to the variance, so that two plain images are not the same by rounding."""


class Copies(NamedTuple):
    """The *pairs* of images that are copies of one another, of *looked_at* images; *unread* more could not be read."""

    pairs: Pairs
    looked_at: int
    unread: int


def find_copies(store: Store, usage: ImageUsage, nearest: Nearest, progress: Looked) -> Copies:
    """Return the pairs of *usage* that are copies, of those that are among the *nearest* of each other.

    The images are read again, where that needs no network. One that has changed since it was indexed is not looked at.
    """
    one, other, scores = _candidates(usage, nearest)
    numbers = np.unique(np.concatenate([one, other]))
    small, is_read = _small_pictures(store, usage, numbers, progress)
    at_one, at_other = np.searchsorted(numbers, one), np.searchsorted(numbers, other)
    are_same = is_read[at_one] & is_read[at_other] & _same(small, at_one, at_other)
    pairs = Pairs(0, one[are_same], other[are_same], scores[are_same])
    return Copies(pairs, int(is_read.sum()), int((~is_read).sum()))


def small_picture(data: bytes) -> NDArray[np.uint8]:
    """Return the image in *data* as (2, 16, 16, 3) pixels: whole, and without its margins. Raises ImageError."""
    pixels = load(data, _RECIPE)
    whole = Image.fromarray(pixels)
    parts = whole, whole.crop(_within_margins(pixels))
    return np.stack([np.asarray(part.resize((_CELLS, _CELLS), Image.Resampling.BOX)) for part in parts])


def _within_margins(pixels: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """Return the box (left, top, right, bottom) of what is not of the color of the border; all, where little is."""
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    differs = (np.abs(pixels - np.median(border, axis=0)) > _MARGIN).any(axis=2)
    rows, columns = (np.flatnonzero(differs.mean(axis=axis) > _SPOTS) for axis in (1, 0))
    if min(len(rows), len(columns)) < _CELLS:
        return 0, 0, _SIDE, _SIDE
    (left, right), (top, bottom) = _inside(columns), _inside(rows)
    return left, top, right, bottom


def _inside(places: NDArray[np.int64]) -> tuple[int, int]:
    """Return from where to where *places* lead, without the first and the last pixel, half of which is a margin."""
    first, last = int(places[0]), int(places[-1])
    return first + (first > 0), last + (last == _SIDE - 1)


def _candidates(
    usage: ImageUsage, nearest: Nearest
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return pairs (one < other) of images that are each among the *nearest* of the other, with their scores.

    Pairs of images that only one product shows are left out.
    """
    arrays = usage.arrays
    group_of = usage.groups[arrays.item_of[usage.rows[usage.starts[:-1]]]]
    is_shared = np.diff(usage.starts) > 1
    rows, places = np.nonzero(nearest.scores >= _LEAST)
    columns, scores = nearest.numbers[rows, places], nearest.scores[rows, places]
    differ = (group_of[rows] != group_of[columns]) | is_shared[rows] | is_shared[columns]
    keep = differ & (rows != columns)
    keys = np.minimum(rows, columns)[keep] * len(usage.positions) + np.maximum(rows, columns)[keep]
    pairs, first, times = np.unique(keys, return_index=True, return_counts=True)
    both = times > 1
    one, other = np.divmod(pairs[both], max(1, len(usage.positions)))
    return one, other, scores[keep][first[both]]


def _small_pictures(
    store: Store, usage: ImageUsage, numbers: NDArray[np.int64], progress: Looked
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return the small pictures (n, 2, 16, 16, 3) of the images *numbers*, and which of them could be read."""
    source = store.image_source
    if isinstance(source, ImageFiles):
        source = source.without_network()
    names = [usage.arrays.images[row] for row in usage.rows[usage.starts[numbers]].tolist()]

    def read(place: int) -> NDArray[np.uint8] | None:
        try:
            data = image_bytes(source, names[place])
            return small_picture(data) if image_of(hashlib.sha256(data).hexdigest()) == digests[place] else None
        except ImageError:
            return None  # it is counted

    digests = list(_digests(store, usage.positions[numbers]))
    small = np.zeros((len(numbers), 2, _CELLS, _CELLS, 3), np.uint8)
    is_read = np.zeros(len(numbers), np.bool_)
    threads = available_threads()
    with ThreadPoolExecutor(threads) as pool:
        for place, found in enumerate(ordered_map(pool, read, range(len(numbers)), window=4 * threads)):
            if found is not None:
                small[place], is_read[place] = found, True
            progress(place + 1, len(numbers))
    return small, is_read


def _digests(store: Store, positions: NDArray[np.int64]) -> Iterator[str]:
    """Yield the first half of the digest of the bytes of the image at each of *positions*."""
    for start in range(0, len(positions), 10_000):
        here = positions[start : start + 10_000].tolist()
        rows = store.rows(here, limit=1)
        yield from (image_of(rows[position][0].digest) for position in here)


def _same(
    small: NDArray[np.uint8], one: NDArray[np.int64], other: NDArray[np.int64], *, at_once: int = 4_096
) -> NDArray[np.bool_]:
    """Return which of the pairs (n,) of *small* pictures are the same, each whole or without its margins."""
    found = [np.empty(0, np.bool_)]
    for start in range(0, len(one), at_once):
        here = slice(start, start + at_once)
        first, second = (small[places[here]].reshape(-1, 2, _CELLS * _CELLS, 3) for places in (one, other))
        are_same = [_is_small(first[:, which], second[:, with_]) for which in (0, 1) for with_ in (0, 1)]
        found.append(np.any(are_same, axis=0))
    return np.concatenate(found)


def _is_small(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where the difference of the pictures (n, cells, 3) is small beside what varies in them."""
    difference = np.square(np.subtract(first, second, dtype=np.float32)).mean(axis=(1, 2))
    varies = np.minimum(*(each.var(axis=1, dtype=np.float32).mean(axis=1) for each in (first, second)))
    return np.asarray(difference <= _SAME * (varies + _NOISE))
