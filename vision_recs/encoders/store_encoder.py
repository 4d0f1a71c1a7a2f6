"""The encoder that belongs to a store, loaded only when something has to be embedded."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vision_recs.encoders.canary import check_canary, embed_canary
from vision_recs.encoders.loading import Precision, load_encoder
from vision_recs.encoders.registry import DEFAULT_ENCODER, FOCUSED, Focus, with_focus
from vision_recs.encoders.text import TextEncoder, load_text_encoder
from vision_recs.encoders.words import refuse_alone
from vision_recs.errors import EncoderError, SpaceMismatch
from vision_recs.store import Manifest
from vision_recs.types import Encoder, EncoderSpec, Vectors

if TYPE_CHECKING:  # which imports transformers
    from vision_recs.encoders.grounding import Detector, ProductFinder


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How an encoder is loaded, as for `load_encoder`; *focus* says where it looks, in place of its name.

    For "grounding", *detector* is where the detector is, see `load_detector`, and *attributes* are those whose words it
    is asked for: the first of them that an item has.
    """

    weights: Path | None = None
    device: str = "auto"
    precision: Precision = "auto"
    threads: int | None = None
    focus: Focus | None = None
    detector: str | None = None
    attributes: tuple[str, ...] = ()

    def load(self, name: str) -> Encoder:
        """Return the encoder called *name*."""
        return load_encoder(
            name, weights=self.weights, device=self.device, precision=self.precision, threads=self.threads
        )


