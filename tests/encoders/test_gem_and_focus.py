"""Other poolings and looks of the same network: `gem:NAME` and `activations:NAME`."""

import numpy as np
import pytest
import torch
from torch import nn

from vision_recs.encoders import canonical_name, load_encoder, with_focus
from vision_recs.encoders.composite import CompositeEncoder
from vision_recs.encoders.focus import Focused, cut, region
from vision_recs.encoders.gem import Gem
from vision_recs.encoders.loading import load_backbone
from vision_recs.encoders.looking import look
from vision_recs.encoders.store_encoder import LoadOptions, choose_store_encoder
from vision_recs.errors import EncoderError


class Brightness(nn.Module):
    """Maps of 8 x 8 cells: how bright each channel is in each cell."""

    def forward_features(self, images):
        return nn.functional.adaptive_avg_pool2d(images, 8)

    def forward_head(self, maps, *, pre_logits=True):
        assert pre_logits
        return maps.mean(dim=(2, 3))

    def forward(self, images):
        return self.forward_head(self.forward_features(images))


def spot(left, top, side, size=64):
    images = torch.zeros(1, 3, size, size)
    images[:, :, top : top + side, left : left + side] = torch.tensor([1.0, 0.5, 0.25])[:, None, None]
    return images


def test_gem_is_the_root_of_the_mean_cube():
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) - 0.3
    maps = Brightness().forward_features(images).clamp(min=0).numpy().astype(np.float64)
    wanted = np.sqrt((maps**3).mean(axis=(2, 3)))
    np.testing.assert_allclose(Gem(Brightness())(images).numpy(), wanted, rtol=1e-5)


@pytest.mark.parametrize(("left", "top"), [(0, 0), (40, 8), (24, 24), (8, 40)])
def test_the_region_is_around_what_responds(left, top):
    middle, reach = region(Brightness().forward_features(spot(left, top, 16)))
    x, y = middle[0].tolist()
    half = float(reach[0])
    assert 0.35 <= half < 0.7
    for low, value in ((left, x), (top, y)):
        first, last = (value - half + 1) * 32, (value + half + 1) * 32  # in pixels
        assert -0.01 <= first <= low + 0.01
        assert low + 15.99 <= last <= 64.01


def test_an_even_image_is_seen_whole():
    middle, reach = region(torch.ones(1, 4, 8, 8))
    assert middle.tolist() == [[0, 0]]
    assert float(reach) == 1


def test_a_cut_is_the_part_scaled():
    images = torch.arange(64.0 * 64).view(1, 1, 64, 64).expand(-1, 3, -1, -1)
    found = cut(images, torch.tensor([[0.5, -0.5]]), torch.tensor([[0.5]]), (32, 32))
    torch.testing.assert_close(found, images[:, :, :32, 32:])
    whole = cut(images, torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0]]), (64, 64))
    torch.testing.assert_close(whole, images)


def test_what_is_around_an_object_counts_less():
    plain, focused = Brightness(), Focused(Brightness())
    alone, other = spot(48, 48, 32, 128), spot(48, 48, 32, 128)
    other[:, 2, 112:] = 0.2  # a stripe of another color at the edge

    def cosine(module):
        one, two = (nn.functional.normalize(module(images), dim=1) for images in (alone, other))
        return float((one * two).sum())

    assert cosine(focused) > cosine(plain) + 0.001


@pytest.fixture(scope="module")
def test_resnet_file(tmp_path_factory):
    import timm

    file = tmp_path_factory.mktemp("weights") / "model.pt"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.save(timm.create_model("test_resnet").state_dict(), file)
    return file


def test_each_is_a_space_of_its_own(test_resnet_file, pixels_of):
    names = [f"{prefix}timm:test_resnet" for prefix in ("", "gem:", "activations:", "activations:gem:")]
    encoders = [load_encoder(name, weights=test_resnet_file, device="cpu") for name in names]
    assert len({encoder.spec.fingerprint for encoder in encoders}) == 4
    assert [encoder.spec.name for encoder in encoders] == names
    plain, _, focused, _ = encoders
    assert focused.spec.preprocess.size == tuple(2 * side for side in plain.spec.preprocess.size)
    for encoder in encoders:
        assert np.linalg.norm(encoder.encode(pixels_of(encoder)), axis=1) == pytest.approx(np.ones(5), abs=1e-5)


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_the_region_comes_with_the_vectors(test_resnet_file, pixels_of, runtime):
    name = "activations:timm:test_resnet"
    if runtime == "openvino":
        pytest.importorskip("vision_recs.encoders.openvino_runtime")
    encoder = load_encoder(name, weights=test_resnet_file, device="cpu", precision="f32", runtime=runtime)
    plain = load_encoder("gem:timm:test_resnet", weights=test_resnet_file, device="cpu", runtime="torch")
    pixels = pixels_of(encoder)
    vectors, regions = look(encoder, pixels)
    np.testing.assert_array_equal(vectors, encoder.encode(pixels))
    backbone = load_backbone(name, test_resnet_file)
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (backbone.preprocess.mean, backbone.preprocess.std))
    images = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std
    with torch.inference_mode():
        maps = backbone.module.module.forward_features(nn.functional.avg_pool2d(images, 2))
        wanted = torch.cat(region(maps), dim=1)
    assert regions.shape == (5, 1, 3)
    np.testing.assert_allclose(regions[:, 0], wanted.numpy(), atol=1e-4)
    assert look(plain, pixels_of(plain))[1].shape == (5, 0, 3)
    both = CompositeEncoder("both", [plain, encoder], [1, 1])
    joined = np.zeros((5, *both.spec.preprocess.size, 3), np.uint8)
    joined[:, :, -pixels.shape[2] :] = pixels
    np.testing.assert_allclose(look(both, joined)[1], regions, atol=1e-6)


@pytest.mark.parametrize("prefix", ["gem:", "activations:"])
def test_a_transformer_has_no_maps(prefix, tmp_path, seeded):
    import timm

    torch.save(seeded(lambda: timm.create_model("test_vit")).state_dict(), tmp_path / "vit.pt")
    with pytest.raises(EncoderError, match="has no maps that say where; name a network of convolutions"):
        load_encoder(f"{prefix}timm:test_vit", weights=tmp_path / "vit.pt", device="cpu")


@pytest.mark.parametrize(
    ("name", "focus", "wanted"),
    [
        ("efficientnet-lite0", "activations", "activations:efficientnet-lite0"),
        ("efficientnet-lite0+color@0.2", "activations", "activations:efficientnet-lite0+color@0.2"),
        ("activations:efficientnet-lite0+color@0.2", "none", "efficientnet-lite0+color@0.2"),
        ("activations:resnet50", "activations", "activations:resnet50"),
        ("resnet50", "none", "resnet50"),
    ],
)
def test_focus_is_of_each_network(name, focus, wanted):
    assert with_focus(name, focus) == wanted


def test_an_encoder_of_ones_own_has_no_focus():
    class Own:
        spec = load_encoder("color").spec

    with pytest.raises(EncoderError, match="an encoder of your own looks where it does; leave out focus='activations'"):
        choose_store_encoder(Own(), LoadOptions(focus="activations"), None)


@pytest.mark.parametrize("name", ["gem:color", "activations:color"])
def test_what_is_no_network_has_no_maps(name):
    with pytest.raises(EncoderError, match="color is no network"):
        canonical_name(name)
    with pytest.raises(EncoderError, match=r"color is no network, .*; leave out --focus"):
        with_focus("color", "activations")
