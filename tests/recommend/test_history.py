"""A shopper's history: how it is read, what of it still counts, and its interests, each with a share of the answer."""

import itertools
import json
import time

import numpy as np
import pytest
from fake_shop import Shop, index, png
from hypothesis import given
from hypothesis import strategies as st

import vision_recs
from vision_recs.errors import HistoryError, UnknownItem
from vision_recs.recommend import Event, History, Query, interests, read_history
from vision_recs.recommend.interests import ward
from vision_recs.types import ItemImage
from vision_recs.vectors import normalize_or_raise

DAY = 86_400.0


@pytest.fixture
def write(tmp_path):
    def write(text):
        file = tmp_path / "history.jsonl"
        file.write_text(text, "utf-8")
        return file

    return write


def test_json_lines_are_read_with_their_times_and_weights(write):
    file = write(
        '{"id": "mug-01", "time": "2026-05-01T12:00:00Z"}\n\n'
        '{"id": "mug-02", "time": "2026-05-01T14:00:00+02:00", "weight": 3}\n'
        '{"id": "mug-03", "time": 1777636800}\n'
        '{"id": "mug-04", "time": "2026-05-01"}\n'
    )
    noon = 1_777_636_800.0
    assert read_history(file, half_life_days=7) == History(
        (Event("mug-01", noon), Event("mug-02", noon, 3.0), Event("mug-03", noon), Event("mug-04", noon - DAY / 2)),
        half_life_days=7,
    )


@pytest.fixture
def _fourteen_hours_ahead(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC-14")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("_fourteen_hours_ahead")
def test_a_time_without_a_zone_is_utc_wherever_it_is_read(write):
    assert time.timezone == -14 * 3600
    (event,) = read_history(write('{"id": "mug-01", "time": "2026-05-01T12:00:00"}')).events
    assert event.time == 1_777_636_800.0


def test_a_list_of_ids_counts_all_alike(write):
    assert read_history(write('["mug-01", "mug-02", "mug-01"]')).importance() == {"mug-01": 2.0, "mug-02": 1.0}
    assert read_history(write('"mug-01"\n{"id": "mug-02"}')).importance() == {"mug-01": 1.0, "mug-02": 1.0}


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", None, 'holds no events; write {"id": "mug-01", "time": "2026-05-01T12:00:00Z"}'),
        ("[]", None, "holds no events; write "),
        ("[1", None, "is not a JSON list ("),
        ("mug-01", 1, "is not JSON; write "),
        ('"a"\n\n{"id"', 3, "is not JSON; write "),
        ("[" * 100_000, None, "is not a JSON list ("),
        ('{"id": ' + "[" * 100_000, 1, "is not JSON; write "),
        ("3", 1, "the entry 3 has no id; write "),
        (f'"b"\n{{"item": "{"a" * 200}"}}', 2, 'the entry {"item": "' + "a" * 67 + "... has no id; write "),
        ('{"item": "a"}', 1, 'the entry {"item": "a"} has no id; write '),
        ('{"id": 7}', 1, 'the entry {"id": 7} has no id; write '),
        ('{"id": "a", "when": 3}', 1, "the entry has the key 'when'; use id, time and weight"),
        (
            '{"id": "a", "time": "soon"}',
            1,
            'the time "soon" is not a time; use 2026-05-01T12:00:00Z, or seconds since 1970',
        ),
        ('{"id": "a", "time": true}', 1, "the time true is not a time; use "),
        ('{"id": "a", "time": NaN}', 1, "the time NaN is not a time; use "),
        ('{"id": "a", "time": null}', 1, "the time null is not a time; use "),
        ('{"id": "a", "weight": 0}', 1, "the weight 0 is not a number above 0; leave it out, or use one such as 2.5"),
        ('{"id": "a", "weight": "x"}', 1, 'the weight "x" is not a number above 0; '),
        ('{"id": "a", "time": 3}\n"b"', 2, "the entry differs from the first in having a time; give all of them one, "),
        ('"b"\n{"id": "a", "time": 3}', 2, "the entry differs from the first in having a time; give all of them one, "),
    ],
)
def test_a_mistake_is_one_sentence_with_the_file_and_the_line(write, text, line, message):
    file = write(text)
    with pytest.raises(HistoryError) as caught:
        read_history(file)
    place = f"{file}:{line}: " if line else f"{file}: "
    assert str(caught.value).startswith(place + message)
    assert (caught.value.path, caught.value.line) == (str(file), line)
    assert "\n" not in str(caught.value)


def test_lists_in_each_other_are_one_sentence_however_many(write):
    for depth in range(900, 1010):  # Python reads somewhat more of them than it writes
        with pytest.raises(HistoryError, match=r"has no id|too many lists|is not JSON"):
            read_history(write('{"x": ' + "[" * depth + "]" * depth + "}"))


