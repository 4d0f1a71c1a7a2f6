"""`image_colors`: what the pixels of an item show, kept right by every kind of run."""

import hashlib
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_shop import BLACK, FakeEncoder, Shop, Unused, png

from vision_recs.errors import FilterError, PolicyError
from vision_recs.filters import Filter
from vision_recs.jobs import IndexOptions, index, update, verify
from vision_recs.recommend import Policy, Query, Recommender
from vision_recs.recommend.colors import shows_colors
from vision_recs.recommend.rules import Differ, Rules, Same
from vision_recs.store import Store
from vision_recs.store.added import added_text
from vision_recs.store.shards import ShardInfo, read_images

NAVY, RED, CREAM = (28, 42, 79), (208, 28, 36), (242, 232, 204)


def photo(color, seed=0):
    """Return an image of one color; another *seed* gives other bytes."""
    pixels = np.full((16, 16, 3), color, np.uint8)
    pixels[0, 0] = seed
    return png(pixels)


@pytest.fixture
def shop():
    shop = Shop()
    for number, (name, colors) in enumerate({"mug": [NAVY], "bowl": [RED], "set": [RED, CREAM], "cup": [NAVY]}.items()):
        files = {f"{name}{at}.png": photo(color, number) for at, color in enumerate(colors)}
        shop.files |= files
        shop.put(name, *files, price=number)
    return shop


def run(shop, folder, *, colors=None, encoder=None):
    options = IndexOptions(shard_size=2, batch_size=2, workers=2, names_colors=colors)
    return index(shop, folder, encoder=encoder or FakeEncoder(), options=options)


@pytest.fixture
def folder(shop, tmp_path):
    run(shop, tmp_path / "store", colors=True)
    return tmp_path / "store"


def colors(folder):
    with Store.open(folder) as store:
        return {item: json.loads(store.attributes(item).get("image_colors", "null")) for item in store.items.ids()}


WANTED = {"mug": ["navy"], "bowl": ["red"], "set": ["red", "cream"], "cup": ["navy"]}


def test_items_have_the_colors_of_their_images_and_images_their_own(folder):
    assert colors(folder) == WANTED
    with Store.open(folder) as store:
        assert [image.attributes for image in store.items.images("set")] == [
            {"own_colors": '["red"]'},
            {"own_colors": '["cream"]'},
        ]
    assert list(verify(folder)) == []


def test_without_the_option_nothing_is_added(shop, tmp_path):
    run(shop, tmp_path / "store")
    with Store.open(tmp_path / "store") as store:
        assert store.attributes("mug") == {"price": 0}


def test_a_rerun_embeds_and_publishes_nothing(shop, folder):
    report = run(shop, folder, encoder=Unused())
    assert (report.embedded, report.generation) == (0, 1)


def test_changed_attributes_and_new_images_keep_the_colors(shop, folder):
    shop.put("mug", "mug0.png", price=9)
    shop.files["more.png"] = photo(CREAM, 7)
    shop.put("bowl", "bowl0.png", "more.png", price=1)
    assert run(shop, folder).embedded == 1
    assert colors(folder) == WANTED | {"bowl": ["red", "cream"]}
    with Store.open(folder) as store:
        assert store.attributes("mug")["price"] == 9


def test_updates_keep_the_colors_and_follow_new_images(shop, folder):
    update([{"id": "set", "price": 5, "gift": True}], folder, encoder=Unused())
    assert colors(folder) == WANTED
    with Store.open(folder) as store:
        assert store.attributes("set") == {"price": 5, "gift": True, "image_colors": '["red", "cream"]'}
        assert store.items.images("set")[1].attributes == {"own_colors": '["cream"]'}
    shop.files["new.png"] = photo(NAVY, 8)
    update([{"id": "set", "image": "new.png"}], folder, encoder=FakeEncoder(), images=shop)
    assert colors(folder)["set"] == ["navy"]


def test_a_run_that_was_stopped_embeds_nothing_twice(shop, tmp_path):
    folder = tmp_path / "store"
    options = IndexOptions(shard_size=2, batch_size=2, names_colors=True, limit=2)
    assert not index(shop, folder, encoder=FakeEncoder(), options=options).complete
    assert run(shop, folder, colors=True).embedded == 3
    assert colors(folder) == WANTED