class StoreEncoder:
    """The encoder of a store: its spec, and the encoder itself once it is needed, compared by its canary."""

    def __init__(
        self, spec: EncoderSpec, options: LoadOptions, encoder: Encoder | None = None, *, is_own: bool = False
    ) -> None:
        """Hold *spec*, and *encoder* if it is loaded already; see `choose_store_encoder`.

        One that *is_own* is an object of the caller, and cannot be loaded by its name.
        """
        self.spec = spec
        self._is_own = is_own
        self._options = options
        self._encoder = encoder
        self._text_encoder: TextEncoder | None = None
        self._detector: Detector | None = None
        self._expected: Vectors | None = None
        self._is_checked = False
        self._is_loaded_here = False
        self._process = os.getpid()
        self._left_behind: object = None  # in a forked process: its end would wait for threads that are not there

    @property
    def weights(self) -> Path | None:
        """The checkpoint that the user named, if any."""
        return self._options.weights

    @property
    def runtime(self) -> str:
        """What computes the vectors, or "not needed" where none was computed."""
        return "not needed" if self._encoder is None else getattr(self._encoder, "runtime", "your own")

    @property
    def fallback(self) -> str | None:
        """Why a slower runtime takes the place of the one that was meant, or None where it does not."""
        return getattr(self._encoder, "fallback", None)

    @property
    def batch_size(self) -> int:
        """How many images the encoder is best given at a time, as far as that is known before it is loaded."""
        return getattr(self._encoder, "batch_size", 32)

    @property
    def detector(self) -> str | None:
        """Where the detector is that finds the products in the images of the catalog, if one does."""
        return self._options.detector if self.spec.focus else None

    @property
    def looks_closer(self) -> bool:
        """Whether the encoder chooses itself parts of the pixels at which it looks closer."""
        return FOCUSED in self.spec.name

    def product_finder(self) -> ProductFinder | None:
        """Return what finds the products in the images of the catalog; None where the encoder sees whole images.

        Raises EncoderError, and SpaceMismatch where the detector is another one than that of the store.
        """
        if not self.spec.focus:
            return None
        from vision_recs.encoders.grounding import ProductFinder, load_detector

        if self._detector is None:
            if self._options.detector is None:
                raise EncoderError("the store does not say where its detector is; name it with --detector")
            self._detector = load_detector(self._options.detector, device=_device_of_detector(self._options.device))
        finder = ProductFinder(self._detector, attributes_in(self.spec.focus))
        if finder.description != self.spec.focus:
            raise SpaceMismatch(
                f"{self._options.detector} is another detector than that of the store; name the right one with "
                "--detector, or run `visrec index CATALOG --focus grounding`"
            )
        return finder

    def use_detector(self, detector: Detector) -> None:
        """Use *detector*, which is loaded already."""
        self._detector = detector

    def expect_canary(self, vector: Vectors) -> None:
        """Have the encoder, once it is loaded, compared with *vector*, the canary of the store."""
        self._expected, self._is_checked = vector, False

    @property
    def identity(self) -> str | None:
        """What names the encoder, how it is loaded and its canary; None for an object of the caller's own."""
        canary = None if self._expected is None else self._expected.tobytes()
        return None if self._is_own else repr((self.spec.fingerprint, self._options, canary))

    def for_workers(self) -> StoreEncoder:
        """Return what is sent to the workers of a cluster: each loads the encoder, and has to give the same canary."""
        encoder = self._encoder if self._is_own else None
        sent = StoreEncoder(self.spec, self._options, encoder, is_own=self._is_own)
        sent.expect_canary(self.canary())
        return sent

    def with_resources(self, *, device: str | None = None, threads: int | None = None) -> StoreEncoder:
        """Return the same encoder, not loaded yet, to compute on *device* with so many *threads*."""
        options = replace(self._options, device=device or self._options.device, threads=threads)
        other = StoreEncoder(self.spec, options, self._encoder if self._is_own else None, is_own=self._is_own)
        if self._expected is not None:
            other.expect_canary(self._expected)
        return other

    def canary(self) -> Vectors:
        """Return the canary of the store where one is expected, else that of the encoder."""
        return embed_canary(self.image_encoder()) if self._expected is None else self._expected

    def image_encoder(self) -> Encoder:
        """Return the encoder; raises SpaceMismatch where it is not the one that made the vectors of the store.

        Without a canary of the store, as for a new one, a converted model is compared with what PyTorch computes.
        """
        self._notice_fork()
        if self._encoder is None:
            loaded = self._options.load(self.spec.name)
            if loaded.spec != replace(self.spec, focus=""):
                raise _mismatch(self.spec, loaded.spec)
            self._encoder, self._is_loaded_here = loaded, True
        if not self._is_checked:
            self._check_canary(self._encoder)
            self._is_checked = True
        return self._encoder

    def _notice_fork(self) -> None:
        """In a forked process, load again what was loaded by name: the threads that compute are in the old one only."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self._left_behind = self._encoder, self._text_encoder
            self._text_encoder = None
            if self._is_loaded_here:
                self._encoder = None

    def _check_canary(self, encoder: Encoder) -> None:
        reference: Vectors | None = getattr(encoder, "reference_canary", None)
        if self._expected is not None:
            check_canary(encoder, self._expected, of="the store")
        elif reference is not None:
            check_canary(encoder, reference, of="PyTorch")

    def text_encoder(self) -> TextEncoder:
        """Return what puts texts into the space of the store.

        Raises NoTextTower where the encoder takes images only, SpaceMismatch where the image backbone that belongs to
        the text tower is not the one that made the vectors of the store.
        """
        self._notice_fork()
        if self._text_encoder is None:
            loaded = load_text_encoder(self.spec.name, weights=self._options.weights)
            if loaded.spec != replace(self.spec, focus=""):
                raise _mismatch(self.spec, loaded.spec)
            self._text_encoder = loaded
        return self._text_encoder


def choose_store_encoder(encoder: str | Encoder | None, options: LoadOptions, base: Manifest | None) -> StoreEncoder:
    """Return the encoder that the caller names; without a name that of *base*, without *base* the default."""
    focus = _focus(encoder, options, base)
    if focus is not None:
        if encoder is not None and not isinstance(encoder, str):
            raise EncoderError(f"an encoder of your own looks where it does; leave out focus={focus!r}")
        encoder = with_focus(encoder or (base.encoder.name if base else DEFAULT_ENCODER), focus)
        if focus == "grounding":
            return _grounded(encoder, options, base)
    if encoder is not None and not isinstance(encoder, str):
        return StoreEncoder(encoder.spec, replace(options, weights=None), encoder, is_own=True)
    if encoder is None and options.weights is None and base is not None:
        file = Path(base.weights_file) if base.weights_file else None
        return StoreEncoder(base.encoder, replace(options, weights=file, detector=options.detector or base.detector))
    loaded = options.load(encoder or (base.encoder.name if base else DEFAULT_ENCODER))
    refuse_alone(loaded.spec.name)
    return StoreEncoder(loaded.spec, options, loaded)


def _focus(encoder: str | Encoder | None, options: LoadOptions, base: Manifest | None) -> Focus | None:
    """Return where the encoder looks: as *options* say, else at what the detector of *base* finds, if it has one.

    None means as the name of the encoder says. Raises EncoderError for options of a detector where there is none.
    """
    is_grounded = base is not None and base.encoder.focus != ""
    focus = options.focus
    names_none = isinstance(encoder, str) and FOCUSED not in encoder
    if focus is None and is_grounded and (names_none or options.weights or options.attributes):
        focus = "grounding"
    if (options.detector or options.attributes) and not (focus == "grounding" or (focus is None and is_grounded)):
        name = "--detector" if options.detector else "--focus-attribute"
        raise EncoderError(f"{name} is for --focus grounding; add that, or leave out {name}")
    return focus


def _grounded(name: str, options: LoadOptions, base: Manifest | None) -> StoreEncoder:
    """Return the encoder *name*, which sees the part of an image that a detector finds."""
    from vision_recs.encoders.grounding import ATTRIBUTES, ProductFinder, load_detector

    place = options.detector or (base.detector if base else None)
    if place is None:
        raise EncoderError(
            "--focus grounding needs a detector; name its folder or repository with --detector, as "
            "IDEA-Research/grounding-dino-tiny"
        )
    known = attributes_in(base.encoder.focus) if base is not None and base.encoder.focus else ATTRIBUTES
    detector = load_detector(place, device=_device_of_detector(options.device))
    finder = ProductFinder(detector, options.attributes or known)
    loaded = options.load(name)
    refuse_alone(loaded.spec.name)
    chosen = StoreEncoder(replace(loaded.spec, focus=finder.description), replace(options, detector=place), loaded)
    chosen.use_detector(detector)
    return chosen


def attributes_in(focus: str) -> tuple[str, ...]:
    """Return the attributes whose words a detector is asked for, by the *focus* of a spec."""
    return tuple(json.loads(focus)["attributes"])


def _device_of_detector(device: str) -> str:
    """Return the one device on which the detector computes: the first of *device*, or the CPU."""
    first = device.split(",", maxsplit=1)[0]
    if first != "auto":
        return first
    from vision_recs._torch import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _mismatch(wanted: EncoderSpec, found: EncoderSpec) -> SpaceMismatch:
    return SpaceMismatch(
        f"the store holds vectors of {wanted.name} [{wanted.fingerprint}], the weights on this machine give "
        f"{found.name} [{found.fingerprint}]; name the right ones with --weights, or rebuild with "
        f"`visrec index CATALOG --encoder {found.name}`"
    )
