"""The types that all layers share, and the protocols by which the layers meet.

Item, ImageSource, Catalog                  what a shop sells, and where its images are read from
PreprocessConfig, EncoderSpec, Encoder      from images to vectors; CompositePreprocess for several encoders
VectorReader, VectorSource, FilteredSource  what an index is built from and searched with
SearchRequest, VectorIndex                  a search, and what answers it
ItemSource                                  what queries are answered from
Match, Explanation                          an answer, and why it is one
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # a query without a filter imports no filters
    from pathlib import Path

    from vision_recs.filters import AttributeType, Filter

_HALF_CHARACTER = re.compile("[\ud800-\udfff]")

Vectors: TypeAlias = NDArray[np.float32]
"""(n, dim), C order, every row of unit length."""

Pixels: TypeAlias = NDArray[np.uint8]
"""(n, height, width, 3), sRGB, preprocessed as a PreprocessConfig says."""

Attribute: TypeAlias = str | int | float | bool | None
"""The value of an attribute; None stands for null."""


def normal_form(text: str) -> str:
    """Return *text* in the normal form NFC of Unicode, in which ids and values are kept and compared."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def is_unicode(text: str) -> bool:
    """Return whether *text* is of characters alone: an escape sequence of JSON may be half a surrogate pair."""
    return text.isascii() or _HALF_CHARACTER.search(text) is None


