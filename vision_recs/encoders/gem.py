"""`gem:NAME`: the encoder NAME with the generalized mean (Radenovic et al., 2018) in the place of the average.

What a network answers strongly in one place counts more than what it answers weakly everywhere. The mean of the cubes
is raised to 1/2 and not to 1/3, so that strong channels count more than weak ones, too. It costs nothing; how much it
brings is in benchmarks/quality.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from vision_recs._torch import Tensor, nn, torch
from vision_recs.encoders.backbone import ImageBackbone
from vision_recs.encoders.loading import load_backbone
from vision_recs.errors import EncoderError

PREFIX: Final = "gem:"

_MAPS: Final = 4
"""Dimensions of the maps of a network of convolutions: images, channels, rows, columns."""


class Gem(nn.Module):
    """The root of the mean cube of each map of a network."""

    def __init__(self, module: nn.Module) -> None:
        """Pool the maps of *module*, which `forward_features` returns, as those of timm do."""
        super().__init__()
        self.module = module

    def forward_features(self, images: Tensor) -> Tensor:
        """Return the maps (n, channels, rows, columns) of *images* (n, 3, height, width)."""
        module: Any = self.module
        maps: Tensor = module.forward_features(images)
        return maps

    def forward_head(self, maps: Tensor, *, pre_logits: bool = True) -> Tensor:  # noqa: ARG002 - as timm calls it
        """Return the features (n, channels) of *maps*."""
        return maps.clamp(min=0).pow(3).mean(dim=(2, 3)).sqrt()

    def forward(self, images: Tensor) -> Tensor:
        """Return the features (n, channels) of *images* (n, 3, height, width)."""
        return self.forward_head(self.forward_features(images))


def load(name: str, file: Path | None) -> ImageBackbone:
    """Return the backbone of `gem:NAME`; raises EncoderError where NAME is no network of convolutions."""
    inner = with_maps(name.removeprefix(PREFIX), file)
    return ImageBackbone(Gem(inner.module).eval(), inner.preprocess, pooling="root of the mean cube")


def with_maps(name: str, file: Path | None) -> ImageBackbone:
    """Return the backbone of *name*, whose last maps have places; raises EncoderError for another one."""
    inner = load_backbone(name, file)
    module: Any = inner.module
    if hasattr(module, "forward_features"):
        with torch.inference_mode():
            maps = module.forward_features(torch.zeros(1, 3, *inner.preprocess.size))
        if isinstance(maps, Tensor) and maps.ndim == _MAPS:
            return inner
    raise EncoderError(f"{name} has no maps that say where; name a network of convolutions, as efficientnet-lite0")
