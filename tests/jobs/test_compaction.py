"""What is left of a shard is copied once most of it is gone, so that the space can be given back."""

from fake_shop import Unused, content, index, shop_of, wanted

from vision_recs.jobs import verify
from vision_recs.store import Store, garbage_collect


def shop_without(count, store):
    """Return a shop whose ten items were indexed in one shard and of which *count* are gone, and that shard."""
    shop = shop_of(10)
    index(shop, store, shard_size=10)
    (old,) = Store.open(store).manifest.shards
    for number in range(count):
        del shop.items[f"item{number:03}"]
    return shop, old


def test_what_is_left_of_a_shard_is_copied_when_most_of_it_is_gone(tmp_path):
    shop, old = shop_without(6, tmp_path / "index")
    report = index(shop, tmp_path / "index", Unused())
    (new,) = Store.open(tmp_path / "index").manifest.shards
    assert (report.reused, report.removed) == (4, 6)
    assert (new.rows, new.deleted, new.first_position) == (4, (), 10)
    assert new.name != old.name
    assert content(Store.open(tmp_path / "index")) == wanted(shop)
    assert garbage_collect(tmp_path / "index").shards == 1
    assert not list(verify(tmp_path / "index"))


def test_half_a_shard_stays_where_it_is(tmp_path):
    shop, old = shop_without(5, tmp_path / "index")
    index(shop, tmp_path / "index", Unused())
    (new,) = Store.open(tmp_path / "index").manifest.shards
    assert (new.name, new.deleted) == (old.name, ((0, 5),))
