"""Workers of a cluster make all that one machine makes: words, colors, products, and what an encoder looked at."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from cluster_shop import WatchedShop, noted
from fake_shop import content, png
from focused_shop import BOXES, Looking, make_shop

from vision_recs.encoders import grounding
from vision_recs.errors import WeightsNotFound, WorkerRefused
from vision_recs.images.crop import WHOLE, Crop
from vision_recs.jobs import ClusterOptions, IndexOptions, embed, index, verify
from vision_recs.jobs.cluster import plan_blocks, worker
from vision_recs.store.ledgers import Ledger, LedgerRow, read_ledger

WORDS = "color+words:title,brand@0.5"
COLORS = {"mug": (210, 30, 36), "vase": (46, 138, 70), "bowl": (36, 88, 184)}

pytestmark = pytest.mark.usefixtures("pools")


def shop_of_words(folder):
    """Three items of each kind, of one color, and one of each kind that has no image."""
    shop = WatchedShop(root=str(folder))
    for kind, color in COLORS.items():
        for number in range(3):
            shop.files[f"{kind}{number}.png"] = png(np.full((8, 8, 3), color) + number)
            shop.put(f"{kind}{number}", f"{kind}{number}.png", title=f"{kind} number {number}", price=number)
        shop.put(f"{kind}-bare", title=kind, price=9)
    return shop


def options(*, on_cluster=True, **others):
    cluster = ClusterOptions(straggler_s=0) if on_cluster else None
    return IndexOptions(shard_size=2, batch_size=2, workers=1, cluster=cluster, **others)


def by_workers(shop, store, encoder=None, **others):
    return embed(shop, store, encoder=encoder, options=options(**others))


def by_one_machine(shop, store, encoder=None, **others):
    return embed(shop, store, encoder=encoder, options=options(on_cluster=False, **others))


def reads(shop):
    """Return which images were read since this was asked last, by whomever."""
    file = Path(shop.root) / "reads"
    found = sorted(line.split()[1] for line in noted(file))
    file.unlink(missing_ok=True)
    return found


def test_colors_and_what_an_encoder_looked_at_are_kept(tmp_path):
    catalog = make_shop(tmp_path / "shop")
    by_workers(catalog, tmp_path / "many", Looking(), names_colors=True)
    by_one_machine(catalog, tmp_path / "one", Looking(), names_colors=True)
    many = content(tmp_path / "many")
    assert many == content(tmp_path / "one")
    images = {item: shown[0][3] for item, (_, shown) in many.items.items()}
    assert {item: json.loads(each["own_focus"]) for item, each in images.items() if "own_focus" in each} == BOXES
    assert all("own_colors" in each for each in images.values())
    assert all("image_colors" in attributes for attributes, _ in many.items.values())
    assert list(verify(tmp_path / "many")) == []
    assert by_workers(catalog, tmp_path / "many", Looking()).generation == 1


def test_words_are_read_also_of_items_without_an_image(tmp_path):
    shop = shop_of_words(tmp_path)
    shop.put("nothing", price=1)
    report = by_workers(shop, tmp_path / "many", WORDS, names_colors=True)
    assert len(reads(shop)) == 9
    assert shop.reads == []
    by_one_machine(shop, tmp_path / "one", WORDS, names_colors=True)
    assert content(tmp_path / "many") == content(tmp_path / "one")
    assert (report.items, report.embedded, report.skipped_reasons) == (12, 12, {"no-image": 1})
    assert list(verify(tmp_path / "many")) == []


def test_other_words_read_no_image_and_new_images_are_read_by_workers(tmp_path):
    shop = shop_of_words(tmp_path)
    by_workers(shop, tmp_path / "many", WORDS, names_colors=True)
    reads(shop)
    shop.put("mug0", "mug0.png", title="another thing", brand="Acme", price=0)
    shop.put("mug1", "mug1.png", title="mug number 1", price=50)
    shop.put("vase-bare", title="jug", price=9)
    shop.put("bowl0", title="bowl without a picture", price=0)
    shop.put("bowl1", "mug2.png", title="mug number 2", price=1)
    shop.files["vase0.png"] = png(np.full((8, 8, 3), 128))
    shop.put("vase0", "vase0.png", title="gray", price=0)
    shop.touched["vase1.png"] = 1  # copied again
    shop.put("vase1", "vase1.png", title="green", price=0)
    report = by_workers(shop, tmp_path / "many", names_colors=True)
    assert reads(shop) == ["mug0.png", "mug2.png", "vase0.png", "vase1.png"]
    assert shop.reads == []  # the driver saw that the first is unchanged
    assert report.embedded == 5
    by_one_machine(shop, tmp_path / "one", WORDS, names_colors=True)
    assert content(tmp_path / "many") == content(tmp_path / "one")
    reads(shop)
    assert by_workers(shop, tmp_path / "many").generation == 2
    assert reads(shop) == []


def test_a_run_that_goes_on_takes_nothing_that_was_asked_otherwise(tmp_path):
    shop = shop_of_words(tmp_path)
    assert not by_workers(shop, tmp_path / "many", WORDS, limit=4).complete
    assert len(reads(shop)) == 4
    shop.put("mug0", "mug0.png", title="another thing", price=0)
    assert not by_workers(shop, tmp_path / "many", WORDS, limit=4).complete
    assert "mug0.png" in reads(shop)
    assert by_workers(shop, tmp_path / "many", WORDS).complete
    assert len(reads(shop)) == 9 - 3 - 4
    by_one_machine(shop, tmp_path / "one", WORDS)
    assert content(tmp_path / "many") == content(tmp_path / "one")


def test_words_that_were_stopped_go_on_where_they_were(tmp_path):
    shop = shop_of_words(tmp_path)
    for item in [item for item in shop.items if item[-1] in "12"]:
        del shop.items[item]
    assert not by_workers(shop, tmp_path / "many", WORDS, limit=2).complete
    assert not by_workers(shop, tmp_path / "many", WORDS, limit=2).complete  # two of three have words only
    report = by_workers(shop, tmp_path / "many", WORDS)
    assert (report.complete, report.embedded, report.items) == (True, 4, 6)
    assert len(reads(shop)) == 3
    by_one_machine(shop, tmp_path / "one", WORDS)
    assert content(tmp_path / "many") == content(tmp_path / "one")


@pytest.mark.parametrize("first", [False, True])
def test_ledgers_without_colors_are_not_for_a_store_with_them_nor_the_other_way_round(tmp_path, first):
    shop = shop_of_words(tmp_path)
    by_workers(shop, tmp_path / "many", WORDS, names_colors=first, limit=4)
    reads(shop)
    by_workers(shop, tmp_path / "many", WORDS, names_colors=not first)
    assert len(reads(shop)) == 9
    by_one_machine(shop, tmp_path / "one", WORDS, names_colors=not first)
    assert content(tmp_path / "many") == content(tmp_path / "one")


def test_one_machine_goes_on_from_blocks_that_were_planned(tmp_path):
    shop = shop_of_words(tmp_path)
    with plan_blocks(shop, tmp_path / "many", encoder=WORDS, options=options(names_colors=True)) as plan:
        work, blocks = pickle.loads(pickle.dumps((plan.work, list(plan.blocks))))
    for block in blocks[:3]:
        work.embed(block)
    assert len(reads(shop)) == 6
    assert by_one_machine(shop, tmp_path / "many", WORDS, names_colors=True).complete
    assert len(reads(shop)) == 3
    by_one_machine(shop, tmp_path / "one", WORDS, names_colors=True)
    assert content(tmp_path / "many") == content(tmp_path / "one")


class ByWord:
    """A detector that finds mugs on the left of an image and lamps on the right, and nothing else."""

    digest = "by word"

    def find(self, images, texts):
        sides = {"mug": Crop(0.0, 0.0, 0.5, 1.0), "lamp": Crop(0.5, 0.0, 0.5, 1.0)}
        return [sides.get(text, WHOLE) for _, text in zip(images, texts, strict=True)]


@pytest.fixture
def grounded(tmp_path):
    shop = WatchedShop(root=str(tmp_path))
    for number, kind in enumerate(("mug", "lamp", "", "mug")):
        random = np.random.default_rng(number)
        shop.files[f"{number}.png"] = png(random.integers(0, 256, (16, 16, 3)))
        shop.put(f"item{number}", f"{number}.png", category=kind)
    return shop


def test_a_detector_finds_products_for_workers(grounded, tmp_path, monkeypatch):
    monkeypatch.setattr(grounding, "load_detector", lambda *_, **__: ByWord())
    asked = {"focus": "grounding", "detector": "by word"}
    by_workers(grounded, tmp_path / "many", "color", **asked)
    by_one_machine(grounded, tmp_path / "one", "color", **asked)
    by_one_machine(grounded, tmp_path / "whole", "color")
    many = content(tmp_path / "many")
    assert many == content(tmp_path / "one")
    assert many.items["item0"][1][0][2] != content(tmp_path / "whole").items["item0"][1][0][2]
    assert json.loads(many.items["item1"][1][0][3]["own_focus"]) == [[0.5, 0.0, 0.5, 1.0]]


def test_a_machine_without_the_detector_is_refused(grounded, tmp_path, monkeypatch):
    monkeypatch.setattr(grounding, "load_detector", lambda *_, **__: ByWord())
    asked = options(focus="grounding", detector="by word")
    with plan_blocks(grounded, tmp_path / "many", encoder="color", options=asked) as plan:
        work, block = pickle.loads(pickle.dumps((plan.work, next(plan.blocks))))

    def nothing(*_, **__):
        raise WeightsNotFound("by word has no detector")

    monkeypatch.setattr(grounding, "load_detector", nothing)
    monkeypatch.setattr(worker, "_encoders", {})
    reads(grounded)
    with pytest.raises(WorkerRefused, match="by word has no detector"):
        work.embed(block)
    assert reads(grounded) == []


def test_ledgers_of_an_earlier_version_are_read(tmp_path):
    row = LedgerRow("a", "a.png", bytes(32), "signature", 0, asked="signature")
    path = tmp_path / "ledger.parquet"
    path.write_bytes(Ledger("block", "space", "shard", 1, [row]).to_bytes())
    table = pq.read_table(path).drop_columns(["added"])
    named = json.loads(table.schema.metadata[b"visrec"])
    del named["names_colors"]
    pq.write_table(table.replace_schema_metadata({b"visrec": json.dumps(named).encode()}), path)
    assert read_ledger(path) == Ledger("block", "space", "shard", 1, [row])


def test_an_index_is_built_of_what_workers_have_embedded(tmp_path):
    shop = shop_of_words(tmp_path)
    by_workers(shop, tmp_path / "store", WORDS, names_colors=True)
    reads(shop)
    report = index(shop, tmp_path / "store", options=IndexOptions(workers=1))
    assert (report.embedded, reads(shop)) == (0, [])
