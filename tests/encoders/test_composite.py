"""Composite encoders: names, vectors, pixels that are decoded once, and texts."""

import io

import numpy as np
import pytest
import toy_encoder
from PIL import Image

from vision_recs.encoders import canonical_name, load_encoder, load_text_encoder, registry
from vision_recs.encoders.composite import CompositeEncoder
from vision_recs.encoders.registry import parts_of, supports_text
from vision_recs.errors import EncoderError, NoTextTower, UnknownEncoder
from vision_recs.images import decode, jpeg, prepare
from vision_recs.images.crop import Crop
from vision_recs.images.loading import load
from vision_recs.types import CompositePreprocess, EncoderSpec, PreprocessConfig

LITES = [f"efficientnet-lite{number}" for number in range(3)]
BEST = "gem:efficientnet-lite0@0.5+gem:efficientnet-lite1+gem:efficientnet-lite2"


@pytest.fixture(autouse=True)
def toy_family():
    with toy_encoder.registered():
        yield


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("best-offline", BEST),
        ("clip+resnet50", "clip:ViT-B-32/laion2b_s34b_b79k+resnet50"),
        ("clip@3+resnet50@1.5", "clip:ViT-B-32/laion2b_s34b_b79k+resnet50@0.5"),
        ("resnet50@0.2+clip", "resnet50@0.2+clip:ViT-B-32/laion2b_s34b_b79k"),
        ("resnet50@7", "resnet50"),
        ("best-offline+color@0.2", f"{BEST}+color@0.5"),  # which is half of what the heaviest part counts
        ("activations:gem:clip", "activations:gem:clip:ViT-B-32/laion2b_s34b_b79k"),
    ],
)
def test_a_name_of_several_encoders_has_one_full_form(name, canonical):
    assert canonical_name(name) == canonical
    assert canonical_name(canonical) == canonical


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("clip+", "the encoder 'clip+' has an empty part; write NAME+NAME"),
        ("clip+resnet50@0", "'resnet50@0' in the encoder 'clip+resnet50@0' is no encoder with a weight above 0"),
        ("clip+resnet50@x", "is no encoder with a weight above 0; write NAME+NAME@0.5"),
        ("clip+resnet50@nan", "is no encoder with a weight above 0"),
        ("clip+clip:ViT-B-32/laion2b_s34b_b79k", "names clip:ViT-B-32/laion2b_s34b_b79k twice; give it a weight"),
        ("clip+resnet5", "no encoder is named 'resnet5'; did you mean resnet50"),
    ],
)
def test_a_wrong_name_says_what_to_write(wrong, sentence):
    with pytest.raises(UnknownEncoder) as caught:
        canonical_name(wrong)
    assert sentence in str(caught.value)


def test_a_score_is_the_weighted_mean_of_those_of_the_parts(pixels_of):
    parts = [load_encoder("toy:2"), load_encoder("toy:4")]
    both = load_encoder("toy:2+toy:4@0.5")
    assert (both.spec.name, both.spec.dim) == ("toy:2+toy:4@0.5", 16 + 64)
    vectors = both.encode(pixels_of(both))
    first, second = (part.encode(pixels_of(part)) for part in parts)
    assert vectors @ vectors.T == pytest.approx((first @ first.T + 0.5 * (second @ second.T)) / 1.5, abs=1e-6)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(vectors)), abs=1e-6)


def test_weights_and_parts_are_part_of_the_space():
    names = ["toy:2+toy:4@0.5", "toy:2+toy:4", "toy:4+toy:2", "toy:2+toy:3@0.5"]
    assert len({load_encoder(name).spec.fingerprint for name in names}) == 4
    assert load_encoder("toy:2@2+toy:4").spec == load_encoder("toy:2+toy:4@0.5").spec


class Half:
    """An encoder whose own size is not that of the others, and to which dark images are nothing."""

    def __init__(self, size):
        config = PreprocessConfig(size, "stretch", size[0], "bilinear", (0.5,) * 3, (0.5,) * 3)
        self.spec = EncoderSpec(f"half{size}", "0" * 64, 3, config, "mean")

    def encode(self, pixels):
        assert pixels.shape[1:] == (*self.spec.preprocess.size, 3)
        means = pixels.mean(axis=(1, 2))
        return (means * (means.max(axis=1, keepdims=True) > 50)).astype(np.float32)


def test_each_part_gets_the_pixels_of_its_own_size(images):
    part, other = Half((8, 6)), Half((5, 12))
    both = CompositeEncoder("both", [part, other, Half((8, 6))], [1, 1, 1])
    assert both.spec.preprocess.size == (8, 18)  # two parts share their pixels
    pixels = np.stack([prepare(image, both.spec.preprocess) for image in images])
    wanted = [
        each.encode(np.stack([prepare(image, each.spec.preprocess) for image in images])) for each in (part, other)
    ]
    for columns, vectors in zip((slice(0, 3), slice(3, 6), slice(6, 9)), (*wanted, wanted[0]), strict=True):
        found = both.encode(pixels)[:, columns]
        assert found / np.linalg.norm(found, axis=1, keepdims=True) == pytest.approx(
            vectors / np.linalg.norm(vectors, axis=1, keepdims=True), abs=1e-5
        )


