"""The words of items as a part beside their images: names, vectors, and a text tower that reads them."""

import hashlib
import json
import re

import numpy as np
import open_clip
import pytest
import toy_encoder
from safetensors.torch import save_file

from vision_recs.encoders import canonical_name, load_encoder, load_text_encoder, registry
from vision_recs.encoders.store_encoder import LoadOptions, choose_store_encoder
from vision_recs.encoders.words import digest_with, image_of, words_of
from vision_recs.errors import EncoderError, NoTextTower, UnknownEncoder

NAME = "toy:2+words:title,brand@0.5"


@pytest.fixture(autouse=True)
def toy_family():
    with toy_encoder.registered():
        yield


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("words:title,brand+toy@2", "toy:4+words:title,brand@0.5"),
        ("toy+words:title:toy", "toy:4+words:title:toy:4"),
        ("color+words: a%2Bb ,size%20%3A@3", "color@0.3333+words:a%2Bb,size %3A"),
    ],
)
def test_the_part_is_the_last_one_of_a_full_name(name, canonical):
    assert canonical_name(name) == canonical
    assert canonical_name(canonical) == canonical
    assert registry.supports_text(name)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("toy+words:", "no encoder is named 'words:'"),
        ("toy+words:a,,b", "words:a,,b has an empty name; list attributes, as words:title,brand"),
        ("toy+words:a+words:b", "reads words twice; list all attributes in one words:NAME,NAME"),
        ("toy+words:a:tony", "no encoder is named 'tony'"),
    ],
)
def test_a_wrong_name_says_what_to_write(wrong, sentence):
    with pytest.raises(UnknownEncoder, match=re.escape(sentence)):
        canonical_name(wrong)


def test_words_are_no_encoder_by_themselves():
    with pytest.raises(EncoderError, match="looks at no image; put it beside an encoder, as efficientnet-lite0"):
        choose_store_encoder("words:title", LoadOptions(), None)


def test_a_tower_has_to_read_texts():
    with pytest.raises(NoTextTower):
        load_encoder("toy:2+words:title:resnet18")


def test_hashing_is_that_of_the_words_and_never_changes():
    def slow(text):
        row = [0.0] * 512
        for word in re.findall(r"\w+", text):
            key = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
            row[key // 2 % 512] += 1 if key % 2 else -1
        return np.array(row) / (np.linalg.norm(row) or 1)

    encode = load_text_encoder("color+words:title").encode_text
    own = load_text_encoder("words:title").encode_text
    found = own(["Mug, MUG and ﬁne stone", "", "straße"])
    np.testing.assert_allclose(found, [slow("mug mug and fine stone"), slow(""), slow("strasse")], atol=1e-6)
    assert np.flatnonzero(own(["mug"])).tolist() == [493]  # a store of today is read by the visrec of tomorrow
    assert np.allclose(encode(["stone"])[0, 384:], slow("stone"), atol=1e-6)  # a color says nothing of it


def test_a_score_is_the_weighted_mean_of_images_and_words():
    words, random = words_of(NAME), np.random.default_rng(5)
    images = np.zeros((3, 16 + 512), np.float32)
    images[:, :16] = random.normal(size=(3, 16))
    texts = ["red mug", "blue mug of stone", "vase"]
    image = images[:, :16] / np.linalg.norm(images[:, :16], axis=1, keepdims=True)
    text = load_text_encoder("words:title").encode_text(texts)
    found = words.joined(images, texts)
    np.testing.assert_allclose(found @ found.T, 2 / 3 * image @ image.T + 1 / 3 * text @ text.T, atol=1e-6)
    np.testing.assert_allclose(words.joined(words.joined(images, texts[::-1]), texts), found, atol=1e-6)
    np.testing.assert_allclose(words.left_out(found)[:, :16], image, atol=1e-6)
    scaled = found * words.scales(16 + 512, 0.75)
    np.testing.assert_allclose(scaled @ scaled.T, 1 / 4 * image @ image.T + 3 / 4 * text @ text.T, atol=1e-6)


def test_what_an_item_lacks_is_left_out():
    words = words_of(NAME)
    images = np.eye(3, 16 + 512, dtype=np.float32)
    images[1:] = 0.0
    found = words.joined(images, ["", "red mug", ""])
    assert found[0].tolist() == images[0].tolist()
    assert not found[1, :16].any()
    assert np.linalg.norm(found, axis=1).tolist() == pytest.approx([1.0, 1.0, 0.0])


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        ({"title": "Mug", "brand": "Acme", "price": 3}, "Mug, Acme"),
        ({"brand": 7, "title": None}, "7"),
        ({"title": "", "brand": False}, "False"),
        ({}, ""),
    ],
)
def test_the_words_of_an_item_are_the_values_of_its_attributes(attributes, text):
    assert words_of(NAME).text_of(attributes) == words_of(NAME).text_of(json.dumps(attributes)) == text


def test_a_digest_tells_images_and_words_apart():
    one, other = hashlib.sha256(b"one").digest(), hashlib.sha256(b"other").digest()
    digests = [digest_with(image, text) for image in (one, other, b"") for text in ("", "mug", "vase")]
    assert len(set(digests)) == 9
    assert {len(each) for each in digests} == {32}
    assert image_of(digest_with(one, "mug").hex()) == image_of(digest_with(one, "vase").hex()) == image_of(one.hex())


def test_other_encoders_have_no_words():
    assert [words_of(name) for name in ("toy:2", "words:title", "my model+words", "A+color")] == [None] * 4


def test_the_text_tower_of_clip_reads_the_words(tiny_clip, seeded, in_hub_cache, tmp_path):
    """With seeded random weights; a text is compared with the images and with the words of items."""
    folder = tiny_clip(tmp_path / "tiny")
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"] |= {"vocab_size": 49_408, "context_length": 16}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    network = seeded(lambda: open_clip.create_model(f"local-dir:{folder}", load_weights=False))
    in_hub_cache(
        "shop/tiny",
        open_clip_model__safetensors=lambda to: save_file(network.state_dict(), to),
        open_clip_config__json=lambda to: to.write_text(json.dumps(config)),
    )
    name = "hf-hub:shop/tiny+words:title:hf-hub:shop/tiny"
    encoder = load_encoder(name)
    tower = load_text_encoder("hf-hub:shop/tiny").encode_text(["a red mug", "a vase"])
    dim = tower.shape[1]
    assert encoder.spec.dim == 2 * dim
    query = load_text_encoder(name)
    assert query.spec == encoder.spec
    np.testing.assert_allclose(query.encode_text(["a red mug"])[0], np.tile(tower[0], 2) / np.sqrt(2), atol=1e-6)
    joined = words_of(name).joined(np.ones((2, 2 * dim), np.float32), ["a red mug", "a vase"])
    np.testing.assert_allclose(joined[:, dim:], tower / np.sqrt(2), atol=1e-6)
