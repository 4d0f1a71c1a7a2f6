"""A store of a composite encoder does all that a store does: texts, histories, filters, updates, engines and tables."""

import json
import shutil

import numpy as np
import pytest
import toy_encoder
from fake_shop import Shop, index, png

from vision_recs.batch.duplicates import DuplicateOptions, find_duplicates
from vision_recs.batch.neighbors import NeighborsOptions, write_neighbors
from vision_recs.encoders import load_encoder
from vision_recs.engines import publish
from vision_recs.errors import SpaceMismatch
from vision_recs.filters import Filter
from vision_recs.images import decode, load
from vision_recs.images.crop import Crop
from vision_recs.jobs import embed, retune, update
from vision_recs.recommend import Event, History, Policy, Query, Recommender, Weighted
from vision_recs.store import Store
from vision_recs.tune import TuneOptions, tune

NAME = "toy:2+color@0.5"
COLORS = {"red": (210, 30, 36), "green": (46, 138, 70), "blue": (36, 88, 184)}


def shown(color, number):
    """A square of *color* before a light background, with noise that is the image's own."""
    random = np.random.default_rng([number, *COLORS[color]])
    pixels = np.full((24, 24, 3), 235) + random.integers(-9, 10, (24, 24, 3))
    pixels[5:19, 5:19] = np.array(COLORS[color]) + random.integers(-25, 26, (14, 14, 3))
    return png(pixels.clip(0, 255))


def shop_of_colors():
    shop = Shop()
    for color in COLORS:
        for number in range(5):
            shop.files[f"{color}{number}.png"] = shown(color, number)
            shop.put(f"{color}{number}", f"{color}{number}.png", price=number, color=color)
    return shop