@dataclass(frozen=True, slots=True)
class Item:
    """An item of a catalog: an id, one or more images, and attributes.

    *images* are references that the image source of the catalog can read. *image_attributes* has, for each image in the
    same order, the attributes of that image alone, such as a view or a background; it is empty where no image has any.
    """

    id: str
    images: tuple[str, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    image_attributes: tuple[Mapping[str, Attribute], ...] = ()


class ImageData(NamedTuple):
    """The bytes of an image file, and its signature: a token that changes whenever the bytes may have changed.

    *signature* is None where the source has no such token, so that the image is read each time.
    """

    data: bytes
    signature: str | None = None


class Unchanged:
    """What `ImageSource.read` returns in place of an image whose signature is known already."""


class ImageSource(Protocol):
    """Reads images by their references: from files, from a service, from memory."""

    def read(self, reference: str, *, known: str | None = None) -> ImageData | Unchanged:
        """Return the image *reference*, or Unchanged if its signature is still *known*.

        Without *known* the image is always returned. Raises ImageError, with one of the codes in `errors.REASONS`, for
        an image that cannot be had. Several threads may call this at once.
        """
        ...


@runtime_checkable
class BulkImageSource(ImageSource, Protocol):
    """An `ImageSource` that can say for many images at a time whether they may have changed."""

    def signatures(self, references: Sequence[str]) -> list[str | None]:
        """Return the signature that `read` would return with each of *references*; None where there is none."""
        ...


class Catalog(Protocol):
    """A shop's items, and the source of their images."""

    @property
    def location(self) -> str:
        """The path that was given, absolute."""
        ...

    @property
    def root(self) -> str:
        """The folder that image references are relative to, absolute; empty where the images do not lie in files."""
        ...

    @property
    def images(self) -> ImageSource:
        """What reads the images of the items."""
        ...

    def __iter__(self) -> Iterator[Item]:
        """Yield each item once, ids unique, in the order of the catalog."""
        ...


ResizeMode: TypeAlias = Literal["crop", "stretch", "pad"]


@dataclass(frozen=True, slots=True)
class PreprocessConfig:
    """How an image becomes the pixels that an encoder was trained on.

    *size* is (height, width) of the result. *resize_mode* is "crop": the shorter side is scaled to *resize* and the
    center of *size* is cut out; "stretch": both sides are scaled to *size*; or "pad": the longer side is scaled to
    *size* and the rest is filled with *background*. *mean* and *std* are in units of [0, 1]; the encoder applies them,
    they do not change the pixels.
    """

    size: tuple[int, int]
    resize_mode: ResizeMode
    resize: int
    interpolation: Literal["bilinear", "bicubic"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    background: tuple[int, int, int] = (255, 255, 255)


@dataclass(frozen=True, slots=True)
class CompositePreprocess:
    """How an image becomes the pixels of several encoders: it is decoded once, and each of *parts* prepares it.

    What the parts prepare lies side by side, in their order; parts that prepare the same pixels share them, and a part
    that reads words has none. Below a part of less height the pixels are black.
    """

    parts: tuple[PreprocessConfig, ...]

    @property
    def recipes(self) -> tuple[PreprocessConfig, ...]:
        """What the parts prepare, each once."""
        return tuple(dict.fromkeys(_recipe(part) for part in self.parts if part.size != (0, 0)))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the pixels of all parts together."""
        sizes = [recipe.size for recipe in self.recipes]
        return max(height for height, _ in sizes), sum(width for _, width in sizes)

    def columns(self) -> list[slice]:
        """Return, for each part, the columns in which its pixels lie."""
        places: dict[PreprocessConfig, slice] = {}
        left = 0
        for recipe in self.recipes:
            places[recipe] = slice(left, left + recipe.size[1])
            left += recipe.size[1]
        return [places.get(_recipe(part), slice(0)) for part in self.parts]


def _recipe(config: PreprocessConfig) -> PreprocessConfig:
    """Return *config* without what the encoder applies, which does not change the pixels."""
    return replace(config, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


Preprocess: TypeAlias = PreprocessConfig | CompositePreprocess
"""How an image becomes the pixels of an encoder."""


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """All that decides the vectors of an encoder: two equal specs give one space.

    *weights* is the SHA-256 of the tensors of the image backbone, in hexadecimal; of a composite encoder it is that of
    the fingerprints of its parts and of their weights. *focus* says which detector finds in each catalog image the part
    that the encoder sees, and by which attributes; it is empty without one. What changes only speed (device, runtime,
    precision) is not here.
    """

    name: str
    weights: str
    dim: int
    preprocess: Preprocess
    pooling: str
    focus: str = ""

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that name the space."""
        value = asdict(self)
        if not self.focus:
            del value["focus"]
        text = json.dumps(value, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class Encoder(Protocol):
    """An encoder: from preprocessed pixels to vectors of one space."""

    @property
    def spec(self) -> EncoderSpec:
        """What decides the vectors."""
        ...

    def encode(self, pixels: Pixels) -> Vectors:
        """Return a unit vector for each image of *pixels* (n, dim); a row of zeros for an image without a direction."""
        ...


class Row(NamedTuple):
    """One image of one item: a row of a `VectorSource`; *digest* is the SHA-256 of its bytes, in hexadecimal."""

    id: str
    image: str
    digest: str


class VectorReader(Protocol):
    """Unit vectors by position: what an index is built from."""

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
        """Return the positions of all vectors in use, ascending."""
        ...

    def vectors(self, positions: NDArray[np.int64]) -> Vectors:
        """Return the unit vectors (n, dim) at *positions* (n,), in that order.

        Raises StoreDamaged for a position that the source lacks.
        """
        ...


class PositionSubset(Protocol):
    """Some of the positions of a `VectorReader`."""

    def positions(self) -> NDArray[np.int64]:
        """Return the positions, ascending; not to be written to."""
        ...

    def count(self) -> int:
        """Return how many positions there are."""
        ...

    def mask(self) -> NDArray[np.bool_]:
        """Return, for every position up to the largest of the source, whether it belongs; not to be written to."""
        ...


class FilteredSource(PositionSubset, Protocol):
    """What a filter leaves of a `VectorSource`: fewer positions, and of each only the rows of items that match."""

    def rows(self, positions: Sequence[int], *, limit: int) -> dict[int, list[Row]]:
        """Return, for each position, at most *limit* of its rows, ordered by id, then by image."""
        ...


class VectorSource(VectorReader, Protocol):
    """What an index is searched with: vectors, the rows that show each of them, and the attributes of items.

    A `Store` is one. An index on this machine searches positions: `filtered` turns a filter into those that it leaves,
    and `rows` turns positions into images of items.
    """

    def rows(self, positions: Sequence[int], *, limit: int) -> dict[int, list[Row]]:
        """Return, for each position, at most *limit* of its rows, ordered by id, then by image."""
        ...

    def filtered(self, where: Filter) -> FilteredSource:
        """Return what *where* leaves of the source; raises FilterError where it does not fit the attributes."""
        ...

    def attributes_of(self, items: Sequence[str]) -> Mapping[str, Mapping[str, Attribute]]:
        """Return the attributes of each of *items*, by id; an id that no item has is left out."""
        ...


@dataclass(frozen=True, slots=True)
class TermScore:
    """The score of a match for one term of a query.

    *kind* is "item", "interest" (an item that stands for a part of a shopper's history), "image", "text", or "negative"
    for an item to move away from. *query* is its id, its name or the text. *image* is the image of the query item to
    which the image of the match is nearest, and *score* is the cosine of these two.
    """

    kind: str
    query: str
    weight: float
    score: float
    image: str | None = None


@dataclass(frozen=True, slots=True)
class RuleEffect:
    """What a rule did to a match.

    *score_delta* was added to its score for the ranking; it is below 0 for a bury. Or the match was pinned to
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
    few items keep them. A field that the query and the rules do not need is empty.
    """

    terms: tuple[TermScore, ...] = ()
    shared: Mapping[str, Attribute] = field(default_factory=dict)
    effects: tuple[RuleEffect, ...] = ()
    relaxed: tuple[str, ...] = ()


class Match(NamedTuple):
    """An item that answers a query, by the best of its images.

    *score* is the cosine (-1 to 1) of the image with the query, where the query is one vector. *digest* is the SHA-256
    of the image's bytes, in hexadecimal. The Recommender adds the *attributes* of the item and of the image, and an
    *explanation* where the query or the rules need one.
    """

    id: str
    score: float
    image: str
    digest: str = ""
    attributes: Mapping[str, Attribute] = MappingProxyType({})
    explanation: Explanation | None = None


class ItemImage(NamedTuple):
    """An image of an item; *digest* is the SHA-256 of its bytes, in hexadecimal.

    *attributes* are those that belong to this image alone.
    """

    image: str
    digest: str
    attributes: Mapping[str, Attribute] = MappingProxyType({})


class ItemSource(Protocol):
    """The items of one generation, and the vectors of their images: what queries are answered from.

    A source does not change, and several threads may use it at once. What it returns may be shared: do not modify it.
    Every method raises StoreDamaged where the source cannot be read.
    """

    @property
    def generation(self) -> int:
        """The number of the generation."""
        ...

    @property
    def fingerprint(self) -> str:
        """The name of the space of the vectors: that of the encoder, or of the projection after it."""
        ...

    @property
    def item_count(self) -> int:
        """How many items there are."""
        ...

    @property
    def image_count(self) -> int:
        """How many images the items have together; an image counts once for each item that shows it."""
        ...

    @property
    def encoder(self) -> EncoderSpec:
        """The encoder that made the vectors; images and texts of queries are encoded by the same one."""
        ...

    @property
    def weights_file(self) -> str | None:
        """The path of the encoder's weights, where they are not the published ones."""
        ...

    @property
    def canary(self) -> Vectors:
        """The vector (dim of the encoder,) of the built-in canary image, which the encoder has to reproduce."""
        ...

    def attribute_types(self) -> Mapping[str, AttributeType]:
        """Return the types of the values that the items have for each attribute, by its name."""
        ...

    def ids(self, *, after: str = "", limit: int | None = None) -> list[str]:
        """Return the ids greater than *after*, ascending, the first *limit* of them: one page of all items."""
        ...

    def attributes_of(self, items: Sequence[str]) -> dict[str, Mapping[str, Attribute]]:
        """Return the attributes of each of *items*, by id; an id that no item has is left out."""
        ...

    def images(self, item: str) -> Sequence[ItemImage]:
        """Return the images of *item*, one at least, in the order of the catalog.

        Raises UnknownItem, which names similar ids, where no item has that id.
        """
        ...

    def match_attributes(self, images: Sequence[tuple[str, str]]) -> Sequence[Mapping[str, Attribute] | None]:
        """Return the attributes of each of *images*, which are pairs of an item's id and one of its images.

        They are those of the item and those of the image, which come first. The result is None for a pair that there
        is not.
        """
        ...

    def vectors_of(self, digests: Sequence[str]) -> Vectors:
        """Return the unit vectors (n, dim) of the n images with *digests*, in that order.

        The digests are those of `images`, or of matches for the same generation.
        """
        ...

    def sample_vectors(self, count: int) -> Vectors:
        """Return at most *count* vectors (n, dim), always the same ones, spread evenly over all images."""
        ...

    def project(self, vectors: Vectors) -> Vectors:
        """Return *vectors* (n, dim of the encoder) in the space of the source (n, dim), of unit length.

        They are returned as they are where the source has no projection; a projection takes its mean in the place of
        NaN, which stands for a number that is not known.
        """
        ...


@runtime_checkable
class LearnedSource(Protocol):
    """An `ItemSource` that may have a model that `visrec learn` published; answers of others are never learned ones."""

    @property
    def model_file(self) -> tuple[Path, str] | None:
        """The file of the model, and its SHA-256; None where nothing was learned."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class SearchRequest:
    """A search: up to *k* images for each row of *vectors* (n, dim), which may have any length but 0.

    *where* leaves only images that an item which matches it shows, and only such items. No item in *exclude* is found.
    *group_by* names an attribute: of the images of all items with the same value, only the best one is found; an item
    without the attribute belongs to no group.
    """

    vectors: Vectors
    k: int
    where: Filter | None = None
    exclude: frozenset[str] = frozenset()
    group_by: str | None = None


class VectorIndex(Protocol):
    """An opened index of one store generation."""

    @property
    def source(self) -> tuple[str, int]:
        """The space and the generation that were indexed."""
        ...

    def search(self, request: SearchRequest) -> list[list[Match]]:
        """Return, for each query of *request*, up to `request.k` images, best first.

        Result i belongs to query i. Scores are cosines in steps of 2^-24 (see `vectors.exact_cosine`); they descend,
        and equal scores are ordered by id, then by image. A result is shorter where there are no more images; it is
        never padded, and no score is NaN. The arrays of *request* are not modified. Safe to call from several threads.

        Raises ValueError for k < 1 or another dim, ZeroVector for a query without a direction, and FilterError for a
        filter that does not fit the attributes.
        """
        ...
