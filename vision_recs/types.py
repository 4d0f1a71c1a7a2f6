"""The nouns of visrec, and the small protocols by which its layers meet."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

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


@dataclass(frozen=True, slots=True)
class Row:
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


@dataclass(frozen=True, slots=True)
class Match:
    """One answer: a picture of an item, and its cosine with the query (-1 to 1).

    *digest* is that of the picture's bytes. *attributes* are filled in by the Recommender.
    """

    id: str
    score: float
    picture: str
    digest: str = ""
    attributes: Mapping[str, Attribute] = field(default_factory=dict)


class VectorIndex(Protocol):
    """A searchable projection of one store generation."""

    @property
    def source(self) -> tuple[str, int]:
        """The space and the generation that were indexed."""
        ...

    def search(self, vectors: Vectors, k: int) -> list[list[Match]]:
        """Return up to *k* pictures for each row of *vectors* (n, dim), best first.

        Result i belongs to query i; scores descend, equal scores are ordered by id, then picture. Never padding,
        never NaN. The arguments are not modified. Safe to call from several threads. Raises ValueError for k < 1 or
        another dim, DegenerateVector for a query without a direction.
        """
        ...


def scale_rows(matrix: NDArray[np.floating]) -> tuple[Vectors, NDArray[np.bool_]]:
    """Return *matrix* (n, dim) with rows scaled to length 1, and which rows have a direction.

    The input is not modified. A row of zeros, or one that holds NaN or infinity, has no direction and becomes zeros.
    """
    wide = np.asarray(matrix, dtype=np.float64)
    largest = np.abs(wide).max(axis=1, initial=0.0)
    alive = np.isfinite(largest) & (largest > 0)
    wide = np.where(alive[:, None], wide, 0.0) / np.where(alive, largest, 1.0)[:, None]
    lengths = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    scaled = wide / np.where(alive, lengths, 1.0)[:, None]
    return np.ascontiguousarray(scaled, dtype=np.float32), alive


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