@pytest.fixture(scope="module", autouse=True)
def _encoders():
    with pytest.MonkeyPatch.context() as patch, toy_encoder.registered():
        patch.setattr("vision_recs.encoders.loading._is_for_openvino", lambda _device: False)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A store of the shop; not to be changed."""
    folder = tmp_path_factory.mktemp("composite")
    index(shop_of_colors(), folder, NAME)
    return folder


@pytest.fixture
def own(folder, tmp_path):
    """A copy of the store of the shop, to be changed."""
    return shutil.copytree(folder, tmp_path / "own")


def ids(matches):
    return [match.id for match in matches]


def colors_of(matches):
    return [match.id.rstrip("0123456789") for match in matches]


def vectors_by_part(shop):
    """The vectors of each part for the images of *shop*, by id."""
    parts = [load_encoder("toy:2"), load_encoder("color")]
    return {
        item: [part.encode(load(shop.files[f"{item}.png"], part.spec.preprocess)[None])[0] for part in parts]
        for item in shop.items
    }


def test_a_score_is_the_weighted_mean_of_the_parts(folder):
    by_part = vectors_by_part(shop_of_colors())
    with Recommender.open(folder) as recommender:
        for match in recommender.similar("red0", k=14):
            layout, color = (float(one @ other) for one, other in zip(by_part["red0"], by_part[match.id], strict=True))
            assert match.score == pytest.approx((layout + 0.5 * color) / 1.5, abs=1e-3)  # as float16


def test_texts_are_read_by_the_parts_that_can(folder):
    with Recommender.open(folder) as recommender:
        for color in COLORS:
            found = recommender.query(Query(texts=(f"a {color} thing",), k=5))
            assert colors_of(found) == [color] * 5
        mixed = recommender.query(Query(items=("red0",), texts=(Weighted("blue", 4.0),), k=5, explain=True))
        assert colors_of(mixed) == ["blue"] * 5
        assert [term.kind for term in mixed[0].explanation.terms] == ["item", "text"]


def test_a_history_has_an_interest_for_each_kind(folder):
    with Recommender.open(folder) as recommender:
        history = History((Event("red0"), Event("red1"), Event("blue0")))
        assert {interest.medoid.rstrip("01") for interest in recommender.interests(history)} == {"red", "blue"}
        found = recommender.query(Query(history=history, k=4))
        assert set(colors_of(found)) == {"red", "blue"}


def test_filters_lose_nothing(folder):
    with Recommender.open(folder) as recommender:
        found = recommender.similar("red0", k=20, where="price > 2")
        assert sorted(ids(found)) == sorted(f"{color}{number}" for color in COLORS for number in (3, 4))


def test_images_and_parts_of_images_are_queries(folder):
    both = np.concatenate([np.full((24, 24, 3), COLORS["blue"]), np.full((24, 24, 3), COLORS["green"])], axis=1)
    with Recommender.open(folder) as recommender:
        assert recommender.similar_to_image(shown("green", 2), k=1)[0].id == "green2"
        for crop, color in (("0,0,0.5,1", "blue"), ("0.5,0,0.5,1", "green")):
            part = Weighted(png(both), crop=Crop.parse(crop))
            assert colors_of(recommender.query(Query(images=(part,), k=3))) == [color] * 3


def test_the_objects_of_a_picture_get_a_share_each(folder):
    both = png(np.concatenate([np.full((24, 24, 3), COLORS["blue"]), np.full((24, 24, 3), COLORS["green"])], axis=1))
    parts = tuple(Weighted(both, name="both", crop=Crop.parse(crop)) for crop in ("0,0,0.5,1", "0.5,0,0.5,1"))
    with Recommender.open(folder) as recommender:
        found = recommender.query(Query(images=parts, k=6, apart=True, explain=True))
        assert colors_of(found) == ["blue", "green"] * 3
        assert [match.explanation.terms[0].query for match in found[:2]] == ["both [0,0,0.5,1]", "both [0.5,0,0.5,1]"]
        heavier = (parts[0]._replace(weight=3.0), parts[1])
        assert colors_of(recommender.query(Query(images=heavier, k=4, apart=True))).count("blue") == 3


def test_an_update_embeds_by_all_parts(own):
    shop = shop_of_colors()
    shop.files["new.png"] = shown("blue", 9)
    report = update([{"id": "red4", "image": "new.png"}, {"id": "red3", "price": 99}], own, images=shop)
    assert (report.embedded, report.changed) == (1, 2)
    with Recommender.open(own) as recommender:
        assert colors_of(recommender.similar("red4", k=4)) == ["blue"] * 4
        assert ids(recommender.similar("red0", k=1, where="price == 99")) == ["red3"]
        assert recommender.items.encoder.name == NAME


def test_another_weight_is_another_space(own):
    with pytest.raises(SpaceMismatch, match=r"toy:2\+color@0\.5 \["):
        update([{"id": "red4", "image": "red0.png"}], own, encoder=load_encoder("toy:2+color"))
    report = embed(shop_of_colors(), own, encoder="toy:2+color")
    assert (report.embedded, report.encoder) == (15, "toy:2+color")
    assert embed(shop_of_colors(), own).embedded == 0


def test_tables_have_what_queries_find(folder, tmp_path):
    write_neighbors(folder, tmp_path / "out.jsonl", NeighborsOptions(k=3, nested=True))
    rows = map(json.loads, (tmp_path / "out.jsonl").read_text("utf-8").splitlines())
    lists = {row["item_id"]: row["neighbors"] for row in rows}
    with Recommender.open(folder) as recommender:
        for item, neighbors in lists.items():
            assert [list(each) for each in neighbors] == [
                [match.id, pytest.approx(match.score, abs=1e-6)] for match in recommender.similar(item, k=3)
            ]


def test_an_engine_answers_as_the_store(folder, tmp_path):
    pytest.importorskip("lancedb")
    uri = f"lance:{tmp_path / 'engine'}"
    publish(uri, folder)
    queries = [
        Query(items=("red0",), k=6),
        Query(texts=("green",), k=6),
        Query(images=(shown("blue", 7),), k=6, where=Filter.parse("price < 3")),
    ]
    with Recommender.open(folder) as store, Recommender.open_engine(uri) as engine:
        for query in queries:
            assert engine.query(query) == store.query(query)


def test_what_the_vectors_alone_teach_goes_with_texts(own):
    with Store.open(own) as store:
        tuned = tune(store, TuneOptions(unsupervised=True))
    assert (tuned.queries, tuned.is_better) == (0, True)
    retune(own, tuned.projection, encoder=load_encoder(NAME).spec.fingerprint)
    with Recommender.open(own) as recommender:
        assert recommender.items.fingerprint != recommender.items.encoder.fingerprint
        for color in COLORS:
            assert colors_of(recommender.query(Query(texts=(color,), k=5))) == [color] * 5
        only_layout = np.full((1, 16 + 384), np.nan, np.float32)  # as of a text that one part alone reads
        only_layout[0, :16] = load_encoder("toy:2").encode(np.full((1, 32, 32, 3), 90, np.uint8))[0]
        completed = only_layout.copy()
        completed[0, 16:] = tuned.projection.mean[16:]
        wanted = tuned.projection.apply(completed)
        assert recommender.items.project(only_layout) == pytest.approx(wanted / np.linalg.norm(wanted), abs=1e-6)


def test_duplicates_and_placeholders_are_found(tmp_path):
    shop = shop_of_colors()
    for number in range(9):
        shop.put(f"soon{number}", "soon.png", price=1)
    shop.files["soon.png"] = png(np.full((24, 24, 3), 128))
    shop.files["again.png"] = png(np.asarray(decode(shop.files["red0.png"])) ^ 1)  # other bytes, nearly the same image
    shop.put("again", "again.png", price=1)
    index(shop, tmp_path, NAME)
    with Store.open(tmp_path) as store:
        found = find_duplicates(store, DuplicateOptions(threshold=0.999, placeholder=9))
    assert {"again", "red0"} <= {item for group in found.groups for item in group.items}
    assert [len(placeholder.items) for placeholder in found.placeholders] == [9]


def test_a_policy_holds_as_ever(folder):
    with Recommender.open(folder) as recommender:
        found = recommender.query(Query(items=("red0",), k=3), Policy(one_per="color"))
        assert sorted(colors_of(found)) == ["blue", "green"]  # red is shown already
