"""What the adapter of an encoder family returns, whichever runtime will run it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from vision_recs._torch import Tensor, nn, torch
from vision_recs.encoders.looking import REGION_COLUMNS
from vision_recs.errors import EncoderError
from vision_recs.types import EncoderSpec, PreprocessConfig


@dataclass(frozen=True, slots=True)
class ImageBackbone:
    """A network in float32, on the CPU, in evaluation mode, that maps images to features.

    *module* takes float32 (n, 3, height, width), normalized with the mean and std of *preprocess*, and returns
    (n, dim). *pooling* is a word for how the features of an image become one row. With *regions*, three more columns
    for each of them say where in the pixels the network looked closer, see `looking`.
    """

    module: nn.Module
    preprocess: PreprocessConfig
    pooling: str
    regions: int = 0


@dataclass(frozen=True, slots=True)
class TextTower:
    """A network on the CPU, in float32, that maps texts into the space of the *image* backbone.

    *features* takes n texts and returns (n, dim).
    """

    image: ImageBackbone
    features: Callable[[Sequence[str]], Tensor]


def spec_of(name: str, backbone: ImageBackbone) -> EncoderSpec:
    """Return the spec of *backbone* under its full *name*; runs the network once to learn its dim."""
    return EncoderSpec(
        name=name,
        weights=digest(backbone.module),
        dim=_dim(name, backbone),
        preprocess=backbone.preprocess,
        pooling=backbone.pooling,
    )


def digest(module: nn.Module) -> str:
    """Return the SHA-256 of the tensors of *module* in hexadecimal: name, dtype, shape and bytes, ordered by name.

    It does not depend on the file that the tensors were read from, nor on the step counters of batch normalization,
    which no vector depends on.
    """
    whole = hashlib.sha256()
    for name, tensor in _weights(module):
        whole.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        whole.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return whole.hexdigest()


def is_step_counter(name: str) -> bool:
    """Return whether the tensor *name* counts training steps and takes no part in inference."""
    return name.endswith("num_batches_tracked")


def _weights(module: nn.Module) -> Iterable[tuple[str, Tensor]]:
    return ((name, tensor) for name, tensor in sorted(module.state_dict().items()) if not is_step_counter(name))


def _dim(name: str, backbone: ImageBackbone) -> int:
    with torch.inference_mode():
        features = backbone.module(torch.zeros(1, 3, *backbone.preprocess.size))
    if not isinstance(features, Tensor) or features.ndim != 2:  # noqa: PLR2004 - one row an image
        raise EncoderError(f"{name} does not give one vector an image; choose a model that pools its features")
    return features.shape[1] - REGION_COLUMNS * backbone.regions
