"""`activations:NAME`: the encoder NAME looks at the whole image, then at the part of it that it responds to.

No other model is needed, and nothing is cut out by hand: where the last maps of the network are high, there is what it
knows. The part is a square whose middle and size are the mean and the spread of the activations, so that a small change
of an image moves it a little. Both looks are one network, which any runtime can run; its pixels have twice the size, so
that the part is seen sharply.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from vision_recs._torch import Tensor, functional, nn, torch
from vision_recs.encoders.backbone import ImageBackbone
from vision_recs.encoders.gem import with_maps
from vision_recs.encoders.registry import FOCUSED

_TIMES: Final = 2
"""How many times larger the pixels are than those of one look."""

_REACH: Final = 2.2
"""How far the part reaches to each side, in standard deviations: of a uniform patch 1.73 are the edge."""

_EVEN: Final = 0.01
"""What every place counts, as a share of the mean activation."""

_SMALLEST: Final = 0.35
"""The least side of the part, as a share of the image's: below it there is only texture."""


class Focused(nn.Module):
    """The sum of the unit features of the whole image and of the part that the network responds to."""

    def __init__(self, module: nn.Module) -> None:
        """Look with *module*, which has `forward_features`, as those of timm do."""
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> Tensor:
        """Return the features of *images* (n, 3, 2 * height, 2 * width), then the place of the part: (n, dim + 3)."""
        whole = functional.avg_pool2d(images, _TIMES)
        maps: Tensor = self.module.forward_features(whole)  # type: ignore[operator] # a method that timm gives
        middle, reach = region(maps)
        part = cut(images, middle, reach, (whole.shape[-2], whole.shape[-1]))
        features: Tensor = self.module.forward_head(maps, pre_logits=True)  # type: ignore[operator]
        both = functional.normalize(features, dim=1) + functional.normalize(self.module(part), dim=1)
        return torch.cat([both, middle, reach], dim=1)


def region(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Return the middle (n, 2), x before y, and the reach (n, 1) to each side of what *maps* (n, c, h, w) respond to.

    Both are in units in which the image reaches from -1 to 1.
    """
    heat = maps.clamp(min=0).mean(dim=1)
    mean = heat.mean(dim=(1, 2), keepdim=True)
    heat = (heat - mean).clamp(min=0) + _EVEN * mean + 1e-6  # where nothing stands out, all of the image counts
    shares = heat / heat.sum(dim=(1, 2), keepdim=True)
    height, width = maps.shape[-2:]
    xs = (torch.arange(width, device=maps.device, dtype=maps.dtype) * 2 + 1) / width - 1
    ys = (torch.arange(height, device=maps.device, dtype=maps.dtype) * 2 + 1) / height - 1
    across, down = shares.sum(dim=1), shares.sum(dim=2)
    middle = torch.stack([(across * xs).sum(dim=1), (down * ys).sum(dim=1)], dim=1)
    spread = torch.stack(
        [
            (across * (xs - middle[:, :1]) ** 2).sum(dim=1) + (1 / width) ** 2,
            (down * (ys - middle[:, 1:]) ** 2).sum(dim=1) + (1 / height) ** 2,
        ],
        dim=1,
    ).sqrt()
    reach = (_REACH * spread.amax(dim=1, keepdim=True)).clamp(min=_SMALLEST, max=1.0)
    limit = 1.0 - reach
    return torch.minimum(torch.maximum(middle, -limit), limit), reach


def cut(images: Tensor, middle: Tensor, reach: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the part of *images* around *middle* (n, 2) that reaches *reach* (n, 1) to each side, at *size*."""
    height, width = size
    xs = (torch.arange(width, device=images.device, dtype=images.dtype) * 2 + 1) / width - 1
    ys = (torch.arange(height, device=images.device, dtype=images.dtype) * 2 + 1) / height - 1
    across = (middle[:, :1] + reach * xs)[:, None, :].expand(-1, height, -1)
    down = (middle[:, 1:] + reach * ys)[:, :, None].expand(-1, -1, width)
    grid = torch.stack([across, down], dim=3)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def load(name: str, file: Path | None) -> ImageBackbone:
    """Return the backbone of `activations:NAME`; raises EncoderError where NAME is no network of convolutions."""
    inner = with_maps(name.removeprefix(FOCUSED), file)
    height, width = inner.preprocess.size
    red, green, blue = inner.preprocess.mean
    preprocess = replace(
        inner.preprocess,
        size=(_TIMES * height, _TIMES * width),
        resize_mode="pad",
        resize=_TIMES * height,
        background=(round(255 * red), round(255 * green), round(255 * blue)),
    )
    pooling = f"{inner.pooling}, whole and activated part"
    return ImageBackbone(Focused(inner.module).eval(), preprocess, pooling, regions=1)