def test_switching_on_embeds_again_and_switching_off_does_not(shop, tmp_path):
    folder = tmp_path / "store"
    run(shop, folder)
    assert run(shop, folder, colors=True).embedded == 5
    assert colors(folder) == WANTED
    assert run(shop, folder, colors=False, encoder=Unused()).embedded == 0
    assert set(map(str, colors(folder).values())) == {"None"}
    assert run(shop, folder, colors=True, encoder=Unused()).embedded == 0  # the shards have them
    assert colors(folder) == WANTED
    assert list(verify(folder)) == []


def test_the_catalogs_own_attribute_stays(shop, tmp_path):
    shop.put("mug", "mug0.png", image_colors="blue-ish", note='a " "image_colors":"[x]" in a text')
    run(shop, tmp_path / "store", colors=True)
    with Store.open(tmp_path / "store") as store:
        assert store.attributes("mug") == {
            "image_colors": "blue-ish",
            "note": 'a " "image_colors":"[x]" in a text',
        }
    assert run(shop, tmp_path / "store", encoder=Unused()).generation == 1


def test_an_item_without_attributes_and_a_skipped_image(shop, tmp_path):
    shop.files["black.png"] = BLACK
    shop.put("plain", "mug0.png", "black.png")
    run(shop, tmp_path / "store", colors=True)
    assert colors(tmp_path / "store")["plain"] == ["navy"]
    assert run(shop, tmp_path / "store", encoder=Unused()).generation == 1


def answer(folder, query, policy=None):
    with Store.open(folder) as store:
        found = Recommender.of_stores(store).query(query, policy or Policy(one_per=None))
        return [match.id for match in found]


def test_queries_name_colors(folder):
    assert set(answer(folder, Query(items=("set",), where=shows_colors(["navy blue"])))) == {"mug", "cup"}
    assert set(answer(folder, Query(items=("mug",), where=shows_colors(["crimson"])))) == {"bowl", "set"}
    assert answer(folder, Query(items=("mug",), where=shows_colors(["red", "cream"]))) == ["set"]
    assert shows_colors([]) is None


def test_a_text_without_a_color_and_a_store_without_colors_are_refused(shop, tmp_path):
    with pytest.raises(FilterError, match=r"^filter: 'striped' names no color; the colors are beige, black"):
        shows_colors(["striped"])
    run(shop, tmp_path / "store")
    with pytest.raises(FilterError, match=r"^filter: no item has image_colors.*index CATALOG --colors"):
        answer(tmp_path / "store", Query(items=("mug",), where=shows_colors(["navy"])))
    rules = Rules(attribute_rules=(Same("image_colors"),))
    with pytest.raises(PolicyError, match="index CATALOG --colors"):
        answer(tmp_path / "store", Query(items=("mug",)), Policy(rules=rules))


def test_a_wide_color_need_not_be_all_it_means_but_a_written_one_is_known(folder):
    with Store.open(folder) as store:
        blue = shows_colors(["blue"])
        assert blue is not None
        assert store.unknown_values(blue) == []
        assert store.unknown_values(Filter.parse('"navi" in image_colors')) == [
            "no item has 'navi' as image_colors; the nearest is 'navy'"
        ]


def test_rules_compare_sets_by_their_elements(folder):
    same, differ = (
        Policy(one_per=None, rules=Rules(attribute_rules=(rule("image_colors"),))) for rule in (Same, Differ)
    )
    assert answer(folder, Query(items=("set",)), same) == ["bowl"]
    assert set(answer(folder, Query(items=("set",)), differ)) == {"mug", "cup"}


def test_shards_of_an_early_version_have_colors_in_a_column_of_their_own(tmp_path):
    columns = {"item_id": ["a", "b"], "image": ["a.png", "b.png"], "digest": [b"1", b"2"], "row": [0, 1]}
    table = pa.table({**columns, "reason": [None] * 2, "message": [None] * 2, "colors": ["navy,red", None]})
    pq.write_table(table, tmp_path / "images.parquet")
    digest = hashlib.sha256((tmp_path / "images.parquet").read_bytes()).hexdigest()
    images = read_images(tmp_path, ShardInfo("", 2, 4, {"images.parquet": digest}))
    assert [image.added for image in images] == [added_text(colors=["navy", "red"]), None]
