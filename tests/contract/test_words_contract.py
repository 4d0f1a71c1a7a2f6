"""A store whose vectors have the words of items does all that a store does, also for items without an image."""

import json
import shutil

import numpy as np
import pytest
from fake_shop import FakeEncoder, Shop, index, png
from fake_shop import image as noise
from visrec_cli.info import info

from vision_recs.batch.duplicates import DuplicateOptions, find_duplicates
from vision_recs.batch.neighbors import NeighborsOptions, write_neighbors
from vision_recs.encoders.composite import composite_spec
from vision_recs.encoders.words import load, words_of
from vision_recs.engines import publish
from vision_recs.errors import EvaluationError, ImageError
from vision_recs.evaluate import EvaluationTask, compare_stores, measure_relevance
from vision_recs.jobs import IndexOptions, embed, retune, update
from vision_recs.jobs import index as run_index
from vision_recs.recommend import Event, History, Policy, Query, Recommender
from vision_recs.store import Store
from vision_recs.tune import TuneOptions, tune
from vision_recs.vectors import normalize_rows

NAME = "color+words:title,brand@0.5"
KINDS = {"mug": (210, 30, 36), "vase": (46, 138, 70), "bowl": (36, 88, 184)}
CLOSE = 2e-3  # vectors are float16


def shop_of_words():
    """Five items of each kind, of one color, and one item of each kind that has no image."""
    shop = Shop()
    for kind, color in KINDS.items():
        for number in range(5):
            random = np.random.default_rng([number, *color])
            pixels = np.array(color) + random.integers(-25, 26, (24, 24, 3))
            shop.files[f"{kind}{number}.png"] = png(pixels.clip(0, 255))
            shop.put(f"{kind}{number}", f"{kind}{number}.png", title=f"{kind} number {number}", price=number, kind=kind)
        shop.put(f"{kind}-bare", title=kind, price=9, kind=kind)
    return shop


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A store of the shop; not to be changed."""
    folder = tmp_path_factory.mktemp("words")
    index(shop_of_words(), folder, NAME)
    return folder


@pytest.fixture
def own(folder, tmp_path):
    """A copy of the store of the shop, to be changed."""
    return shutil.copytree(folder, tmp_path / "own")


def ids(matches):
    return [match.id for match in matches]


def kinds_of(matches):
    return [match.id.rstrip("0123456789").removesuffix("-bare") for match in matches]


def vectors_of(store):
    """The vectors by item and image."""
    with Store.open(store) as opened:
        rows = list(opened.stored_rows())
        vectors = opened.vectors(np.array([row.position for row in rows]))
        return {(row.id, row.image): vector for row, vector in zip(rows, vectors, strict=True)}


def assert_same_vectors(one, other):
    one, other = vectors_of(one), vectors_of(other)
    assert one.keys() == other.keys()
    for key, vector in one.items():
        np.testing.assert_allclose(vector, other[key], atol=CLOSE, err_msg=str(key))


def test_items_without_an_image_answer_by_their_words(folder):
    with Recommender.open(folder) as recommender:
        assert kinds_of(recommender.similar("mug-bare", k=5)) == ["mug"] * 5
        for kind in KINDS:
            found = recommender.query(Query(texts=(f"a plain {kind}",), k=6))
            assert found[0].id == f"{kind}-bare"
            assert found[0].image == ""
            assert kinds_of(found) == [kind] * 6
        by_image = recommender.similar_to_image(shop_of_words().files["mug3.png"], k=18)
        assert by_image[0].id == "mug3"
        assert {match.score for match in by_image if match.id.endswith("-bare")} == {0.0}
        assert all(match.score > 0.1 for match in by_image if match.id.startswith("mug") and match.image)


def test_filters_histories_and_policies_know_them(folder):
    with Recommender.open(folder) as recommender:
        assert sorted(ids(recommender.similar("mug0", k=20, where="price == 9"))) == [
            f"{k}-bare" for k in sorted(KINDS)
        ]
        history = History((Event("mug-bare"), Event("mug1"), Event("bowl-bare")))
        assert set(kinds_of(recommender.query(Query(history=history, k=6)))) == {"mug", "bowl"}
        assert kinds_of(recommender.query(Query(items=("mug-bare",), k=2), Policy(one_per="kind")))[0] != "mug"


def test_a_change_of_words_reads_no_image(own):
    class Unreadable(Shop):
        def read(self, reference, *, known=None):
            raise AssertionError(f"{reference}, known by {known}, was to be read")

    changes = [
        {"id": "mug0", "title": "vase", "brand": "Acme"},
        {"id": "mug1", "price": 50},
        {"id": "vase-bare", "title": "jug"},
        {"id": "new", "title": "vase number 3", "kind": "vase"},
    ]
    report = update(changes, own, images=Unreadable())
    assert (report.embedded, report.changed, report.added) == (3, 3, 1)
    shop = shop_of_words()
    shop.put("mug0", "mug0.png", title="vase", brand="Acme", price=0, kind="mug")
    shop.put("mug1", "mug1.png", title="mug number 1", price=50, kind="mug")
    shop.put("vase-bare", title="jug", price=9, kind="vase")
    shop.put("new", title="vase number 3", kind="vase")
    index(shop, own.parent / "fresh", NAME)
    assert_same_vectors(own, own.parent / "fresh")
    with Recommender.open(own) as recommender:
        assert recommender.query(Query(texts=("acme",), k=1))[0].id == "mug0"


def test_a_new_item_needs_an_image_or_words(own):
    report = update([{"id": "typo", "price": 3}, {"id": "new", "title": "vase"}], own)
    assert (report.unknown, report.added, report.skipped_reasons) == (1, 1, {})
    with Store.open(own) as opened:
        assert opened.items.ids("typo") == []
        assert list(opened.items.skipped()) == []


def test_words_are_no_images(own, capsys):
    report = index(shop_of_words(), own, NAME)
    assert (report.items, report.images) == (18, 15)
    report = update([{"id": "vase-bare", "deleted": True}, {"id": "new", "title": "a vase"}], own)
    assert (report.items, report.images) == (18, 15)
    report = update([{"id": "bowl-bare", "deleted": True}, {"id": "mug-bare", "image": "mug0.png"}], own, images=Shop())
    assert (report.items, report.images) == (16, 15)  # the image is not there
    shop = shop_of_words()
    report = update([{"id": "mug-bare", "image": "mug0.png"}], own, images=shop)
    assert (report.items, report.images) == (17, 16)
    info(store=[str(own)], json=True)
    assert json.loads(capsys.readouterr().out)["images"] == 16


def test_random_changes_leave_what_a_new_store_has(own):
    """Words, images and items come and go by `update` and by `index`; a new store of the same shop is the judge."""
    random, shop = np.random.default_rng(11), shop_of_words()
    for turn in range(6):
        changes = []
        for item in random.choice(sorted(shop.items), 4, replace=False).tolist():
            before, what = shop.items[item], random.integers(4)
            title = " ".join(random.choice(["mug", "vase", "bowl", "red", "old", ""], 3))
            images = before.images
            if what == 0:
                shop.items.pop(item)
                changes.append({"id": item, "deleted": True})
                continue
            if what == 1:
                images = (f"{item}-{turn}.png",)
                shop.files[images[0]] = noise(100 * turn + int(random.integers(50)))
            shop.put(item, *images, **{**before.attributes, "title": title})
            changes.append({"id": item, "title": title, **({"image": images[0]} if what == 1 else {})})
        if turn % 3 == 2:
            run_index(shop, own)
        else:
            update(changes, own, images=shop)
    index(shop, own.parent / "fresh", NAME)
    assert_same_vectors(own, own.parent / "fresh")
    assert embed(shop, own).embedded == 0


def test_indexing_again_embeds_what_changed(own):
    shop = shop_of_words()
    shop.reads.clear()
    assert run_index(shop, own).embedded == 0
    shop.put("mug0", "mug0.png", title="another thing", price=0, kind="mug")
    shop.put("vase-bare", "mug1.png", title="vase", price=9, kind="vase")
    shop.put("bowl0", title="bowl without a picture", price=0, kind="bowl")
    report = run_index(shop, own)
    assert (report.embedded, report.items) == (3, 18)
    assert "mug0.png" not in shop.reads
    index(shop, own.parent / "fresh", NAME)
    assert_same_vectors(own, own.parent / "fresh")


def test_an_image_that_cannot_be_used_stays_so_with_other_words(own):
    shop = shop_of_words()
    shop.files["mug0.png"] = b"no image"
    run_index(shop, own)
    update([{"id": "mug0", "title": "cup"}], own, images=shop)
    with Store.open(own) as store:
        assert [(each.id, each.reason) for each in store.items.skipped("mug0")] == [("mug0", "not-an-image")]
    shop.put("empty", title="", price=1)
    report = run_index(shop, own)
    assert report.skipped_reasons["no-image"] == 1


def test_a_blank_image_leaves_the_words(tmp_path):
    spec = composite_spec("fake+words:title", [FakeEncoder().spec, load("words:title").spec], [1.0, 1.0])

    class Joined(FakeEncoder):
        def __init__(self):
            super().__init__()
            self.spec = spec

        def encode(self, pixels):
            rows = super().encode(pixels)
            return np.concatenate([rows, np.zeros((len(rows), 512), np.float32)], axis=1)

    shop = Shop()
    shop.files["black.png"] = png(np.zeros((8, 8, 3)))
    shop.put("black", "black.png", title="coal")
    shop.put("other", 1, title="coal")
    report = index(shop, tmp_path, Joined())
    assert (report.items, report.skipped) == (2, 0)
    black, other = (vectors_of(tmp_path)[key] for key in (("black", "black.png"), ("other", "1.png")))
    assert float(black @ other) == pytest.approx(np.sqrt(0.5), abs=CLOSE)


def test_tables_and_engines_answer_as_the_store(folder, tmp_path):
    pytest.importorskip("lancedb")
    write_neighbors(folder, tmp_path / "out.jsonl", NeighborsOptions(k=3, nested=True))
    rows = map(json.loads, (tmp_path / "out.jsonl").read_text("utf-8").splitlines())
    lists = {row["item_id"]: row["neighbors"] for row in rows}
    publish(f"lance:{tmp_path / 'engine'}", folder)
    with Recommender.open(folder) as store, Recommender.open_engine(f"lance:{tmp_path / 'engine'}") as engine:
        assert len(lists) == 18
        for item, neighbors in lists.items():
            assert [each[0] for each in neighbors] == ids(store.similar(item, k=3))
        for query in (Query(items=("mug-bare",), k=6), Query(texts=("vase",), k=6)):
            assert engine.query(query) == store.query(query)


def test_duplicates_are_those_of_images(tmp_path):
    shop = shop_of_words()
    for number in range(9):
        shop.put(f"soon{number}", "soon.png", title=f"something else, {number}")
    shop.files["soon.png"] = png(np.full((24, 24, 3), 128))
    shop.put("again", "mug0.png", title="quite another title")
    shop.put("bare", title="plain mug")
    index(shop, tmp_path, NAME)
    with Store.open(tmp_path) as store:
        found = find_duplicates(store, DuplicateOptions(threshold=0.9999, placeholder=9))
    assert [(group.kind, group.items) for group in found.groups] == [("exact", ("again", "mug0"))]
    assert [len(placeholder.items) for placeholder in found.placeholders] == [9]


def test_tune_learns_how_much_words_count(own):
    """The colors of the images say nothing here, and the words everything."""
    shop = shop_of_words()
    for number, item in enumerate(sorted(shop.items)):
        if shop.items[item].images:
            shop.files[f"{item}.png"] = noise(number)
    index(shop, own, "color+words:title@0.02")
    with Store.open(own) as store:
        tuned = tune(store, TuneOptions(labels="kind", words=True))
        share = float(tuned.projection.provenance["words"])
    assert tuned.is_better
    assert share > 0.1
    before = vectors_of(own)
    retune(own, tuned.projection, encoder=store.encoder.fingerprint)
    words = words_of(store.encoder.name)
    for key, vector in vectors_of(own).items():
        parts = np.split(before[key], [384])
        lengths = [np.sqrt((1 - share) / (1 - words.share)), np.sqrt(share / words.share)]
        wanted = np.concatenate([part * length for part, length in zip(parts, lengths, strict=True)])
        np.testing.assert_allclose(vector, wanted / np.linalg.norm(wanted), atol=1e-6)
    update([{"id": "mug0", "title": "a vase now"}], own, images=shop)
    with Recommender.open(own) as recommender:
        found = recommender.query(Query(texts=("vase",), k=7))
        assert kinds_of(found).count("vase") == 6
        assert "mug0" in ids(found)
        assert recommender.similar_to_image(shop.files["bowl2.png"], k=1)[0].id == "bowl2"


def test_what_the_vectors_alone_teach_takes_images_without_words(own):
    with Store.open(own) as store:
        tuned = tune(store, TuneOptions(labels="kind", unsupervised=True))
    retune(own, tuned.projection, encoder=store.encoder.fingerprint)
    with Store.open(own) as store:
        words = words_of(store.encoder.name)
        image = words.left_out(store.encoder_vectors(store.positions()[:1]))
        wanted = np.concatenate([np.sqrt(1 - words.share) * image[0, :384], store.projection.mean[384:]])
        wanted = normalize_rows(store.projection.apply(wanted[None]))[0]
        np.testing.assert_allclose(store.project(words.not_known(image)), wanted, atol=1e-6)
        bare = next(row for row in store.stored_rows() if row.id == "mug-bare")
        vector = store.encoder_vectors(np.array([bare.position]))[0]
        wanted = np.concatenate([store.projection.mean[:384], np.sqrt(words.share) * vector[384:]])
        wanted = normalize_rows(store.projection.apply(wanted[None]))[0]
        np.testing.assert_allclose(store.vectors(np.array([bare.position])), wanted, atol=1e-6)
    with Recommender.open(own) as recommender:
        assert kinds_of(recommender.similar_to_image(shop_of_words().files["bowl2.png"], k=4)) == ["bowl"] * 4
        assert kinds_of(recommender.similar("mug-bare", k=5)) == ["mug"] * 5


def test_an_image_does_not_find_its_item_by_the_words_of_it(tmp_path):
    """Each item has two images that have nothing in common but the words."""
    shop = Shop()
    for number in range(12):
        shop.put(f"item{number}", 2 * number, 2 * number + 1, title=f"unique{number}")
    for name in ("color", "color+words:title"):
        index(shop, tmp_path / name, name)
    with Store.open(tmp_path / "color") as plain, Store.open(tmp_path / "color+words:title") as store:
        compared = compare_stores(plain, store, EvaluationTask(per_image=True))
        assert compared.differences["mrr"].value == pytest.approx(0.0, abs=0.02)
        assert compared.candidate.measures["mrr"].value < 0.7
        with pytest.raises(EvaluationError, match="find each other by these alone; name --labels or --pairs"):
            tune(store, TuneOptions())
        with pytest.raises(EvaluationError, match="color reads no words of items"):
            tune(plain, TuneOptions(words=True))
    shop.put("bare", title="unique3")
    index(shop, tmp_path / "color+words:title")
    with Store.open(tmp_path / "color+words:title") as store:
        assert "bare" not in measure_relevance(store, EvaluationTask(per_image=True)).result.queries


def test_a_table_keeps_rows_without_an_image(tmp_path):
    (tmp_path / "red.png").write_bytes(noise(1))
    (tmp_path / "catalog.csv").write_text("id,image,title\na,red.png,red mug\nb,,plain mug\nc,,\n")
    report = run_index(tmp_path / "catalog.csv", tmp_path / "words", encoder="color+words:title")
    assert (report.items, dict(report.skipped_reasons)) == (2, {"no-image": 1})
    plain = run_index(tmp_path / "catalog.csv", tmp_path / "plain", encoder="color")
    assert (plain.items, dict(plain.skipped_reasons)) == (1, {"no-image": 2})
    assert run_index(tmp_path / "catalog.csv", tmp_path / "words").embedded == 0


def test_a_shop_without_words_skips_what_has_no_image(tmp_path):
    report = index(shop_of_words(), tmp_path)
    assert (report.items, dict(report.skipped_reasons)) == (15, {"no-image": 3})


def test_an_image_without_colors_is_none(folder):
    with Recommender.open(folder) as recommender, pytest.raises(ImageError):
        recommender.similar_to_image(b"", k=1)


def test_the_colors_of_an_image_stay_with_other_words(tmp_path):
    shop = shop_of_words()
    run_index(shop, tmp_path, encoder=NAME, options=IndexOptions(names_colors=True))
    with Store.open(tmp_path) as store:
        before = store.attributes("mug0")["image_colors"]
    update([{"id": "mug0", "title": "cup"}], tmp_path, images=shop)
    with Store.open(tmp_path) as store:
        assert store.attributes("mug0")["image_colors"] == before == '["red"]'
        assert "image_colors" not in store.attributes("mug-bare")


def test_attributes_that_no_item_has_are_named(tmp_path):
    shop = shop_of_words()
    shop.items["mug1"].attributes["rare"] = "in one partition"
    options = IndexOptions(workers=1, partitions=2)
    report = run_index(shop, tmp_path, encoder="color+words:Titel,title,rare@0.5", options=options)
    (note,) = [note for note in report.notes if "reads words" in note]
    assert note.endswith("no item has the attribute 'Titel'; the nearest is title; items have kind, price, rare, title")


def test_words_that_say_nothing_are_named(tmp_path):
    shop = shop_of_words()
    for item in shop.items.values():
        item.attributes["blank"] = None
    name, options = "color+words:image_colors,title,blank@0.5", IndexOptions(names_colors=True)
    notes = [note for note in run_index(shop, tmp_path / "a", encoder=name, options=options).notes if "words" in note]
    assert [note.partition("that are not there: ")[2] for note in notes] == [
        "image_colors are seen in the images after the words are read; a part `color` compares the colors",
        "the attribute 'blank' is null in every item",
    ]
    for item in shop.items.values():
        item.attributes.update(image_colors="of the catalog", blank="")
    assert run_index(shop, tmp_path / "b", encoder=name, options=options).notes == ()


def test_how_much_words_count_is_not_learned_from_variants_that_nobody_named(tmp_path):
    shop = shop_of_words()
    for item in shop.items.values():
        item.attributes["variant_group"] = item.attributes["kind"]
    index(shop, tmp_path, NAME)
    with Store.open(tmp_path) as store, pytest.raises(EvaluationError, match="name --labels or --pairs"):
        tune(store, TuneOptions(words=True))
