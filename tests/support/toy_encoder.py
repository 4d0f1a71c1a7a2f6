"""A family of encoders from outside the package: this file and one row, which `register_family` adds."""

from contextlib import contextmanager
from unittest import mock

import torch
from torch import nn

from vision_recs.encoders import EncoderFamily, NamedEncoder, register_family, registry
from vision_recs.encoders.backbone import ImageBackbone, TextTower
from vision_recs.types import PreprocessConfig

WORDS = ("red", "green", "blue")


class MeanColors(nn.Module):
    """The mean color of each cell of a grid, mixed by a matrix that is the same for every cell."""

    def __init__(self, side):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(side)
        self.mix = nn.Conv2d(3, 4, 1)
        with torch.no_grad():
            self.mix.weight.copy_(torch.eye(4, 3)[..., None, None])
            self.mix.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 0.1]))

    def forward(self, images):
        return self.mix(self.pool(images)).flatten(1)


def load(name, weights):
    backbone = MeanColors(int(name.removeprefix("toy:")))
    if weights is not None:
        backbone.load_state_dict(torch.load(weights, weights_only=True))
    config = PreprocessConfig((32, 32), "stretch", 32, "bilinear", (0.5,) * 3, (0.5,) * 3)
    return ImageBackbone(backbone.eval(), config, pooling="grid")


def load_text(name, weights):
    image = load(name, weights)

    def features(texts):
        colors = torch.tensor([[1.0 if word in text else -1.0 for word in WORDS] for text in texts])
        return image.module(colors[..., None, None].expand(-1, -1, 32, 32))

    return TextTower(image, features)


FAMILY = EncoderFamily(
    name="toy",
    adapter=f"{__name__}:load",
    text_adapter=f"{__name__}:load_text",
    library="numpy",
    resolve=lambda rest: f"toy:{int(rest)}",
    encoders=(
        NamedEncoder(
            name="toy",
            canonical="toy:4",
            description="Mean colors",
            dim=64,
            image_size=32,
            parameters=0.0,
            license="Apache-2.0",
            weights=f"package:{__name__}",
        ),
    ),
)


@contextmanager
def registered():
    """The family is in the table, and no longer than that."""
    with mock.patch.dict(registry._FAMILIES):
        register_family(FAMILY)
        yield
