"""The nouns of visrec, and the small protocols by which its layers meet."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vision_recs import kernels
from vision_recs.errors import DegenerateVector

Vectors: TypeAlias = NDArray[np.float32]
"""(n, dim), C order, every row of unit length."""

Pixels: TypeAlias = NDArray[np.uint8]
"""(n, height, width, 3), sRGB, prepared by a PixelRecipe."""

Attribute: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Item:
    """What the shop sells: an id, one or more pictures, attributes.

    *pictures* are references that the item's catalogue can read. *picture_attributes* holds, for each picture
    in the same order, what belongs to that picture alone (a view, a background); it is empty where there is none.
    """

    id: str
    pictures: tuple[str, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    picture_attributes: tuple[Mapping[str, Attribute], ...] = ()


class Catalog(Protocol):
    """A shop's items and the bytes of their pictures."""

    @property
    def location(self) -> str:
        """The path that was given, absolute."""
        ...

    @property
    def root(self) -> str:
        """The folder that picture references are relative to, absolute."""
        ...

    def __iter__(self) -> Iterator[Item]:
        """Yield each item once, ids unique, in the order of the catalogue."""
        ...

    def read(self, reference: str) -> bytes:
        """Return the bytes of a picture; raises ImageError: missing, unreadable or empty."""
        ...

    def signature(self, reference: str) -> str | None:
        """Return a cheap token that changes when the picture's bytes may have, or None where there is none."""
        ...


@dataclass(frozen=True, slots=True)
class PixelRecipe:
    """How a picture becomes the pixels that an encoder was trained on.

    *size* is (height, width) of the result. *fit*: "crop" scales the shorter side to *resize* and cuts the centre,
    "squash" scales both sides to *size*, "pad" scales the longer side to *size* and fills with *background*.
    *mean* and *std* are in units of [0, 1] and are applied by the encoder, not to the pixels.
    """

    size: tuple[int, int]
    fit: Literal["crop", "squash", "pad"]
    resize: int
    interpolation: Literal["bilinear", "bicubic"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    background: tuple[int, int, int] = (255, 255, 255)


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """All that decides the vectors of an encoder: two equal specs give one space.

    *weights* is the SHA-256 of the tensors of the image tower, in hexadecimal. What changes only speed (device,
    runtime, precision) is not here.
    """

    name: str
    weights: str
    dim: int
    recipe: PixelRecipe
    pooling: str

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that name the space."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> EncoderSpec:
        """Return the spec that `dataclasses.asdict` wrote, also after a round trip through JSON."""
        recipe: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in value["recipe"].items()}
        return cls(**{**value, "recipe": PixelRecipe(**recipe)})


class Encoder(Protocol):
    """Prepared pixels to vectors of one space."""

    @property
    def spec(self) -> EncoderSpec:
        """What decides the vectors."""
        ...

    def encode(self, pixels: Pixels) -> Vectors:
        """Return one unit vector a picture, or a row of zeros for a picture without a direction."""
        ...


class Row(NamedTuple):
    """One picture of one item, as the store holds it; *digest* is the SHA-256 of its bytes, in hexadecimal."""

    id: str
    picture: str
    digest: str


class VectorSource(Protocol):
    """What an engine indexes: unit vectors by position, and the rows that show each of them."""

    @property
    def fingerprint(self) -> str:
        """The space of the vectors."""
        ...

    @property
    def generation(self) -> int:
        """The store generation that the vectors belong to."""
        ...

    @property
    def dim(self) -> int:
        """The number of columns."""
        ...

    def positions(self) -> NDArray[np.int64]:
        """Return the positions that are alive, ascending."""
        ...

    def vectors(self, positions: NDArray[np.int64]) -> Vectors:
        """Return the unit vectors at *positions*, in that order."""
        ...

    def rows(self, positions: Sequence[int], *, limit: int) -> dict[int, list[Row]]:
        """Return, for each position, at most *limit* of its rows, ordered by id, then by picture."""
        ...


class Subset(VectorSource, Protocol):
    """The part of a VectorSource that a filter selects: fewer positions, and of each only the rows that match."""

    def count(self) -> int:
        """Return how many positions are selected."""
        ...

    def mask(self) -> NDArray[np.bool_]:
        """Return which positions are selected, for each up to the last one there is; not to be written to."""
        ...


