"""A catalog that is split into several stores: they answer as one store, and nothing gets into the wrong one."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from fake_shop import BulkShop, FakeEncoder, Unused, content, shop_of

import vision_recs
from vision_recs.batch.neighbors import NeighborsOptions, write_neighbors
from vision_recs.catalog import CatalogOptions
from vision_recs.catalog.changes import changes_of
from vision_recs.errors import CatalogError, EmptyCatalog, SpaceMismatch, StoreError, StoreNotFound
from vision_recs.evaluate import EvaluationTask, measure_index_quality, measure_relevance
from vision_recs.filters import Filter
from vision_recs.jobs import IndexOptions, embed, index, update, update_together, verify
from vision_recs.recommend import Event, History, Policy, Query, Rules, open_stores
from vision_recs.recommend.joined import JoinedStores
from vision_recs.recommend.rules import Boost, Same
from vision_recs.store import Layout, Store
from vision_recs.store.partitions import Partition, number_of, store_folders

RULES = Rules(boosts=(Boost(Filter.parse("in_stock"), 0.1, "in stock"),), attribute_rules=(Same("in_stock"),))


@pytest.fixture(autouse=True)
def _encoders_by_name(monkeypatch):
    monkeypatch.setattr("vision_recs.encoders.store_encoder.load_encoder", lambda name, **_: FakeEncoder(name))


@pytest.fixture(scope="module")
def shop():
    """Items with one or two images, variants, images that several items show, and one item that cannot be used."""
    shop = BulkShop()
    for number in range(40):
        images = (number % 31, 50 + number) if number % 3 == 0 else (number % 31,)
        group = f"group {number % 9}" if number % 4 else None
        shop.put(f"item{number:02}", *images, price=number, in_stock=number % 5 > 0, variant_group=group)
    shop.files["broken.png"] = b"nothing"
    shop.put("broken", "broken.png", price=99)
    return shop


@pytest.fixture(scope="module")
def stores(shop, tmp_path_factory):
    """The same shop in one store, and split into three."""
    folder = tmp_path_factory.mktemp("stores")
    index(shop, folder / "one", encoder=FakeEncoder())
    report = index(shop, folder / "several", encoder=FakeEncoder(), options=IndexOptions(partitions=3))
    # an image that two stores show is embedded in each
    assert (report.items, report.images, report.embedded, report.skipped) == (40, 54, 53, 1)
    assert (report.generation, report.complete, report.skipped_reasons) == (3, True, {"not-an-image": 1})
    return folder / "one", folder / "several"


@pytest.fixture
def own(shop, tmp_path):
    """A shop that is split into three, to be changed."""
    changed = BulkShop(dict(shop.items), dict(shop.files))
    index(changed, tmp_path / "shop", encoder=FakeEncoder(), options=IndexOptions(partitions=3))
    return changed, tmp_path / "shop"


def parts_of(folder):
    return [folder / f"partition-{number}-of-3" for number in range(3)]


def all_items(folders):
    return {item: found for folder in folders for item, found in content(folder).items.items()}


def test_each_item_is_in_the_store_that_its_id_says(stores):
    one, several = stores
    for number, folder in enumerate(parts_of(several)):
        held = content(folder).items
        assert held
        assert {number_of(item, 3) for item in held} == {number}
        assert Store.open(folder).manifest.partition == (number, 3)
    assert all_items(parts_of(several)) == content(one).items
    assert number_of("mug-01", 4) == int("b2cb83dd", 16) % 4  # as any program can compute it


def test_queries_are_answered_as_by_one_store(shop, stores):
    queries = [
        (Query(items=(item,), k=k, where=where), policy)
        for item, k in (("item00", 5), ("item07", 60), ("item33", 9))
        for where in (None, Filter.parse("price < 20"), Filter.parse("variant_group is null"))
        for policy in (Policy(), Policy(one_per=None), Policy(rules=RULES), Policy(diversity=0.4))
    ]
    queries.append((Query(images=(shop.files["7.png"],), negatives=("item03",), explain=True), Policy()))
    queries.append((Query(history=History((Event("item01"), Event("item20"), Event("gone")))), Policy()))
    one, several = stores
    for named in (several, several / "STORES", parts_of(several), [str(each) for each in reversed(parts_of(several))]):
        with vision_recs.open(one) as expected, vision_recs.open(named) as found:
            assert [found.query(*each) for each in queries] == [expected.query(*each) for each in queries]
            assert found.query_batch(queries) == expected.query_batch(queries)
    with pytest.raises(vision_recs.VisionRecsError, match="no item has the id 'item99'; the nearest are item"):
        vision_recs.open(several).similar("item99")


@pytest.mark.parametrize("method", ["exact", "index"])
@pytest.mark.parametrize("policy", [Policy(), Policy(one_per=None), Policy(rules=RULES), Policy(diversity=0.4)])
def test_the_neighbors_of_every_item_are_those_of_one_store(stores, tmp_path, method, policy):
    options = NeighborsOptions(k=6, policy=policy, method=method, query_filter=Filter.parse("price > 3"))
    reports = [write_neighbors(each, tmp_path / f"{each.name}.csv", options) for each in stores]
    one, several = ((tmp_path / f"{each.name}.csv").read_text() for each in stores)
    assert len(one.splitlines()) > 100
    assert one == several
    assert (reports[1].generation, reports[1].items) == (3, reports[0].items)
    about = json.loads((tmp_path / "several.csv.about.json").read_text())
    assert (about["generation"], about["method"]) == (3, reports[0].method)


def test_lists_of_several_stores_are_not_compared_with_an_older_generation(stores, tmp_path):
    with pytest.raises(StoreNotFound, match="lists of several stores cannot be compared"):
        write_neighbors(stores[1], tmp_path / "n.csv", NeighborsOptions(changed_since=1))


def test_vectors_of_joined_stores_have_positions_and_equal_images_have_one(stores):
    one, several = stores
    with Store.open(one) as whole, open_stores(several) as opened:
        joined = JoinedStores(opened.stores)
        assert [row[:3] for row in joined.stored_rows()] == [row[:3] for row in whole.stored_rows()]
        assert list(joined.all_attributes()) == list(whole.all_attributes())
        positions = joined.positions()
        assert len(positions) == len(whole.positions()) == 45
        assert {row.position for row in joined.stored_rows()} == set(positions.tolist())
        rows = joined.rows(positions.tolist(), limit=9)
        assert sorted(rows.values()) == sorted(whole.rows(whole.positions().tolist(), limit=9).values())
        digests = [rows[position][0].digest for position in positions.tolist()]
        assert np.array_equal(joined.vectors(positions[::-1]), whole.vectors_of(digests[::-1]))


def test_what_is_measured_of_several_stores_is_what_one_store_has(stores):
    task = EvaluationTask(labels="variant_group")
    found = []
    for place in stores:
        with open_stores(place) as opened:
            (quality,) = measure_index_quality(opened, ["flat"])
            assert (quality.recall_at_1, quality.recall_at_10, quality.queries) == (1.0, 1.0, 45)
            relevance = measure_relevance(opened, task)
            assert relevance.provenance.generation == (1 if place == stores[0] else 3)
            found.append((relevance.measures, relevance.queries, relevance.targets))
    assert found[0] == found[1]


def test_a_second_run_embeds_nothing_and_a_changed_item_goes_to_its_store_alone(own):
    shop, folder = own
    report = index(shop, folder, encoder=Unused())  # the number of partitions is as before
    assert (report.embedded, report.generation) == (0, 3)
    shop.put("item05", 5, price=500)
    del shop.items["item06"]
    shop.put("new", 90, price=1)
    touched = {number_of(item, 3) for item in ("item05", "item06", "new")}
    report = index(shop, folder, encoder=FakeEncoder(), options=IndexOptions(partitions=3))
    assert (report.items, report.embedded, report.removed) == (40, 1, 1)
    for number, part in enumerate(parts_of(folder)):
        assert Store.open(part).generation == (2 if number in touched else 1)
    assert vision_recs.open(folder).items.attributes_of(["item05", "item06", "new"]) == {
        "item05": {"price": 500},
        "new": {"price": 1},
    }


def test_partitions_can_be_made_one_by_one_and_in_any_order(shop, stores, tmp_path):
    folder = tmp_path / "shop"
    for number in (2, 0, 1):
        if number != 2:
            with pytest.raises(StoreError, match=r"there is no store|partition . of 3 is missing"):
                vision_recs.open(folder)
        options = IndexOptions(partition=Partition(number, 3))
        report = index(shop, folder, encoder=FakeEncoder(), options=options)
        assert report.generation == 1
    assert all_items(parts_of(folder)) == content(stores[0]).items


def test_a_limit_counts_the_images_of_all_partitions_and_the_next_run_goes_on(shop, tmp_path):
    folder, done = tmp_path / "shop", 0
    for _ in range(5):
        encoder = FakeEncoder()
        options = IndexOptions(partitions=3, limit=12, shard_size=4, batch_size=4)
        report = index(shop, folder, encoder=encoder, options=options)
        assert report.embedded <= 12
        done += report.embedded
        if report.complete:
            break
    assert (report.complete, done) == (True, 53)


@pytest.mark.parametrize("changes", ["mappings", "table"])
def test_a_change_is_made_in_the_store_of_its_item(own, tmp_path, changes):
    shop, folder = own
    rows = [
        {"id": "item05", "price": 7.5},
        {"id": "item06", "deleted": True},
        {"id": "unheard of", "price": 1},
        {"id": "new", "image": "90.png", "price": 3},
    ]
    shop.put("new", 90)
    if changes == "table":
        table = tmp_path / "changes.jsonl"
        table.write_text("".join(json.dumps(row) + "\n" for row in rows))
        rows = table
    report = update(rows, folder, encoder=FakeEncoder(), images=shop)
    assert (report.changes, report.changed, report.added, report.removed, report.unknown) == (4, 1, 1, 1, 1)
    assert (report.items, report.embedded) == (40, 1)
    touched = {number_of(item, 3) for item in ("item05", "item06", "new")}
    assert report.generation == 3 + len(touched)
    for number, part in enumerate(parts_of(folder)):
        assert Store.open(part).generation == (2 if number in touched else 1)
    found = vision_recs.open(folder).items.attributes_of(["item05", "item06", "new"])
    assert {item: attributes["price"] for item, attributes in found.items()} == {"item05": 7.5, "new": 3}
    assert list(verify(folder)) == []


def test_changes_of_several_requests_are_told_apart(own):
    _, folder = own
    parts = [list(changes_of([{"id": item, "price": 7}], CatalogOptions())) for item in ("item05", "nobody")]
    first, second = update_together(parts, folder)
    assert (first.changes, first.unknown, second.changes, second.unknown) == (1, 0, 1, 1)
    assert first.generation == second.generation == 4


def test_what_there_is_to_say_of_the_changes_is_said_of_all_partitions_together(own):
    _, folder = own
    (note,) = update([{"id": f"item{number:02}", "price": "ask"} for number in range(9)], folder).notes
    assert note.startswith("the attribute 'price' holds numbers, and text in 9 changes, the first 'ask' of the item")


def test_an_error_in_the_changes_costs_nothing(own):
    _, folder = own
    with pytest.raises(CatalogError):
        update([{"id": "item05", "price": 7.5}, {"price": 1}], folder)
    assert [Store.open(part).generation for part in parts_of(folder)] == [1, 1, 1]


def test_nothing_gets_into_the_wrong_store(own, shop, tmp_path):
    _, folder = own
    first = parts_of(folder)[0]
    stranger = next(item for item in shop.items if number_of(item, 3) != 0)
    with pytest.raises(StoreError, match=rf"the item '{stranger}' belongs to another partition .* partition 0 of 3"):
        update([{"id": stranger, "price": 1}], first)
    index(shop, first, encoder=Unused())  # which is a partition, and stays one
    assert {number_of(item, 3) for item in content(first).items} == {0}
    for options, sentence in (
        (IndexOptions(partitions=4), "has 3 partitions, not 4"),
        (IndexOptions(partition=Partition(1, 2)), "has 3 partitions, not 2"),
    ):
        with pytest.raises(StoreError, match=sentence):
            index(shop, folder, encoder=Unused(), options=options)
    index(shop_of(5), tmp_path / "plain", encoder=FakeEncoder())
    with pytest.raises(StoreError, match="holds a store that is not split"):
        index(shop, tmp_path / "plain", encoder=Unused(), options=IndexOptions(partitions=2))
    (tmp_path / "plain").rename(folder / "partition-1-of-3x")
    first.rename(tmp_path / "aside")
    (folder / "partition-1-of-3x").rename(first)
    with pytest.raises(StoreError, match="holds a whole catalog, not partition 0 of 3"):
        index(shop, folder, encoder=Unused())


def test_stores_that_do_not_belong_together_are_refused(own, stores, tmp_path):
    _, folder = own
    parts = parts_of(folder)
    for named, sentence in (
        (parts[:2], "partition 2 of 3 is missing beside"),
        ([*parts, parts_of(stores[1])[0]], "are both partition 0 of 3"),
        ([*parts, stores[0]], r"the item 'item\d\d' is in .* and in"),
        ([stores[0], stores[0]], "is named twice"),
        ([], "no store is named"),
    ):
        with pytest.raises(StoreError, match=sentence):
            vision_recs.open(named)
    index(shop_of(3, first=500), tmp_path / "other", encoder=FakeEncoder(turn=1))
    with pytest.raises(SpaceMismatch, match="need vectors of one space"):
        vision_recs.open([stores[0], tmp_path / "other"])
    index(shop_of(3, first=500), tmp_path / "more", encoder=FakeEncoder())
    assert vision_recs.open([stores[0], tmp_path / "more"]).items.item_count == 43
    with pytest.raises(StoreError, match="change each of these stores by itself"):
        update([{"id": "item05", "price": 1}], [stores[0], tmp_path / "more"])


def test_a_list_names_stores_relative_to_itself(stores, tmp_path):
    listed = tmp_path / "shop.stores"
    listed.write_text("# our shops\n\n" + "".join(f"{part}\n" for part in parts_of(stores[1])))
    assert store_folders(listed) == parts_of(stores[1])
    assert vision_recs.open(listed).items.item_count == 40
    (tmp_path / "near").symlink_to(stores[0])
    listed.write_text("near\n")
    assert store_folders(listed) == [tmp_path / "near"]
    assert vision_recs.open(listed).items.generation == 1
    for text, sentence in (("# nothing\n", "lists no store"), (b"\xff", "is not a list of stores")):
        listed.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(StoreError, match=sentence):
            vision_recs.open(listed)
    with pytest.raises(StoreNotFound, match="is a list of several stores, not a store"):
        Store.open(stores[1])


def test_a_partition_that_is_gone_is_made_again_in_its_place_and_nowhere_else(own):
    shop, folder = own
    gone = parts_of(folder)[2]
    shutil.rmtree(gone)
    advice = rf"there is no store in {gone}; make one with `visrec index CATALOG --store {folder} --partition 2/3`"
    doors = (
        lambda: vision_recs.open(folder),
        lambda: Store.open(gone),
        lambda: list(verify(folder)),
        lambda: update([{"id": "item05", "price": 1}], folder),
        lambda: update([{"id": "item05", "price": 1}], gone),
        lambda: index(shop, gone, encoder=Unused()),
        lambda: index(shop, gone, encoder=Unused(), options=IndexOptions(partitions=2)),
    )
    for door in doors:
        with pytest.raises(StoreNotFound, match=advice):
            door()
    index(shop, folder, encoder=FakeEncoder(), options=IndexOptions(partition=Partition(2, 3)))
    assert list(verify(folder)) == []


def test_one_partition_alone_gets_no_other_encoder_than_the_others_have(own):
    shop, folder = own
    other = FakeEncoder(turn=1)
    for number in (0, 2):
        alone = IndexOptions(partition=Partition(number, 3))
        with pytest.raises(SpaceMismatch, match=rf"the other partitions in .*, and partition {number} of 3 would have"):
            index(shop, folder, encoder=other, options=alone)
        shutil.rmtree(parts_of(folder)[2], ignore_errors=True)
    assert other.encoded == 0
    index(shop, folder, encoder=FakeEncoder(), options=IndexOptions(partition=Partition(2, 3)))
    index(shop, folder, encoder=other)  # all of them
    assert list(verify(folder)) == []


def test_verify_finds_an_item_in_the_wrong_store_and_a_store_that_is_missing(own):
    shop, folder = own
    assert list(verify(folder)) == []
    first, second, third = parts_of(folder)
    shop.put("x", 90)
    stranger = next(item for item in content(second).items)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vision_recs.jobs.updating._own_changes", lambda _, changes: iter(changes))
        update([{"id": stranger, "image": "90.png"}], first, encoder=FakeEncoder(), images=shop)
    assert [sentence for sentence in verify(first) if repr(stranger) in sentence]
    Layout(third).current.unlink()
    assert any("CURRENT" in sentence for sentence in verify(folder))


def test_a_partition_without_an_item_says_what_to_do(tmp_path):
    with pytest.raises(EmptyCatalog, match=r"partition \d of 9: .*few items need fewer partitions"):
        embed(shop_of(3), tmp_path / "shop", encoder=FakeEncoder(), options=IndexOptions(partitions=9))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("4/4", "0/4 to 3/4"), ("1", "write 0/4"), ("-1/4", "write 0/4"), ("0/0", "1 to 4096"), ("0/9999", "1 to 4096")],
)
def test_a_partition_that_cannot_be_is_refused(text, sentence):
    with pytest.raises(ValueError, match=sentence):
        Partition.parse(text)
    assert Partition.parse("3/4") == Partition(3, 4)


def test_partitions_and_partition_have_to_agree():
    with pytest.raises(ValueError, match="partition 1 of 4 is none of 3 partitions"):
        IndexOptions(partitions=3, partition=Partition(1, 4))
    with pytest.raises(ValueError, match="1 to 4096"):
        IndexOptions(partitions=0)
    assert Path(Partition(1, 4).folder).name == "partition-1-of-4"
