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

Vectors: TypeAlias = NDArray[np.float32]
"""(n, dim), C order, every row of unit length."""

Pixels: TypeAlias = NDArray[np.uint8]
"""(n, height, width, 3), sRGB, prepared by a PixelRecipe."""

Attribute: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Item:
    """What the shop sells: an id, one or more images, attributes.

    *images* are references that the item's catalog can read. *image_attributes* holds, for each image
    in the same order, what belongs to that image alone (a view, a background); it is empty where there is none.
    """

    id: str
    images: tuple[str, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    image_attributes: tuple[Mapping[str, Attribute], ...] = ()


class Catalog(Protocol):
    """A shop's items and the bytes of their images."""

    @property
    def location(self) -> str:
        """The path that was given, absolute."""
        ...

    @property
    def root(self) -> str:
        """The folder that image references are relative to, absolute."""
        ...

    def __iter__(self) -> Iterator[Item]:
        """Yield each item once, ids unique, in the order of the catalog."""
        ...

    def read(self, reference: str) -> bytes:
        """Return the bytes of an image; raises ImageError: missing, unreadable or empty."""
        ...

    def signature(self, reference: str) -> str | None:
        """Return a cheap token that changes when the image's bytes may have, or None where there is none."""
        ...


@dataclass(frozen=True, slots=True)
class PixelRecipe:
    """How an image becomes the pixels that an encoder was trained on.

    *size* is (height, width) of the result. *fit*: "crop" scales the shorter side to *resize* and cuts the center,
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
        """Return one unit vector an image, or a row of zeros for an image without a direction."""
        ...


class Row(NamedTuple):
    """One image of one item, as the store holds it; *digest* is the SHA-256 of its bytes, in hexadecimal."""

    id: str
    image: str
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
        """Return, for each position, at most *limit* of its rows, ordered by id, then by image."""
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
class TermScore:
    """The score of a match for one term of a query.

    *kind* is "item", "interest" (an item that stands for a part of a shopper's history), "image", "text", or "negative"
    for an item to move away from. *query* is its id, name or words. *image* is the image of the query item to which the
    image of the match is nearest, and *score* is the cosine of these two.
    """

    kind: str
    query: str
    weight: float
    score: float
    image: str | None = None


@dataclass(frozen=True, slots=True)
class RuleEffect:
    """What a rule did to a match: *score_delta* was added for the ranking (a bury has less than 0), or it was put at
    *position*, counted from 1.
    """

    rule: str
    score_delta: float | None = None
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why an item is in an answer, and why at its place.

    *terms* has a score for each term of the query. *shared* holds the attributes that the item has in common with a
    query item. *effects* are those of the rules. *relaxed* has the names of the rules that the item breaks because too
    few items keep them. What the query did not need to find out is empty.
    """

    terms: tuple[TermScore, ...] = ()
    shared: Mapping[str, Attribute] = field(default_factory=dict)
    effects: tuple[RuleEffect, ...] = ()
    relaxed: tuple[str, ...] = ()


class Match(NamedTuple):
    """One answer: an image of an item, and its score: its cosine with the query (-1 to 1), where that is one vector.

    *digest* is that of the image's bytes. *attributes* are filled in by the Recommender, and so is *explanation* where the
    query or the rules need one.
    """

    id: str
    score: float
    image: str
    digest: str = ""
    attributes: Mapping[str, Attribute] = MappingProxyType({})
    explanation: Explanation | None = None


class VectorIndex(Protocol):
    """A searchable projection of one store generation."""

    @property
    def source(self) -> tuple[str, int]:
        """The space and the generation that were indexed."""
        ...

    def search(self, vectors: Vectors, k: int, *, within: Subset | None = None) -> list[list[Match]]:
        """Return up to *k* images for each row of *vectors* (n, dim), best first; only such as are *within*.

        Result i belongs to query i; scores descend, equal scores are ordered by id, then image. Never padding,
        never NaN. The arguments are not modified. Safe to call from several threads. Raises ValueError for k < 1 or
        another dim, ZeroVector for a query without a direction.
        """
        ...