def test_a_file_that_is_not_there_or_not_text_is_one_sentence(tmp_path):
    with pytest.raises(
        HistoryError, match=r"none\.jsonl: cannot be read \(No such file or directory\); check the path"
    ):
        read_history(tmp_path / "none.jsonl")
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(HistoryError, match=r"bytes\.jsonl: is not UTF-8 text; write JSON lines"):
        read_history(tmp_path / "bytes.jsonl")


def test_an_event_counts_half_after_a_half_life_from_the_newest():
    events = (Event("new", 10 * DAY), Event("old", 0.0), Event("both", 5 * DAY, 2.0), Event("both", 10 * DAY))
    assert History(events, half_life_days=5).importance() == {"new": 1.0, "old": 0.25, "both": 2.0}


def test_a_history_without_events_or_half_life_is_refused():
    with pytest.raises(ValueError, match="the history holds no events; leave it out"):
        History(())
    with pytest.raises(ValueError, match="a half-life of 0 days is not above 0; use days, such as 30"):
        History((Event("a"),), half_life_days=0)


# Clusters


def slow_ward(vectors, limit):
    """Return the clusters by the definition of their distance, not by a recurrence."""
    clusters = [[number] for number in range(len(vectors))]
    wide = vectors.astype(float)

    def apart(one, other):
        gap = wide[one].mean(axis=0) - wide[other].mean(axis=0)
        return len(one) * len(other) / (len(one) + len(other)) * float(gap @ gap)

    while len(clusters) > 1:
        one, other = min(itertools.combinations(clusters, 2), key=lambda pair: round(apart(*pair), 9))
        if apart(one, other) > limit:
            break
        clusters = [each for each in clusters if each is not other]
        one += other
    return sorted(sorted(each) for each in clusters)


directions = st.lists(st.tuples(*[st.integers(-4, 4)] * 3).filter(any), min_size=1, max_size=9, unique=True)


@given(points=directions, limit=st.sampled_from([0.0501, 0.2503, 0.7507, 1.5011]))
def test_clusters_are_those_of_the_definition(points, limit):
    # Points that no two pairs of are equally far apart, so that the order of merges is never a matter of rounding.
    scattered = np.array(points) + np.random.default_rng(len(points)).normal(0, 0.05, (len(points), 3))
    vectors = normalize_or_raise(scattered.astype(np.float32))
    assert ward(vectors, limit=limit) == slow_ward(vectors, limit)


def test_two_bunches_in_the_plane_are_two_clusters():
    angles = np.radians([0, 80, 5, 85, 90])
    vectors = normalize_or_raise(np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32))
    assert ward(vectors, limit=0.1) == [[0, 2], [1, 3, 4]]
    assert ward(vectors, limit=9) == [[0, 1, 2, 3, 4]]
    assert ward(vectors, limit=0) == [[0], [1], [2], [3], [4]]


# Interests, and their shares


@pytest.fixture
def shop(tmp_path):
    """Reds, blues and greens of many shades: red-00 ... red-19 and so on."""
    shop = Shop()
    for color, channel in (("red", 0), ("blue", 2), ("green", 1)):
        for shade in range(20):
            pixels = np.zeros((8, 8, 3))
            pixels[..., channel], pixels[..., (channel + 1) % 3] = 255, 3 * shade
            shop.files[f"{color}-{shade:02}.png"] = png(pixels)
            shop.put(f"{color}-{shade:02}", f"{color}-{shade:02}.png")
    index(shop, tmp_path, shard_size=30)
    return vision_recs.open(tmp_path)


def seen(*items, **options):
    return History(tuple(Event(item) for item in items), **options)


def test_interests_are_what_was_looked_at_together_with_their_shares(shop):
    history = seen("red-01", "blue-05", "red-02", "red-09")
    found = shop.interests(history)
    assert [(interest.medoid, interest.items) for interest in found] == [
        ("red-02", ("red-01", "red-02", "red-09")),
        ("blue-05", ("blue-05",)),
    ]
    assert [interest.share for interest in found] == [0.75, 0.25]


def test_of_two_items_the_one_that_counts_more_stands_for_both(shop):
    """They are equally near to each other: which one it was hung on the last bit of a float32 length."""
    names = [f"red-{shade:02}" for shade in range(0, 20, 3)]
    for one, other in itertools.permutations(names, 2):
        (found,) = shop.interests(History((Event(one, weight=1.001), Event(other))))
        assert (found.medoid, found.items) == (one, tuple(sorted((one, other))))
    (found,) = shop.interests(seen("red-09", "red-03"))
    assert found.medoid == "red-03"


def test_each_interest_gets_its_share_of_every_beginning_of_the_answer(shop):
    history = History((Event("red-02", 30 * DAY), Event("red-03", 30 * DAY), Event("blue-05", 0), Event("blue-06", 0)))
    assert [interest.share for interest in shop.interests(history)] == pytest.approx([2 / 3, 1 / 3])
    answer = shop.query(Query(history=history, k=9))
    assert [match.id.split("-")[0] for match in answer] == ["red", "blue", "red"] * 3
    assert not {match.id for match in answer} & {"red-02", "red-03", "blue-05", "blue-06"}