@dataclass(frozen=True, slots=True)
class PartScore:
    """How a match stands to one part of a query.

    *kind* is "item", "interest" (an item that stands for a part of a shopper's history), "picture", "text", or "not"
    for an item to move away from. *asked* is its id, name or words; *picture* is the picture of the asked item that the
    picture of the match met, and *score* their cosine.
    """

    kind: str
    asked: str
    weight: float
    score: float
    picture: str | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """A rule that moved a match: by *by* in the ranking (a bury has less than 0), or *to* a place, counted from 1."""

    rule: str
    by: float | None = None
    to: int | None = None


@dataclass(frozen=True, slots=True)
class Why:
    """Why an item is in an answer, and where.

    *shared* holds the attributes that it has in common with an asked item, *relaxed* the names of the rules that it
    breaks because too few items keep them. What did not need to be found out is empty.
    """

    parts: tuple[PartScore, ...] = ()
    shared: Mapping[str, Attribute] = field(default_factory=dict)
    moves: tuple[Move, ...] = ()
    relaxed: tuple[str, ...] = ()


class Match(NamedTuple):
    """One answer: a picture of an item, and its score: its cosine with the query (-1 to 1), where that is one vector.

    *digest* is that of the picture's bytes. *attributes* are filled in by the Recommender, and so is *why* where it is
    asked for or the rules of a shop have a say.
    """

    id: str
    score: float
    picture: str
    digest: str = ""
    attributes: Mapping[str, Attribute] = MappingProxyType({})
    why: Why | None = None


class VectorIndex(Protocol):
    """A searchable projection of one store generation."""

    @property
    def source(self) -> tuple[str, int]:
        """The space and the generation that were indexed."""
        ...

    def search(self, vectors: Vectors, k: int, *, within: Subset | None = None) -> list[list[Match]]:
        """Return up to *k* pictures for each row of *vectors* (n, dim), best first; only such as are *within*.

        Result i belongs to query i; scores descend, equal scores are ordered by id, then picture. Never padding,
        never NaN. The arguments are not modified. Safe to call from several threads. Raises ValueError for k < 1 or
        another dim, DegenerateVector for a query without a direction.
        """
        ...


_IN_CACHE = 1 << 15
"""Numbers that are scaled at once: so many in float64 stay in the cache of a core."""


def scale_rows(matrix: NDArray[np.floating]) -> tuple[Vectors, NDArray[np.bool_]]:
    """Return *matrix* (n, dim) with rows scaled to length 1, and which rows have a direction.

    The input is not modified. A row of zeros, or one that holds NaN or infinity, has no direction and becomes zeros.
    """
    compiled = kernels.compiled if matrix.dtype == np.float16 and matrix.size else None
    step = max(1, _IN_CACHE // max(1, matrix.shape[1]))
    if compiled is None and len(matrix) <= step:
        return _scale(matrix)
    scaled = np.empty(matrix.shape, np.float32)
    alive = np.empty(len(matrix), np.bool_)
    if compiled is not None:
        compiled.scale_half(np.ascontiguousarray(matrix), scaled, alive, matrix.shape[1])
        return scaled, alive
    for start in range(0, len(matrix), step):
        part = slice(start, start + step)
        scaled[part], alive[part] = _scale(matrix[part])
    return scaled, alive


def _scale(matrix: NDArray[np.floating]) -> tuple[Vectors, NDArray[np.bool_]]:
    wide = matrix.astype(np.float64)  # with fewer digits, a row that was scaled twice would not be that scaled once
    if matrix.dtype.itemsize > np.dtype(np.float32).itemsize:  # whose squares could leave the range of float64
        largest = np.abs(wide).max(axis=1, initial=0.0)
        wide[~np.isfinite(largest)] = 0.0
        wide /= np.where(np.isfinite(largest) & (largest > 0), largest, 1.0)[:, None]
    squares = np.vecdot(wide, wide)
    alive: NDArray[np.bool_] = (squares > 0) & (squares < np.inf)
    if np.count_nonzero(alive) < len(alive):
        wide[~alive] = 0.0
        squares[~alive] = 1.0
    wide *= (1 / np.sqrt(squares))[:, None]
    return wide.astype(np.float32), alive


def unit_rows(matrix: NDArray[np.floating]) -> Vectors:
    """Return *matrix* (n, dim) as float32 with every row scaled to length 1.

    The input is not modified. A row of zeros, NaN or infinity has no direction: raises DegenerateVector naming the
    first such row and how many there are.
    """
    scaled, alive = scale_rows(matrix)
    if not alive.all():
        first = int(np.argmin(alive))
        raise DegenerateVector(
            f"row {first} has no direction (zeros, NaN or infinity), as have {int((~alive).sum()) - 1} others; "
            "leave such rows out"
        )
    return scaled
