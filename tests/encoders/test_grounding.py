"""`--focus grounding`: a detector finds the product in each catalog image; here a small one with random weights."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_shop import Shop, png
from PIL import Image

from vision_recs.encoders import grounding, load_encoder
from vision_recs.encoders.grounding import ATTRIBUTES, load_detector, words_of
from vision_recs.errors import EncoderError, MissingExtra, SpaceMismatch, WeightsNotFound
from vision_recs.images import decode, load
from vision_recs.images.crop import WHOLE, Crop
from vision_recs.jobs import IndexOptions, index, update
from vision_recs.recommend import Query, Recommender
from vision_recs.store import Store, load_item_vectors

PROMPTS = ("mug.", "red lamp.")


def make_detector(folder: Path, seed: int = 0) -> None:
    """Save a small Grounding DINO in *folder*; the network itself knows the ids of some tokens."""
    pytest.importorskip("transformers")
    from transformers import (
        BertConfig,
        BertTokenizerFast,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessor,
        GroundingDinoProcessor,
        SwinConfig,
    )

    words = [f"[unused{number}]" for number in range(1030)]
    known = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 1012: ".", 1029: "?"}
    for number, word in {**known, 200: "mug", 201: "lamp", 202: "red"}.items():
        words[number] = word
    tokenizer = BertTokenizerFast(vocab={word: number for number, word in enumerate(words)})
    sizes = {"encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = GroundingDinoConfig(
        backbone_config=SwinConfig(
            embed_dim=8,
            depths=[1, 1, 1, 1],
            num_heads=[1, 1, 1, 1],
            window_size=4,
            out_features=["stage2", "stage3", "stage4"],
        ),
        text_config=BertConfig(
            vocab_size=len(words),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=64,
        ),
        num_queries=8,
        encoder_layers=1,
        decoder_layers=2,
        d_model=32,
        max_text_len=32,
        **sizes,
    )
    torch.manual_seed(seed)
    GroundingDinoForObjectDetection(config).save_pretrained(folder)
    small = GroundingDinoImageProcessor(size={"shortest_edge": 128, "longest_edge": 192})
    GroundingDinoProcessor(small, tokenizer).save_pretrained(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detector")
    make_detector(folder)
    return folder


@pytest.fixture(scope="module")
def detector(folder):
    return load_detector(str(folder))


@pytest.fixture(scope="module")
def photos():
    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 256, (height, 80, 3), dtype=np.uint8)) for height in (50, 70, 90)]


@pytest.fixture(autouse=True)
def _every_box_counts(monkeypatch):
    monkeypatch.setattr(grounding, "LEAST_SCORE", 0.0)


def best_by_the_library(detector, image, prompt):
    """Return the corners of the box with the highest score, in pixels, as the library itself says them."""
    inputs = detector._processor(images=[image], text=[prompt], return_tensors="pt")
    with torch.inference_mode():
        outputs = detector._model(**inputs)
    size = [image.size[::-1]]
    (found,) = detector._processor.post_process_grounded_object_detection(
        outputs, inputs["input_ids"], threshold=0.0, target_sizes=size
    )
    return found["boxes"][found["scores"].argmax()].tolist()


def test_the_part_is_the_best_box_of_the_library_with_a_margin(detector, photos):
    for photo, prompt in zip(photos, (*PROMPTS, "red mug."), strict=True):
        (crop,) = detector.find([photo], [prompt.rstrip(".")])
        left, top, right, bottom = best_by_the_library(detector, photo, prompt)
        width, height = photo.size
        across, down = 0.05 * (right - left), 0.05 * (bottom - top)
        wanted = [max(0, left - across), max(0, top - down), min(width, right + across), min(height, bottom + down)]
        found = [crop.x * width, crop.y * height, (crop.x + crop.width) * width, (crop.y + crop.height) * height]
        assert found == pytest.approx(wanted, abs=0.01)


def test_a_batch_finds_what_each_image_alone_does_and_no_words_mean_all(detector, photos, monkeypatch):
    monkeypatch.setattr(grounding, "BATCH", 2)
    shown, texts = [photos[0], photos[1], photos[0], photos[0], photos[0]], ["mug", "mug", "", "red lamp", "mug"]
    together = detector.find(shown, texts)
    alone = [detector.find([photo], [text])[0] for photo, text in zip(shown, texts, strict=True)]
    assert np.array(together) == pytest.approx(np.array(alone), abs=1e-4)
    assert together[2] == WHOLE


def test_below_the_least_score_all_of_the_image_counts(detector, photos, monkeypatch):
    monkeypatch.setattr(grounding, "LEAST_SCORE", 1.0)
    assert detector.find(photos[:1], ["mug"]) == [WHOLE]


def test_what_cannot_be_loaded_is_said_in_one_sentence(folder, tmp_path, monkeypatch):
    with pytest.raises(WeightsNotFound, match="has no Grounding DINO that can be loaded"):
        load_detector(str(tmp_path))
    for file in folder.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")  # a pickle, which could run code
    with pytest.raises(WeightsNotFound, match="safetensors"):
        load_detector(str(tmp_path))
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtra, match=r"pip install 'visrec\[grounding\]'"):
        load_detector(str(folder))


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"category": "Mug", "title": "Striped mug"}, "mug"),
        ({"category": "", "title": "Oak chair. With arms, 45 cm"}, "oak chair with arms 45 cm"),
        ({"category": None, "name": "T-shirt"}, "t-shirt"),
        ({"category": 7}, ""),
    ],
)
def test_the_words_of_an_item(attributes, words):
    assert words_of(attributes, ATTRIBUTES) == words


@pytest.fixture
def shop(photos):
    shop = Shop()
    for number, (photo, words) in enumerate(zip(photos, ("mug", "red lamp", ""), strict=True)):
        shop.files[f"{number}.png"] = png(photo)
        shop.put(f"item{number}", f"{number}.png", category=words, color="red")
    return shop


def vectors(folder):
    with Store.open(folder) as store:
        found = load_item_vectors(store, store.items.ids())
    return dict(zip(found.ids, found.vectors, strict=True))


def test_the_found_part_of_each_image_is_embedded_in_a_space_of_its_own(shop, folder, detector, tmp_path):
    store, encoder = tmp_path / "store", load_encoder("color")
    options = IndexOptions(workers=1, focus="grounding", detector=str(folder))
    first = index(shop, store, encoder="color", options=options)
    assert first.fingerprint != encoder.spec.fingerprint
    found = vectors(store)
    with Store.open(store) as opened:
        images = {item: opened.items.images(item)[0] for item in found}
    kept = {item: json.loads(image.attributes.get("own_focus", "[]")) for item, image in images.items()}
    for item in shop.items.values():
        (name,) = item.images
        (crop,) = detector.find([decode(shop.files[name])], [words_of(item.attributes)])
        assert (crop == WHOLE) == (item.id == "item2")
        assert kept[item.id] == ([] if crop == WHOLE else [pytest.approx(crop, abs=1e-4)])
        pixels = load(shop.files[name], encoder.spec.preprocess, crop=crop)
        assert float(found[item.id] @ encoder.encode(pixels[None])[0]) == pytest.approx(1, abs=1e-3)
    again = index(shop, store, options=IndexOptions(workers=1))  # the store knows its detector
    assert (again.embedded, again.fingerprint) == (0, first.fingerprint)
    shop.files["3.png"] = png(np.full((40, 40, 3), (200, 30, 30), np.uint8))
    report = update([{"id": "new", "category": "mug", "image": "3.png"}], store, images=shop)
    assert report.embedded == 1
    with Store.open(store) as opened:
        matches = Recommender.of_store(opened).query(Query(images=(shop.files["3.png"],)))
        assert matches[0].id == "new"
    assert index(shop, store, encoder="color", options=IndexOptions(workers=1, focus="none")).embedded == 3


def test_a_detector_has_to_be_named_and_to_stay_the_same(shop, folder, tmp_path):
    with pytest.raises(EncoderError, match="needs a detector; name its folder"):
        index(shop, tmp_path / "store", encoder="color", options=IndexOptions(focus="grounding"))
    options = IndexOptions(workers=1, focus="grounding", detector=str(folder), focus_attributes=("color",))
    index(shop, tmp_path / "store", encoder="color", options=options)
    other = tmp_path / "other"
    make_detector(other, seed=1)
    shop.files["4.png"] = png(np.zeros((8, 8, 3)) + 99)
    shop.put("more", "4.png", category="mug")
    with pytest.raises(SpaceMismatch, match="is another detector than that of the store"):
        index(shop, tmp_path / "store", options=IndexOptions(detector=str(other)))


class FirstQuarter:
    """A detector that finds every product in one corner of the image."""

    digest = "of the corner"

    def find(self, images, texts):
        return [Crop(0.0, 0.0, 0.5, 0.5) if text else WHOLE for _, text in zip(images, texts, strict=True)]


@pytest.fixture
def corners(monkeypatch):
    monkeypatch.setattr(grounding, "load_detector", lambda *_, **__: FirstQuarter())
    return IndexOptions(workers=1, focus="grounding", detector="corners")


def test_a_store_keeps_its_detector_also_where_the_encoder_is_named(shop, corners, tmp_path):
    first = index(shop, tmp_path / "store", encoder="color", options=corners)
    again = index(shop, tmp_path / "store", encoder="color", options=IndexOptions(workers=1))
    assert (again.embedded, again.fingerprint) == (0, first.fingerprint)


def test_other_attributes_of_a_store_with_a_detector_are_asked_for(shop, corners, tmp_path):
    first = index(shop, tmp_path / "store", encoder="color", options=corners)
    other = index(shop, tmp_path / "store", options=IndexOptions(workers=1, focus_attributes=("color",)))
    assert (other.embedded, other.fingerprint != first.fingerprint) == (3, True)


@pytest.mark.parametrize("options", [{"detector": "corners"}, {"focus_attributes": ("color",)}])
def test_options_of_a_detector_are_refused_where_none_is_asked(shop, tmp_path, options):
    with pytest.raises(EncoderError, match=r"is for --focus grounding; add that, or leave out"):
        index(shop, tmp_path / "store", encoder="color", options=IndexOptions(workers=1, **options))
    with pytest.raises(EncoderError, match=r"is for --focus grounding; add that, or leave out"):
        index(shop, tmp_path / "store", encoder="color", options=IndexOptions(workers=1, focus="none", **options))