def test_the_second_turn_of_an_interest_counts_a_third_of_its_share_and_the_greater_share_goes_first(shop):
    history = seen("red-01", "blue-05", "red-02", "red-09")
    assert [interest.share for interest in shop.interests(history)] == [3 / 4, 1 / 4]
    answer = shop.query(Query(history=history, k=8))
    assert [match.id.split("-")[0] for match in answer] == ["red", "red", "blue", "red"] * 2


def test_of_more_items_than_500_those_that_count_most_are_clustered(shop, monkeypatch):
    monkeypatch.setattr(interests, "_ITEMS", 3)
    events = [Event("red-01", weight=4), Event("red-02", weight=3), Event("blue-05", weight=2), Event("green-04")]
    found = shop.interests(History((*events, Event("green-03"))))
    assert [interest.items for interest in found] == [("red-01", "red-02"), ("blue-05",)]
    assert [interest.share for interest in found] == [7 / 9, 2 / 9]
    monkeypatch.setattr(interests, "_ITEMS", 4)
    found = shop.interests(History((*events, Event("green-03"))))  # of equal ones, the first by id
    assert [interest.items for interest in found] == [("red-01", "red-02"), ("blue-05",), ("green-03",)]


def test_the_constants_of_interests_are_those_that_were_measured():
    """They are documented; whoever changes one measures anew."""
    assert (interests._ITEMS, interests._SAMPLE, interests._ALIKE) == (500, 256, 0.9)


class Given:
    """Items with the given vectors of their images; two images of the shop are 1 apart on average."""

    def __init__(self, **vectors):
        self._vectors = vectors

    def attributes_of(self, items):
        return {item: {} for item in items}

    def images(self, item):
        return [ItemImage(f"{item}.jpg", f"{item}{number}", {}) for number in range(len(self._vectors[item]))]

    def vectors_of(self, digests):
        return np.array([self._vectors[digest[0]][int(digest[1:])] for digest in digests], np.float32)

    def sample_vectors(self, count):
        assert count == 256
        return np.eye(4, dtype=np.float32)


@pytest.mark.parametrize(("apart", "count"), [(0.899, 1), (0.901, 2)])
def test_two_items_are_one_interest_up_to_nine_tenths_of_the_mean_distance_of_two_images(apart, count):
    angle = np.arccos(1 - apart)
    items = Given(a=[(1, 0)], b=[(np.cos(angle), np.sin(angle))])
    assert len(interests.find_interests(items, seen("a", "b"))) == count


def test_an_item_whose_images_cancel_out_is_where_its_first_image_is():
    items = Given(a=[(1, 0)], b=[(0, 1), (0, -1)], c=[(0, 1)])
    assert [each.items for each in interests.find_interests(items, seen("a", "b", "c"))] == [("b", "c"), ("a",)]


def test_an_interest_alone_is_a_query_for_its_medoid(shop):
    answer = shop.query(Query(history=seen("green-04"), k=5))
    assert answer == shop.similar("green-04", k=5)


def test_a_history_beside_an_item_leans_its_answer(shop):
    plain = [match.id.split("-")[0] for match in shop.query(Query(items=("green-10",), k=6))]
    assert plain == ["green"] * 6
    leaned = shop.query(Query(items=("green-10",), history=seen("blue-05"), k=6))
    together = shop.similar("green-10", "blue-05", k=6)
    assert leaned == together


def test_what_is_no_longer_sold_is_left_out(shop):
    assert shop.interests(seen("red-02", "gone")) == shop.interests(seen("red-02"))
    assert shop.query(Query(history=seen("red-02", "gone"), k=3)) == shop.similar("red-02", k=3)
    with pytest.raises(UnknownItem, match="no item of the history is in the index, such as 'away'; index the catalog"):
        shop.interests(seen("gone", "away"))


def test_one_that_runs_dry_leaves_its_places_to_the_others(shop, tmp_path):
    del shop
    small = Shop()
    for name, channel in (("red", 0), ("blue", 2)):
        for shade in range(3):
            pixels = np.zeros((8, 8, 3))
            pixels[..., channel], pixels[..., 1] = 255, 3 * shade
            small.files[f"{name}-{shade}.png"] = png(pixels)
            small.put(f"{name}-{shade}", f"{name}-{shade}.png")
    index(small, tmp_path / "small")
    answer = vision_recs.open(tmp_path / "small").query(Query(history=seen("red-0", "blue-0"), k=9))
    assert sorted(match.id for match in answer) == ["blue-1", "blue-2", "red-1", "red-2"]


def test_the_order_of_the_file_changes_nothing(shop, write):
    events = [{"id": f"red-{n:02}", "time": n * DAY} for n in range(4)] + [{"id": "blue-02", "time": 9 * DAY}]
    one = read_history(write("\n".join(map(json.dumps, events))))
    other = read_history(write("\n".join(map(json.dumps, reversed(events)))))
    assert shop.query(Query(history=one)) == shop.query(Query(history=other))
