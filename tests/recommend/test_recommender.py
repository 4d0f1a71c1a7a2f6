"""The policy by which images become similar items, compared with a loop over every image."""

import threading

import numpy as np
import pytest
from fake_shop import BLACK, FakeEncoder, Shop, content, image, index, png, ranking, shop_of

import vision_recs
from vision_recs.errors import ImageError, SpaceMismatch, StoreNotFound, UnknownItem
from vision_recs.indexes import ExactIndex, open_index
from vision_recs.recommend import Policy, Query, Recommender
from vision_recs.store import Store

RED, GREEN, BLUE, YELLOW = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)


def flat(*color):
    """Return an image of one color: its vector is the color, four times."""
    return png(np.full((8, 8, 3), color))


@pytest.fixture
def colors(tmp_path):
    """A shop of flat colors, between which cosines are known by heart."""
    shop = Shop()
    shop.files = {
        "red.png": flat(*RED),
        "green.png": flat(*GREEN),
        "blue.png": flat(*BLUE),
        "yellow.png": flat(*YELLOW),
        "white.png": flat(255, 255, 255),
    }
    for name in shop.files:
        shop.put(name.removesuffix(".png"), name)
    index(shop, tmp_path)
    return vision_recs.open(tmp_path)


@pytest.fixture
def fake_loader(monkeypatch):
    """Let the store's encoder be found by its name; return those that were loaded."""
    loaded = []

    def load(name, **options):
        loaded.append((name, options))
        return FakeEncoder(name)

    monkeypatch.setattr("vision_recs.encoders.store_encoder.load_encoder", load)
    return loaded


def shown(matches):
    return [(match.id, match.image, match.score) for match in matches]


def test_the_nearest_colors_come_first_and_equal_scores_by_id(colors):
    matches = colors.similar("red")
    assert [match.id for match in matches] == ["yellow", "white", "blue", "green"]
    assert [match.score for match in matches] == pytest.approx([1 / np.sqrt(2), 1 / np.sqrt(3), 0, 0], abs=1e-3)
    assert matches[0].image == "yellow.png"


def test_two_items_together_bring_what_is_like_both(colors):
    matches = colors.similar("red", "green")
    assert [match.id for match in matches] == ["yellow", "white", "blue"]
    assert [match.score for match in matches] == pytest.approx([1 / np.sqrt(2), 1 / np.sqrt(3), 0], abs=1e-3)


def test_an_item_named_twice_counts_once(colors):
    assert shown(colors.similar("red", "red")) == shown(colors.similar("red"))


def test_fewer_are_a_beginning_of_more_and_more_than_there_are_is_all(colors):
    everything = shown(colors.similar("red", k=100))
    assert len(everything) == 4
    for k in (1, 2, 3, 4):
        assert shown(colors.similar("red", k=k)) == everything[:k]


def test_an_item_matches_by_its_best_image_and_brings_the_attributes_of_that_one(tmp_path):
    shop = shop_of(1)
    shop.files |= {"red.png": flat(*RED), "pink.png": flat(255, 120, 120), "blue.png": flat(*BLUE)}
    shop.put("query", "red.png")
    views = ({"view": "back"}, {"view": "front", "price": 7})
    shop.put("vase", "blue.png", "pink.png", image_attributes=views, price=5, color="mixed")
    index(shop, tmp_path)
    match = vision_recs.open(tmp_path).similar("query", k=1)[0]
    assert (match.id, match.image) == ("vase", "pink.png")
    assert match.attributes == {"view": "front", "price": 7, "color": "mixed"}


def test_an_item_of_several_images_is_searched_with_each_of_them(tmp_path):
    shop = Shop()
    shop.files = {name + ".png": flat(*color) for name, color in {"red": RED, "blue": BLUE, "green": GREEN}.items()}
    shop.files |= {"wine.png": flat(120, 0, 10), "navy.png": flat(10, 0, 120), "grass.png": flat(90, 255, 0)}
    shop.put("query", "red.png", "blue.png")
    for name in ("green", "wine", "navy", "grass"):
        shop.put(name, f"{name}.png")
    index(shop, tmp_path)
    matches = vision_recs.open(tmp_path).similar("query")
    assert [match.id for match in matches] == ["navy", "wine", "grass", "green"]
    near, far = 120 / np.hypot(120, 10), 90 / np.hypot(90, 255)
    assert [match.score for match in matches] == pytest.approx([near, near, far, 0], abs=1e-3)