def test_a_part_that_gives_no_direction_is_left_out_and_no_part_at_all_gives_zeros():
    both = CompositeEncoder("both", [load_encoder("toy:2"), Half((8, 6))], [1, 3])
    dark, black = Image.new("RGB", (40, 40), (9, 9, 9)), Image.new("RGB", (40, 40))
    pixels = np.stack([prepare(dark, both.spec.preprocess)])
    alone = load_encoder("toy:2").encode(np.stack([prepare(dark, load_encoder("toy:2").spec.preprocess)]))
    assert both.encode(pixels)[0] == pytest.approx([*alone[0], 0, 0, 0], abs=1e-6)
    none = CompositeEncoder("none", [Half((8, 6)), Half((5, 5))], [1, 1])
    assert not none.encode(np.stack([prepare(black, none.spec.preprocess)])).any()


def test_an_image_is_decoded_once_for_all_parts(images, monkeypatch):
    config = CompositePreprocess((PREPARED, LARGER, PREPARED))
    file = io.BytesIO()
    images[0].save(file, "JPEG", quality=95)
    decoded = []
    monkeypatch.setattr(
        "vision_recs.images.loading.decode_smaller", lambda *given: decoded.append(given) or REAL(*given)
    )
    pixels = load(file.getvalue(), config)
    assert (pixels.shape, len(decoded)) == ((48, 80, 3), 1)
    for recipe, columns in zip(config.parts, config.columns(), strict=True):
        alone = load(file.getvalue(), recipe)
        height = recipe.size[0]
        # for the smaller size alone a JPEG may be decoded smaller, which moves levels a little
        assert np.abs(pixels[:height, columns].astype(int) - alone).mean() < 2
    assert not pixels[32:, :32].any()


PREPARED = PreprocessConfig((32, 32), "crop", 36, "bicubic", (0.5,) * 3, (0.5,) * 3)
LARGER = PreprocessConfig((48, 48), "crop", 54, "bicubic", (0.1,) * 3, (0.2,) * 3)
REAL = jpeg.decode_smaller


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_crop_is_what_the_image_is_without_the_rest(images, form, orientation):
    crop = Crop.parse("0.25,0.5,0.5,0.4")
    image, file = images[0], io.BytesIO()
    exif = Image.Exif()
    exif[0x112] = orientation
    image.save(file, form, exif=exif, **({"quality": 95, "subsampling": 0} if form == "JPEG" else {}))
    upright = decode(file.getvalue())
    wanted = prepare(upright.crop(crop.box(upright.size)), PREPARED)
    found = load(file.getvalue(), PREPARED, crop=crop)
    assert np.abs(found.astype(int) - wanted).mean() < 1.5
    assert np.abs(load(file.getvalue(), PREPARED).astype(int) - wanted).mean() > 10


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("0.5,0.5,0.5", "is not a crop; write x,y,width,height"),
        ("a,b,c,d", "is not a crop; write x,y,width,height"),
        ("0.5,0.5,0,0.5", "holds nothing of the image"),
        ("1,0,0.5,0.5", "holds nothing of the image"),
        ("nan,0,0.5,0.5", "holds nothing of the image"),
        ("0.5,0,1,0.5", "reaches over the edge of the image"),
        ("0,0,200,300", "reaches over the edge of the image"),
        ("-0.1,0,0.5,0.5", "reaches over the edge of the image"),
    ],
)
def test_a_crop_that_holds_nothing_is_refused(text, sentence):
    with pytest.raises(ValueError, match=sentence):
        Crop.parse(text)


def test_a_crop_ends_at_the_edge_and_has_a_pixel_at_least():
    assert Crop.parse("-0.001,0.5,0.501,0.501") == pytest.approx((0, 0.5, 0.5, 0.5))
    assert Crop.parse("0.999,0.999,0.001,0.001").box((10, 20)) == (9, 19, 10, 20)
    assert Crop.parse("0.1,0.25,0.5,0.5").box((10, 20)) == (1, 5, 6, 15)


def test_texts_are_compared_by_the_parts_that_read_them(pixels_of):
    both = load_encoder("toy:4+efficientnet-lite0@0.5")
    text = load_text_encoder(both.spec.name)
    assert text.spec == both.spec
    vectors = text.encode_text(["red", "blue"])
    alone = load_text_encoder("toy:4").encode_text(["red", "blue"])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1], abs=1e-6)
    assert not vectors[:, 64:].any()
    scores = vectors @ both.encode(pixels_of(both)).T
    part = load_encoder("toy:4")
    assert scores == pytest.approx((alone @ part.encode(pixels_of(part)).T) * np.sqrt(1 / 1.5), abs=1e-5)
    known = text.encode_known(["red"])[0]
    assert np.isnan(known[64:]).all()
    assert not np.isnan(known[:64]).any()


def test_a_composite_without_a_part_that_reads_text_says_so():
    assert supports_text("clip+resnet50")
    assert not supports_text(BEST)
    with pytest.raises(NoTextTower, match="has no text tower"):
        load_text_encoder(BEST)


def test_one_file_of_weights_is_not_for_several_parts(tmp_path):
    with pytest.raises(EncoderError, match=r"--weights names the file of one encoder, and toy:2\+toy:4 has 2 parts"):
        load_encoder("toy:2+toy:4", weights=tmp_path / "model.pt")


def test_the_preset_is_listed_with_its_parts():
    listed = {encoder.name: encoder for encoder in registry.list_encoders()}
    best = listed["best-offline"]
    assert (best.family, best.dim, best.canonical) == ("composite", sum(listed[name].dim for name in LITES), BEST)
    assert best.weights_here == all(listed[name].weights_here for name in LITES)
    assert [part.name for part in parts_of("best-offline")] == [f"gem:{name}" for name in LITES]
