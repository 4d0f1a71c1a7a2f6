"""`words:title,brand`: the words of an item as a part beside the encoders that look at its images.

The part has no pixels: each vector of an image gets the words of the item that shows it, and an item without an image
has a vector of its words alone. The text is that of the attributes that the name lists. It becomes a vector by hashing:
every word adds 1 or -1 to one of 512 numbers (Weinberger et al., 2009), so that nothing is learned, fetched or counted,
and the same text has the same vector in every shop. `words:title:clip` lets the text tower of `clip` read it instead.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Final
from urllib.parse import quote, unquote

import numpy as np
from numpy.typing import NDArray

from vision_recs.encoders import names
from vision_recs.encoders.text import TextEncoder, load_text_encoder
from vision_recs.errors import EncoderError, UnknownEncoder
from vision_recs.store.projections import Part
from vision_recs.types import Attribute, EncoderSpec, Pixels, PreprocessConfig, Vectors
from vision_recs.vectors import normalize_rows

PREFIX: Final = "words:"
_DIM: Final = 512
_NO_PIXELS: Final = PreprocessConfig((0, 0), "stretch", 0, "bilinear", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
_HALF: Final = 16
"""The bytes of a digest that say which image it is; the others say which words."""


class WordsEncoder:
    """The part as an Encoder of images, of which it knows nothing: its rows are zero."""

    device, runtime, batch_size = "cpu", "numpy", 32

    def __init__(self, spec: EncoderSpec) -> None:
        """Return rows for *spec*."""
        self.spec = spec
        self.reference_canary = np.zeros(spec.dim, np.float32)

    def encode(self, pixels: Pixels) -> Vectors:
        """Return a row of zeros for each of *pixels*, of which an image has none."""
        return np.zeros((len(pixels), self.spec.dim), np.float32)


def load(name: str) -> WordsEncoder:
    """Return the part with the full *name*."""
    return WordsEncoder(load_text(name).spec)


def load_text(name: str) -> TextEncoder:
    """Return what turns words into the vectors of the part with the full *name*."""
    _, tower = _parsed(name)
    if not tower:
        return TextEncoder(_spec(name, "hashed", _DIM), _hashed)
    reader = load_text_encoder(tower)
    return TextEncoder(_spec(name, reader.spec.fingerprint, reader.spec.dim), reader.encode_text)


def _spec(name: str, read_by: str, dim: int) -> EncoderSpec:
    return EncoderSpec(name, hashlib.sha256(read_by.encode()).hexdigest(), dim, _NO_PIXELS, "words")


def _hashed(texts: Sequence[str]) -> NDArray[np.float32]:
    rows = np.zeros((len(texts), _DIM), np.float32)
    for row, text in zip(rows, texts, strict=True):
        for word in re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()):
            key = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
            row[(key >> 1) % _DIM] += 1.0 if key & 1 else -1.0
    return normalize_rows(rows)[0]


def full_name(rest: str, canonical_name: names.FullName) -> str:
    """Return the full name of `words:REST`: the names of attributes, then, after a colon, that of a text tower.

    In the names, what stands for something in the name of an encoder is written as in an address: %2B for +. Raises
    UnknownEncoder.
    """
    fields, tower = _parsed(PREFIX + rest)
    if not all(fields):
        raise UnknownEncoder(f"{PREFIX}{rest} has an empty name; list attributes, as {PREFIX}title,brand")
    of = f":{canonical_name(tower)}" if tower else ""
    return PREFIX + ",".join(quote(field, safe=" ") for field in fields) + of


def _parsed(name: str) -> tuple[tuple[str, ...], str]:
    """Return the attributes that the part *name* reads, and the encoder whose text tower reads them, or nothing."""
    fields, _, tower = name.removeprefix(PREFIX).partition(":")
    return tuple(unquote(field).strip() for field in fields.split(",")), tower


def words_of(encoder: str) -> Words | None:
    """Return what puts words into the vectors of the encoder with the full name *encoder*; None where it reads none."""
    last = encoder.rpartition(names.AND)[2]
    return Words(encoder) if last.startswith(PREFIX) and last != encoder else None


class Words:
    """Puts the words of items into the vectors of a composite encoder, of which they are the last columns.

    A vector is that of the image times the square root of the weight of its parts, beside that of the words times the
    square root of theirs, of unit length: the cosine of two of them is the weighted mean of the two cosines. Where an
    item has no image, or no words, that part is zero, and the other one has unit length.
    """

    def __init__(self, encoder: str) -> None:
        """Take the composite *encoder* by its full name; the text tower is loaded when it is needed."""
        *others, own = names.split(encoder)
        self._own = own.name
        self.share = own.weight / (own.weight + sum(part.weight for part in others))
        self.fields, _ = _parsed(own.name)

    @cached_property
    def _reader(self) -> TextEncoder:
        return load_text(self._own)

    @property
    def dim(self) -> int:
        """How many columns the words have."""
        return self._reader.spec.dim

    def text_of(self, attributes: str | Mapping[str, Attribute]) -> str:
        """Return the words of an item with *attributes*, which may be JSON text: the values that are read."""
        known: Mapping[str, Attribute] = json.loads(attributes) if isinstance(attributes, str) else attributes
        return ", ".join(str(known[field]) for field in self.fields if known.get(field) not in {None, ""})

    def joined(self, vectors: Vectors, texts: Sequence[str]) -> Vectors:
        """Return *vectors* (n, dim of the encoder) with the words *texts*, in place of those that they have.

        A vector whose part of the image is zero is that of its words alone; a row is zero where both are.
        """
        images = normalize_rows(vectors[:, : -self.dim])[0]
        words = self._reader.encode_text(texts)
        rows = [np.sqrt(1.0 - self.share) * images, np.sqrt(self.share) * words]
        return normalize_rows(np.concatenate(rows, axis=1).astype(np.float32))[0]

    def left_out(self, vectors: Vectors) -> Vectors:
        """Return *vectors* without words, as queries of images: of unit length, or zero where there is no image."""
        found = vectors.copy()
        found[:, -self.dim :] = 0.0
        return normalize_rows(found)[0]

    def not_known(self, vectors: Vectors) -> NDArray[np.float32]:
        """Return *vectors* of images alone as a projection takes them: NaN in the place of words."""
        found: NDArray[np.float32] = (np.sqrt(1.0 - self.share) * vectors).astype(np.float32)
        found[:, -self.dim :] = np.nan
        return found

    def parts(self, dim: int) -> tuple[Part, Part]:
        """Return the parts of vectors with *dim* columns, images and words: an item may lack one of them."""
        own = self.dim
        return Part(dim - own, float(np.sqrt(1.0 - self.share))), Part(own, float(np.sqrt(self.share)))

    def scales(self, dim: int, share: float) -> NDArray[np.float32]:
        """Return the numbers (dim,) by which a vector is multiplied so that its words count *share* of a score."""
        image = float(np.sqrt((1.0 - share) / (1.0 - self.share)))
        found: NDArray[np.float32] = np.full(dim, image, np.float32)
        found[-self.dim :] = np.sqrt(share / self.share)
        return found


def digest_with(image: bytes, text: str) -> bytes:
    """Return the digest (32 bytes) of an image that is shown with the words *text*.

    It begins with 16 bytes of *image*, the digest of the bytes of the image, also where that has other words. That of
    an item without an image, for which *image* is empty, is that of its words.
    """
    words = hashlib.sha256(text.encode(errors="surrogatepass")).digest()
    return image[:_HALF] + words[:_HALF] if image else words


def image_of(digest: str) -> str:
    """Return the part of a *digest* of `digest_with`, in hexadecimal, that is the same for all words of an image."""
    return digest[: 2 * _HALF]


def refuse_alone(name: str) -> None:
    """Raise EncoderError where the encoder with the full *name* reads words only."""
    if name.startswith(PREFIX) and names.AND not in name:
        raise EncoderError(f"{name} looks at no image; put it beside an encoder, as efficientnet-lite0+{name}@0.4")