def test_one_image_of_several_items_appears_once_with_the_lowest_id(tmp_path):
    shop = shop_of(3)
    for item in ("c", "a", "b"):
        shop.put(item, "same.png")
    shop.files["same.png"] = image(50)
    index(shop, tmp_path)
    opened = vision_recs.open(tmp_path)
    assert sorted(match.id for match in opened.similar("item000")) == ["a", "item001", "item002"]
    assert opened.similar("a")[0].id == "b"
    assert opened.similar("a")[0].score == 1.0
    assert opened.similar("a", "b")[0].id == "c"


def test_of_the_items_that_show_one_image_one_in_stock_is_shown_at_the_place_of_the_first(tmp_path):
    shop = Shop()
    shop.files |= {"red.png": flat(*RED), "pink.png": flat(255, 90, 90), "copy.png": flat(170, 60, 60)}
    shop.put("query", "red.png")
    for item, in_stock in (("a", False), ("c", 1), ("d", True), ("e", True)):
        shop.put(item, "pink.png", in_stock=in_stock)
    shop.put("b", "copy.png", in_stock=False)
    index(shop, tmp_path)
    opened = vision_recs.open(tmp_path)
    found = opened.similar("query")
    assert [match.id for match in found] == ["d", "b"]
    assert found[0].score == found[1].score
    assert [match.id for match in opened.similar("query", k=1)] == ["d"]
    assert [match.id for match in opened.similar("query", policy=Policy(exclude=frozenset("de")))] == ["a", "b"]
    every = opened.similar("query", policy=Policy(one_per=None))
    assert [match.id for match in every] == ["a", "b", "c", "d", "e"]


def test_of_variants_that_show_one_image_one_in_stock_is_shown(tmp_path):
    shop = Shop()
    shop.files |= {"red.png": flat(*RED), "pink.png": flat(255, 90, 90)}
    shop.put("query", "red.png")
    shop.put("sold-out", "pink.png", variant_group="x", in_stock=False)
    shop.put("there", "pink.png", variant_group="x", in_stock=True)
    index(shop, tmp_path)
    opened = vision_recs.open(tmp_path)
    assert [match.id for match in opened.similar("query")] == ["there"]
    assert [match.id for match in opened.similar("query", where="not in_stock")] == ["sold-out"]


def test_an_item_whose_best_image_is_shown_already_appears_by_its_next(tmp_path):
    shop = shop_of(1)
    shop.files |= {"red.png": flat(*RED), "pink.png": flat(255, 90, 90), "rose.png": flat(255, 190, 190)}
    shop.put("query", "red.png")
    shop.put("first", "pink.png")
    shop.put("second", "pink.png", "rose.png")
    index(shop, tmp_path)
    matches = vision_recs.open(tmp_path).similar("query", k=2)
    assert [(match.id, match.image) for match in matches] == [("first", "pink.png"), ("second", "rose.png")]


@pytest.mark.parametrize("last_in_stock", [0, 59])
def test_a_crowd_of_copies_hides_nothing(tmp_path, last_in_stock):
    shop = shop_of(4)
    for number in range(60):
        shop.put(f"copy{number:02}", "same.png", in_stock=number == last_in_stock)
    shop.files["same.png"] = shop.files["0.png"]
    index(shop, tmp_path)
    found = vision_recs.open(tmp_path).similar("item000", k=3)
    assert shown(found) == [pytest.approx(row) for row in ranking(content(tmp_path), ["item000"], 3)]
    assert found[0].id == f"copy{last_in_stock:02}"
    assert {match.id for match in found[1:]} < {"item001", "item002", "item003"}


def test_what_is_like_both_is_found_among_many_that_are_like_one(tmp_path):
    shop = Shop()
    shop.files = {"red.png": flat(*RED), "green.png": flat(*GREEN), "yellow.png": flat(*YELLOW)}
    shop.files |= {f"reddish {blue}.png": flat(255, 0, blue) for blue in range(1, 30)}
    shop.files |= {f"greenish {blue}.png": flat(0, 255, blue) for blue in range(1, 30)}
    for name in shop.files:
        shop.put(name.removesuffix(".png"), name)
    index(shop, tmp_path, shard_size=20)
    (match,) = vision_recs.open(tmp_path).similar("red", "green", k=1)
    assert (match.id, match.score) == ("yellow", pytest.approx(1 / np.sqrt(2), abs=1e-3))


def test_an_item_alone_has_nothing_similar(tmp_path):
    index(shop_of(1), tmp_path)
    assert vision_recs.open(tmp_path).similar("item000") == []


