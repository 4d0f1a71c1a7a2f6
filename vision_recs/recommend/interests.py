"""The interests of a shopper: clusters of the items in a history (PinnerSage, Pal et al., KDD 2020)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vision_recs.errors import UnknownItem
from vision_recs.types import ItemSource, Vectors
from vision_recs.vectors import normalize_rows

if TYPE_CHECKING:
    from vision_recs.recommend.history import History

_ITEMS = 500  # that are clustered at most: the matrix of distances is searched once for each of them
_SAMPLE = 256  # images from which the mean distance of two images is computed
_ALIKE = 0.9
"""Two clusters are merged where their distance is at most so many times the mean distance of two images.

Measured on histories out of one to four categories: 1.56 interests a category on 1,885 photos of clothes, 1.26 on the
sample images. At 1.1 it is 1.06 and 1.08, but a mug is then lost among lamps; an interest in two parts loses nothing.
"""


@dataclass(frozen=True, slots=True)
class Interest:
    """A part of a shopper's history: its *items*, by id, and the *medoid*, the item of them that stands for all.

    The medoid is the nearest to the others; of several, as of two items, the one that counts most, then by id.
    *share* is what the items count in the whole history, from 0 to 1.
    """

    medoid: str
    items: tuple[str, ...]
    share: float


def find_interests(items: ItemSource, history: History) -> list[Interest]:
    """Return the interests in *history*, the one with the greatest share first, equal ones by the id of their medoid.

    Ids that *items* no longer has are left out, and only the 500 items that count most are used. Two clusters of items
    are merged by Ward's method as long as they are about as near as two images of *items* are on average. Raises
    UnknownItem where no item of the history is left.
    """
    importance = history.importance()
    known = items.attributes_of(list(importance))
    if not known:
        item = min(importance)
        raise UnknownItem(f"no item of the history is in the index, such as {item!r}; index the catalog", item=item)
    ids = sorted(sorted(known, key=lambda item: (-importance[item], item))[:_ITEMS])
    vectors = np.concatenate([mean_vector(items, item) for item in ids])
    clusters = ward(vectors, limit=_ALIKE * _mean_distance(items))
    total = sum(importance[item] for item in ids)
    found = [_interest(cluster, ids, vectors, importance, total) for cluster in clusters]
    return sorted(found, key=lambda interest: (-interest.share, interest.medoid))


def _interest(
    cluster: Sequence[int], ids: Sequence[str], vectors: Vectors, importance: Mapping[str, float], total: float
) -> Interest:
    own = vectors[list(cluster)].astype(np.float64)
    own /= np.linalg.norm(own, axis=1, keepdims=True)  # float32 is not of length 1 so exactly that two items are alike
    near = np.round(own @ own.sum(axis=0), 9).tolist()  # the highest: least sum of squared distances to the others
    items = tuple(ids[index] for index in cluster)
    medoid = max(zip(near, items, strict=True), key=lambda each: (each[0], importance[each[1]]))[1]
    return Interest(medoid, items, sum(importance[item] for item in items) / total)


def mean_vector(items: ItemSource, item: str) -> Vectors:
    """Return the direction (1, dim) of the mean of the images of *item*, or of its first image where they cancel."""
    vectors = items.vectors_of(sorted({image.digest for image in items.images(item)}))
    mean, alive = normalize_rows(vectors.mean(axis=0, keepdims=True))
    return mean if alive.all() else vectors[:1]


def _mean_distance(items: ItemSource) -> float:
    """Return 1 minus the mean cosine of two images of *items*, from a sample."""
    vectors = items.sample_vectors(_SAMPLE).astype(np.float64)
    pairs = len(vectors) * (len(vectors) - 1)
    if not pairs:
        return 1.0
    whole = vectors.sum(axis=0)
    return float(1 - (whole @ whole - len(vectors)) / pairs)


def ward(vectors: Vectors, *, limit: float) -> list[list[int]]:
    """Return clusters of the rows of *vectors* (n, dim): lists of ascending row numbers, ordered by their first row.

    The distance of two clusters A and B is |A| |B| / (|A| + |B|) times the squared distance of their means; for two
    unit vectors it is 1 - cosine. The two nearest clusters are merged, the first of equal ones, and so on until the
    distance of the two nearest is above *limit*.
    """
    wide = vectors.astype(np.float64)
    apart: NDArray[np.float64] = 1 - wide @ wide.T
    np.fill_diagonal(apart, np.inf)
    sizes = np.ones(len(wide))
    members = [[index] for index in range(len(wide))]
    while len(wide) > 1:
        first, second = divmod(int(np.argmin(apart)), len(wide))
        if not apart[first, second] <= limit:
            break
        _merge(apart, sizes, first, second)
        members[first] += members[second]
        members[second] = []
    return sorted(sorted(each) for each in members if each)


def _merge(apart: NDArray[np.float64], sizes: NDArray[np.float64], first: int, second: int) -> None:
    """Merge cluster *second* into *first*: update the distances *apart* (n, n) by the formula of Lance and Williams.

    After it, *second* is infinitely far from every cluster.
    """
    one, other = sizes[first], sizes[second]
    reach = (one + sizes) * apart[first] + (other + sizes) * apart[second] - sizes * apart[first, second]
    reach = reach / (one + other + sizes)
    reach[[first, second]] = np.inf
    apart[first] = apart[:, first] = reach
    apart[second] = apart[:, second] = np.inf
    sizes[first] += other
    sizes[second] = 1  # without effect: it is infinitely far