def test_without_its_index_a_store_answers_the_same(tmp_path):
    shop = shop_of(12)
    shop.put("more", 3, 4, 20)
    index(shop, tmp_path)
    store = Store.open(tmp_path)
    flat_index = Recommender(store, open_index("flat", store, tmp_path / "indexes/flat-000001"))
    exact_index = Recommender(store, ExactIndex(store))
    for query_items in (("more",), ("item003",), ("item000", "more")):
        assert flat_index.similar(*query_items) == exact_index.similar(*query_items)


def test_an_empty_query_is_refused():
    with pytest.raises(ValueError, match="the query is empty; name an item, an image, a text or a history"):
        Query()
    with pytest.raises(ValueError, match="the query has k = 0; use 1 or more"):
        Query(items=("a",), k=0)


def test_an_unknown_item_among_known_ones_is_named(colors):
    with pytest.raises(UnknownItem, match="no item has the id 'rad'; the nearest are red, ") as raised:
        colors.similar("blue", "rad")
    assert raised.value.item == "rad"


def test_threads_get_the_answers_that_one_gets(tmp_path):
    shop = shop_of(40)
    index(shop, tmp_path)
    opened = vision_recs.open(tmp_path)
    expected = {item: opened.similar(item, "item000") for item in shop.items if item != "item000"}
    wrong = []

    def search(items):
        wrong.extend(item for item in items if opened.similar(item, "item000") != expected[item])

    threads = [threading.Thread(target=search, args=[sorted(expected)[start:]]) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# Images


def test_an_image_of_the_store_finds_itself_and_what_is_like_it(tmp_path, fake_loader):
    shop = shop_of(9)
    index(shop, tmp_path)
    opened = vision_recs.open(tmp_path, device="cpu")
    assert fake_loader == []
    found = opened.similar_to_image(image(4), k=5)
    expected = ranking(content(tmp_path), (), 5, images=[image(4)])
    assert [match.id for match in found] == [item for item, _, _ in expected]
    assert [match.score for match in found] == pytest.approx([score for _, _, score in expected], abs=1e-6)
    assert found[0].id == "item004"
    assert found[0].score == pytest.approx(1, abs=1e-3)
    opened.similar_to_image(image(5))
    ((name, options),) = fake_loader
    assert (name, options["device"], options["weights"]) == ("fake", "cpu", None)


class Longer(FakeEncoder):
    """An encoder whose vectors are not quite of length 1."""

    def encode(self, pixels):
        return super().encode(pixels) * np.float32(1.0005)


def test_the_vector_of_a_query_image_is_made_a_unit_vector(tmp_path, monkeypatch):
    index(shop_of(9), tmp_path)
    monkeypatch.setattr("vision_recs.encoders.store_encoder.load_encoder", lambda name, **_: FakeEncoder(name))
    expected = vision_recs.open(tmp_path).similar_to_image(image(4))
    monkeypatch.setattr("vision_recs.encoders.store_encoder.load_encoder", lambda name, **_: Longer(name))
    opened = vision_recs.open(tmp_path)
    cold = opened.similar_to_image(image(4))
    opened.warm()
    for found in (cold, opened.similar_to_image(image(4))):
        assert [match.id for match in found] == [match.id for match in expected]
        assert [match.score for match in found] == pytest.approx([match.score for match in expected], abs=1e-6)


def test_an_image_is_the_path_of_a_file_too(tmp_path, fake_loader):
    index(shop_of(5), tmp_path / "index")
    (tmp_path / "mine.png").write_bytes(image(99))
    opened = vision_recs.open(tmp_path / "index")
    expected = opened.similar_to_image(image(99))
    assert opened.similar_to_image(tmp_path / "mine.png") == expected
    assert opened.similar_to_image(str(tmp_path / "mine.png")) == expected
    assert len(fake_loader) == 1


def test_items_and_images_in_one_query_count_alike(tmp_path, fake_loader):
    shop = shop_of(12)
    shop.put("more", 30, 31)
    index(shop, tmp_path)
    extra = (image(50), image(51))
    found = vision_recs.open(tmp_path).query(Query(items=("more", "item003"), images=extra, k=7))
    expected = ranking(content(tmp_path), ("more", "item003"), 7, images=extra)
    assert [(match.id, match.image) for match in found] == [(item, name) for item, name, _ in expected]
    assert [match.score for match in found] == pytest.approx([score for _, _, score in expected], abs=1e-6)
    assert len(fake_loader) == 1


@pytest.mark.usefixtures("fake_loader")
def test_an_image_without_a_direction_is_an_image_error(tmp_path):
    index(shop_of(3), tmp_path)
    opened = vision_recs.open(tmp_path)
    for images in ((BLACK,), (image(1), BLACK)):
        with pytest.raises(ImageError, match="gives the image no direction: it is blank; use another one") as raised:
            opened.query(Query(images=images))
        assert raised.value.reason == "zero-vector"


@pytest.mark.usefixtures("fake_loader")
def test_what_is_no_image_is_an_image_error(tmp_path):
    index(shop_of(3), tmp_path / "index")
    opened = vision_recs.open(tmp_path / "index")
    (tmp_path / "empty.png").touch()
    for given, reason in (
        (b"text", "not-an-image"),
        (tmp_path / "none.png", "missing"),
        (tmp_path / "empty.png", "empty"),
    ):
        with pytest.raises(ImageError) as raised:
            opened.similar_to_image(given)
        assert raised.value.reason == reason


def test_other_weights_under_the_same_name_are_refused(tmp_path, monkeypatch):
    index(shop_of(3), tmp_path)
    monkeypatch.setattr("vision_recs.encoders.store_encoder.load_encoder", lambda name, **_: FakeEncoder(name, turn=1))
    opened = vision_recs.open(tmp_path)
    old, new = FakeEncoder().spec.fingerprint, FakeEncoder(turn=1).spec.fingerprint
    for _ in "ab":
        with pytest.raises(SpaceMismatch) as raised:
            opened.similar_to_image(image(1))
        assert f"the store holds vectors of fake [{old}], the weights on this machine give fake [{new}]" in str(
            raised.value
        )
    assert opened.similar("item000")


def test_a_runtime_that_does_not_reproduce_the_canary_is_refused_each_time(tmp_path, monkeypatch):
    class Drifted(FakeEncoder):
        def encode(self, pixels):
            return super().encode(pixels[..., ::-1])

    index(shop_of(3), tmp_path)
    monkeypatch.setattr("vision_recs.encoders.store_encoder.load_encoder", lambda name, **_: Drifted(name))
    opened = vision_recs.open(tmp_path)
    for _ in "ab":
        with pytest.raises(SpaceMismatch, match="does not reproduce the canary of the store"):
            opened.similar_to_image(image(1))


def test_an_index_of_another_space_is_refused(tmp_path):
    index(shop_of(3), tmp_path / "one")
    index(shop_of(3), tmp_path / "two", FakeEncoder(turn=1))
    store = Store.open(tmp_path / "one")
    with pytest.raises(SpaceMismatch, match="rebuild it with `visrec index`"):
        open_index("flat", store, tmp_path / "two/indexes/flat-000001")


def test_where_there_is_no_store_opening_says_so(tmp_path):
    for opened in (vision_recs.open, Recommender.open):
        with pytest.raises(StoreNotFound, match="make one with `visrec index CATALOG`"):
            opened(tmp_path / "none")


def test_the_answer_is_of_plain_values(colors):
    match = colors.similar("red", k=1)[0]
    assert [type(value) for value in match] == [str, float, str, str, dict, type(None)]


class Asked:
    """An index that notes how many images are asked for."""

    def __init__(self, opened):
        self.opened, self.source, self.search = opened, opened.source, opened.search
        self.counts = []

    def nearest(self, queries, k, within=None):
        self.counts.append(k)
        return self.opened.nearest(queries, k, within)


@pytest.mark.parametrize(
    ("group", "images", "policy", "count"),
    [
        (None, 1, Policy(), 4 + 1 + 1),
        ("kind", 1, Policy(), 4 + 1 + 1),
        ("variant_group", 1, Policy(one_per=None), 4 + 1 + 1),
        ("variant_group", 1, Policy(), round(1.5 * 5)),
        (None, 2, Policy(), 2 * (4 + 2)),
    ],
)
def test_no_more_images_are_fetched_than_an_answer_needs_where_none_is_left_out(tmp_path, group, images, policy, count):
    shop = Shop()
    for number in range(20):
        names = [f"{number}-{which}.png" for which in range(images)]
        shop.files |= {name: image(100 * number + which) for which, name in enumerate(names)}
        shop.put(f"item{number}", *names, **({} if group is None else {group: f"group {number}"}))
    index(shop, tmp_path)
    store = Store.open(tmp_path)
    recommender = Recommender(store, asked := Asked(vision_recs.open(tmp_path).index))
    recommender.warm()
    assert len(recommender.query(Query(items=("item3",), k=4), policy)) == 4
    assert asked.counts == [count]
