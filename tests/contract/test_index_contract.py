"""What `VectorIndex.search` and `IndexType` promise, asked of every index type, and of broken ones that must be caught.

A promise is a function of `indexed`, which makes an index of a source, and of `source_of` (see conftest.py), so that it
can be asked of any index. Exact search keeps the promises of a search, and `toy_index` all of them.
"""

import math
import operator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import count

import numpy as np
import pytest
from engine_sources import far_and_near, published_index
from engine_uris import KINDS, empty_engines
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from property_examples import examples_of
from vector_sources import Vectors

from vision_recs.engines.searching import scored
from vision_recs.errors import FilterError, SpaceMismatch, StoreDamaged, ZeroVector
from vision_recs.filters import Filter
from vision_recs.indexes import (
    ExactIndex,
    IndexConfig,
    IndexStats,
    build_or_update,
    find_index_type,
    hnsw,
    open_index,
    register_index_type,
    verify,
)
from vision_recs.store import IndexPending
from vision_recs.types import Match, SearchRequest
from vision_recs.vectors import normalize_or_raise

EAST, NORTH, SOUTH, NORTH_EAST = (np.array([v], np.float32) for v in ([1, 0], [0, 1], [0, -1], [1, 1]))
FOUR_CORNERS = [("east", (1, 0)), ("north", (0, 1)), ("west", (-1, 0)), ("south", (0, -1))]


def ids(matches):
    return [match.id for match in matches]


def scores(matches):
    return [match.score for match in matches]


def double_loop(source, queries, k, **conditions):
    """The obvious answer: every query with every row, one number at a time, then one condition after the other."""
    vectors = {position: source.vectors(np.array([position]))[0].tolist() for position in source.positions().tolist()}
    return [_nearest(source, vectors, query.tolist(), k, **conditions) for query in normalize_or_raise(queries)]


def _nearest(source, vectors, query, k, where=None, *, exclude=(), group_by=None):  # noqa: PLR0913 - of a request
    matches = []
    for position, vector in vectors.items():
        cosine = math.fsum(map(operator.mul, query, vector))
        score = round(min(1.0, max(-1.0, cosine)) * 2**24) / 2**24
        rows = source.rows([position], limit=10**6)[position]
        matches += [Match(row.id, score, row.image, row.digest) for row in rows]
    matches.sort(key=lambda match: (-match.score, match.id, match.image))
    matches = [m for m in matches if where is None or where.matches(source.attributes.get(m.id, {}))]
    matches = [m for m in matches if m.id not in exclude]
    groups = [source.attributes.get(m.id, {}).get(group_by) for m in matches]
    keys = [(type(value) is bool, value) for value in groups]
    return [m for n, m in enumerate(matches) if groups[n] is None or keys.index(keys[n]) == n][:k]


# By hand


def nearest_come_first_and_ties_are_ordered_by_id(indexed, source_of):
    (matches,) = indexed(source_of(*FOUR_CORNERS)).search(EAST, 3)
    assert ids(matches) == ["east", "north", "south"]
    assert scores(matches) == [1.0, 0.0, 0.0]


def asking_for_more_than_there_is_gives_what_there_is(indexed, source_of):
    (matches,) = indexed(source_of(*FOUR_CORNERS)).search(EAST, 10)
    assert ids(matches) == ["east", "north", "south", "west"]
    assert scores(matches) == [1.0, 0.0, 0.0, -1.0]


def asking_for_all_there_is_gives_all(indexed, source_of):
    (matches,) = indexed(source_of(*FOUR_CORNERS)).search(SOUTH, 4)
    assert ids(matches) == ["south", "east", "west", "north"]


def result_i_belongs_to_query_i(indexed, source_of):
    results = indexed(source_of(*FOUR_CORNERS)).search(np.concatenate([NORTH, EAST, SOUTH]), 1)
    assert [ids(matches) for matches in results] == [["north"], ["east"], ["south"]]


def a_match_names_the_image_and_its_digest(indexed, source_of):
    (matches,) = indexed(source_of(("lamp/front.jpg", (1, 0)), ("lamp/back.jpg", (1, 1)))).search(EAST, 2)
    assert [(m.id, m.image, m.digest) for m in matches] == [
        ("lamp", "front.jpg", "digest of lamp/front.jpg"),
        ("lamp", "back.jpg", "digest of lamp/back.jpg"),
    ]


def the_length_of_a_query_does_not_matter(indexed, source_of):
    index = indexed(source_of(("long", (3, 0)), ("short", (0.3, 0.4))))
    assert index.search(NORTH_EAST * np.float32(1000), 2) == index.search(NORTH_EAST / np.float32(512), 2)
    (matches,) = index.search(NORTH_EAST * np.float32(1000), 2)
    assert ids(matches) == ["short", "long"]
    assert scores(matches) == pytest.approx([0.7 * math.sqrt(2), math.sqrt(0.5)], abs=1e-6)


def one_image_of_three_items_gives_three_matches_of_one_score(indexed, source_of):
    index = indexed(source_of(("west", (-1, 0)), ("vase lamp shade", (1, 1)), ("east", (1, 0))))
    (matches,) = index.search(EAST, 4)
    assert ids(matches) == ["east", "lamp", "shade", "vase"]
    assert scores(matches)[1:] == [np.float32(math.sqrt(0.5))] * 3
    assert ids(index.search(EAST, 2)[0]) == ["east", "lamp"]


def equal_vectors_are_ordered_by_id_wherever_they_lie(indexed, source_of):
    names = [f"item{number:03}" for number in range(100)]
    index = indexed(source_of(*[(name, (1, 2)) for name in reversed(names)], ("other", (2, 1))))
    assert ids(index.search(NORTH, 3)[0]) == names[:3]
    assert ids(index.search(EAST, 3)[0]) == ["other", *names[:2]]


def opposite_vectors_tie_at_the_bottom_as_well(indexed, source_of):
    rng = np.random.default_rng(3)
    (direction,) = rng.standard_normal((1, 24))
    names = [f"item{number:02}" for number in range(60)]
    source = source_of(*[(name, -direction * rng.uniform(0.1, 9)) for name in reversed(names)], dim=24)
    query = direction[None].astype(np.float32)
    assert indexed(source).search(query, 5) == double_loop(source, query, 5)


def deleted_vectors_are_not_found_and_shift_nothing(indexed, source_of):
    index = indexed(source_of(("", (1, 0)), ("north", (0, 1)), ("", (1, 0.1)), ("", (1, 0)), ("west", (-1, 0))))
    assert ids(index.search(EAST, 5)[0]) == ["north", "west"]


def an_empty_source_gives_nothing(indexed, source_of):
    index = indexed(source_of(dim=2))
    assert index.search(np.concatenate([EAST, NORTH]), 3) == [[], []]


def one_vector_is_always_found(indexed, source_of):
    assert indexed(source_of(("only", (0, -2)))).search(NORTH, 1) == [
        [Match("only", -1.0, "only.jpg", "digest of only")]
    ]


def no_query_gives_no_result(indexed, source_of):
    assert indexed(source_of(*FOUR_CORNERS)).search(np.empty((0, 2), np.float32), 3) == []


def scores_stay_within_minus_one_and_one(indexed, source_of):
    vectors = np.random.default_rng(0).standard_normal((200, 3))
    found = indexed(source_of(*[(f"item{i}", v) for i, v in enumerate(vectors)], dim=3)).search(vectors[:50], 200)
    every = np.array([scores(matches) for matches in found])
    assert every.max() == 1.0
    assert every.min() >= -1.0


def the_source_is_what_was_indexed(indexed, source_of):
    assert indexed(source_of(*FOUR_CORNERS)).source == ("by-hand", 7)


# Conditions

CARS = [("fiat", (1, 0)), ("saab/front.jpg", (3, 1)), ("saab/back.jpg", (2, 1)), ("volvo", (1, 1)), ("lada", (0, 1))]
OF_CARS = {
    "fiat": {"color": "red", "doors": 3},
    "saab": {"color": "red", "doors": 5},
    "volvo": {"color": "blue", "doors": 5, "towbar": None},
    "lada": {"doors": 5},
}


def find(indexed, source_of, k, **conditions):
    (matches,) = indexed(source_of(*CARS, attributes=OF_CARS)).search(EAST, k, **conditions)
    return [f"{match.id}/{match.image}" if match.id == "saab" else match.id for match in matches]


def a_filter_leaves_the_items_that_match(indexed, source_of):
    red, big = Filter.parse("color == 'red'"), Filter.parse("doors > 4")
    assert find(indexed, source_of, 9, where=red) == ["fiat", "saab/front.jpg", "saab/back.jpg"]
    assert find(indexed, source_of, 2, where=big) == ["saab/front.jpg", "saab/back.jpg"]
    assert find(indexed, source_of, 9, where=Filter.parse("doors > 5 or color == 'blue'")) == ["volvo"]
    assert find(indexed, source_of, 9, where=Filter.parse("doors == 4")) == []


def of_items_that_show_one_image_only_those_that_match_are_found(indexed, source_of):
    attributes = {"lamp": {"price": 7}, "shade": {"price": 3}, "vase": {"price": 9}}
    index = indexed(source_of(("vase lamp shade", (1, 1)), ("lamp", (1, 0)), attributes=attributes))
    (matches,) = index.search(NORTH_EAST, 9, where=Filter.parse("price < 8"))
    assert ids(matches) == ["lamp", "shade", "lamp"]


def excluded_items_are_not_found_and_others_take_their_places(indexed, source_of):
    assert find(indexed, source_of, 2, exclude=frozenset({"fiat", "saab"})) == ["volvo", "lada"]
    assert find(indexed, source_of, 1, exclude=frozenset({"fiat", "nobody"})) == ["saab/front.jpg"]
    assert find(indexed, source_of, 9, exclude=frozenset({"fiat", "saab", "volvo", "lada"})) == []


def of_a_group_the_best_image_is_found_and_what_has_no_group_is_found_too(indexed, source_of):
    assert find(indexed, source_of, 9, group_by="color") == ["fiat", "volvo", "lada"]
    assert find(indexed, source_of, 2, group_by="doors") == ["fiat", "saab/front.jpg"]
    assert len(find(indexed, source_of, 9, group_by="towbar")) == len(find(indexed, source_of, 9, group_by="?")) == 5


def true_and_1_are_two_groups_and_1_and_1_0_are_one(indexed, source_of):
    values = {"a": 1, "b": True, "c": 1.0, "d": "1", "e": True}
    index = indexed(source_of(*[(name, (1, n)) for n, name in enumerate(values)], attributes=_under("v", values)))
    assert ids(index.search(EAST, 9, group_by="v")[0]) == ["a", "b", "d"]


def _under(name, values):
    return {item: {name: value} for item, value in values.items()}


def conditions_hold_together(indexed, source_of):
    found = find(indexed, source_of, 9, where=Filter.parse("doors > 2"), exclude=frozenset({"fiat"}), group_by="color")
    assert found == ["saab/front.jpg", "volvo", "lada"]


def one_group_of_many_images_hides_no_other(indexed, source_of):
    shown = [(f"many/{number}.jpg", (100, number % 7)) for number in range(300)] + [("few", (-1, 0)), ("one", (0, 1))]
    attributes = {"many": {"brand": "x"}, "few": {"brand": "y"}}
    index = indexed(source_of(*shown, attributes=attributes))
    found = index.search(np.concatenate([EAST, NORTH]), 3, group_by="brand")
    assert [ids(matches) for matches in found] == [["many", "one", "few"], ["one", "many", "few"]]
    assert ids(index.search(EAST, 3, exclude=frozenset({"many"}))[0]) == ["one", "few"]


@cache
def _items_far_and_near(source_of):
    """Return 6,000 images, five queries, and for each filter the 10 best of each query, as `double_loop` finds them."""
    vectors, center = far_and_near()
    last = len(vectors) - 1
    attributes = {
        f"item{n:04}": {"far": n > last - 123, "rare": n > last - 3, "third": n % 3 == 0} for n in range(len(vectors))
    }
    source = source_of(*[(f"item{n:04}", v) for n, v in enumerate(vectors)], dim=len(center), attributes=attributes)
    queries = np.concatenate([center[None], vectors[:4]]).astype(np.float32)
    every, expected = double_loop(source, queries, len(vectors)), {}
    for name, left in (("far", 123), ("rare", 3), ("third", 2_000)):
        matching = [[match for match in matches if attributes[match.id][name]] for matches in every]
        assert [len(matches) for matches in matching] == [left] * 5
        expected[name] = [matches[:10] for matches in matching]
    return source, queries, expected


def a_filter_far_from_the_query_and_one_that_leaves_few_lose_nothing(indexed, source_of):
    """2 % of the images, all far from the queries, .05 %, and a third, of which short codes mistake the nearest."""
    source, queries, expected = _items_far_and_near(source_of)
    index = indexed(source)
    for name, best in expected.items():
        where = Filter.parse(name)
        for query, matches in zip(queries, best, strict=True):
            assert index.search(query[None], 10, where=where) == [matches]


def a_filter_that_does_not_fit_is_refused(indexed, source_of):
    index = indexed(source_of(*CARS, attributes=OF_CARS))
    try:
        answer = index.search(EAST, 2, where=Filter.parse("colour == 'red'"))
    except FilterError as error:
        assert "colour" in str(error)  # noqa: PT017 - as below
    else:
        raise AssertionError(f"answered with {answer}")


# Arguments


def a_query_without_a_direction_is_refused(indexed, source_of):
    index = indexed(source_of(*FOUR_CORNERS))
    for bad in (0.0, math.nan, math.inf, -math.inf):
        try:
            answer = index.search(np.array([[1, 0], [0, bad]], np.float32), 2)
        except ZeroVector as error:
            assert "row 1" in str(error)  # noqa: PT017 - an answer must fail as an assertion does, for the broken engines
        else:
            raise AssertionError(f"{bad} was answered with {answer}")


def arguments_that_make_no_sense_are_refused(indexed, source_of):
    index = indexed(source_of(*FOUR_CORNERS))
    for vectors, k in ((EAST, 0), (EAST, -1), (np.ones((1, 3), np.float32), 1), (np.ones(2, np.float32), 1)):
        try:
            answer = index.search(vectors, k)
        except ValueError as error:
            assert str(k if k < 1 else vectors.shape) in str(error)  # noqa: PT017 - as above
        else:
            raise AssertionError(f"{vectors}, k={k} was answered with {answer}")


def arguments_are_not_modified(indexed, source_of):
    queries = np.array([[3, 4], [-5, 0]], np.float32)
    before = queries.copy()
    indexed(source_of(*FOUR_CORNERS)).search(queries, 2)
    assert queries.tolist() == before.tolist()


def the_layout_of_the_queries_does_not_matter(indexed, source_of):
    vectors = np.random.default_rng(1).standard_normal((30, 9)).astype(np.float32)
    index = indexed(source_of(*[(f"item{i}", v) for i, v in enumerate(vectors)], dim=9))
    expected = index.search(vectors, 5)
    assert index.search(np.asfortranarray(vectors), 5) == expected
    assert index.search(np.repeat(vectors, 2, axis=0)[::2].astype(np.float64), 5) == expected


def threads_get_the_answers_that_one_gets(indexed, source_of):
    vectors = np.random.default_rng(2).standard_normal((300, 16)).astype(np.float32)
    index = indexed(source_of(*[(f"item{i % 200}/{i}", v) for i, v in enumerate(vectors)], dim=16))
    batches = [vectors[start : start + 7] for start in range(0, 140, 7)]
    expected = [index.search(batch, 5) for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda batch: index.search(batch, 5), batches)) == expected


# Properties


@st.composite
def images(draw):
    """Up to 60 images in few directions: many equal, many equal but for the last bits, some deleted, some shared."""
    dim = draw(st.integers(1, 5))
    axis = st.lists(st.integers(-2, 2), min_size=dim, max_size=dim).filter(any)
    directions = draw(st.lists(axis, min_size=1, max_size=4))
    nudge = st.sampled_from([0, 0, 1e-7, -1e-7, 4e-7, 1e-6])
    names = st.lists(st.sampled_from("abcdefgh"), max_size=3, unique=True)
    shown = [
        (" ".join(f"{name}/{number}" for name in draw(names)), np.add(draw(st.sampled_from(directions)), draw(nudge)))
        for number in range(draw(st.integers(0, 60)))
    ]
    queries = draw(st.lists(st.one_of(axis, st.sampled_from(directions)), min_size=1, max_size=4))
    return shown, np.array(queries, np.float32)


@st.composite
def conditions(draw):
    """Attributes of the items of `images`, and what of a `SearchRequest` has to do with them."""
    value = st.sampled_from([None, True, False, 0, 1, 1.0, "x", "y"])
    held = st.dictionaries(st.sampled_from(["a", "b"]), value, max_size=2)
    attributes = draw(st.fixed_dictionaries(dict.fromkeys("abcdefgh", held)))
    wheres = ["a", "not b", "a == 1 or b == 'x'", "a is null", "b is not null and b != 'y'"]
    where = draw(st.sampled_from([None, *wheres]))
    kept = {
        "where": None if where is None else Filter.parse(where),
        "exclude": frozenset(draw(st.sets(st.sampled_from("abcdefgh"), max_size=4))),
        "group_by": draw(st.sampled_from([None, "a", "b", "c"])),
    }
    return attributes, kept


def holds(examples, promise, *more):
    settings(max_examples=examples_of(examples), deadline=None, database=None, suppress_health_check=list(HealthCheck))(
        given(images(), st.integers(1, 30), *more)(promise)
    )()


def answers_are_those_of_a_double_loop(indexed, source_of):
    def promise(drawn, k):
        shown, queries = drawn
        source = source_of(*shown, dim=queries.shape[1])
        assert indexed(source).search(queries, k) == double_loop(source, queries, k)

    holds(80, promise)


def conditions_are_those_of_a_double_loop(indexed, source_of):
    def promise(drawn, k, held):
        (shown, queries), (attributes, kept) = drawn, held
        source = source_of(*shown, dim=queries.shape[1], attributes=attributes)
        assert indexed(source).search(queries, k, **kept) == double_loop(source, queries, k, **kept)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Filter, "check", lambda *_: None)  # whether it fits what was drawn is not the question here
        holds(60, promise, conditions())


def a_search_is_a_prefix_of_a_longer_one_and_a_batch_is_its_queries_one_by_one(indexed, source_of):
    def promise(drawn, k):
        shown, queries = drawn
        index = indexed(source_of(*shown, dim=queries.shape[1]))
        found = index.search(queries, k)
        assert found == [matches[:k] for matches in index.search(queries, k + 1)]
        assert found == [index.search(query[None], k)[0] for query in queries]

    holds(40, promise)


def the_order_of_insertion_changes_nothing(indexed, source_of):
    def promise(drawn, k):
        shown, queries = drawn
        forwards, backwards = source_of(*shown, dim=queries.shape[1]), source_of(*shown[::-1], dim=queries.shape[1])
        assert indexed(forwards).search(queries, k) == indexed(backwards).search(queries, k)

    holds(40, promise)


@cache
def _a_crowd(source_of):
    """Return 400 images whose vectors hardly differ, queries among them, and the 5 best of each."""
    rng = np.random.default_rng(4)
    center = rng.standard_normal(96)
    crowd = center + rng.standard_normal((400, 96)) * 3e-4
    source = source_of(*[(f"item{number:03}", vector) for number, vector in enumerate(crowd)], dim=96)
    queries = np.concatenate([center[None], crowd[:30]]).astype(np.float32)
    return source, queries, double_loop(source, queries, 5)


def vectors_closer_than_float32_can_tell_are_told_apart(indexed, source_of):
    source, queries, expected = _a_crowd(source_of)
    assert indexed(source).search(queries, 5) == expected


@cache
def _images_nearly_as_far(source_of):
    """Return 300 images whose cosines with a query are 2e-9 apart, the query, and the 100 best."""
    rng = np.random.default_rng(6)
    query, *others = np.linalg.qr(rng.standard_normal((640, 301)))[0].T
    cosines = 0.5 + 2e-9 * rng.permutation(300)
    vectors = [c * query + math.sqrt(1 - c * c) * other for c, other in zip(cosines, others, strict=True)]
    source = source_of(*[(f"item{number:03}", vector) for number, vector in enumerate(vectors)], dim=640)
    queries = query[None].astype(np.float32)
    return source, queries, double_loop(source, queries, 100)[0]


def neighbors_are_the_right_ones_where_float32_sums_mistake_their_order(indexed, source_of):
    source, queries, expected = _images_nearly_as_far(source_of)
    index = indexed(source)
    for k in range(1, 100, 7):
        assert index.search(queries, k) == [expected[:k]]


def a_batch_of_real_size_is_its_queries_one_by_one(indexed, source_of):
    vectors = np.random.default_rng(5).standard_normal((500, 257)).astype(np.float32)
    index = indexed(source_of(*[(f"item{i}", v) for i, v in enumerate(vectors)], dim=257))
    is_same = index.search(vectors[:64], 12) == [index.search(query[None], 12)[0] for query in vectors[:64]]
    assert is_same  # without the two, whose difference pytest would take a minute to show


PROMISES = [
    nearest_come_first_and_ties_are_ordered_by_id,
    asking_for_more_than_there_is_gives_what_there_is,
    asking_for_all_there_is_gives_all,
    result_i_belongs_to_query_i,
    a_match_names_the_image_and_its_digest,
    the_length_of_a_query_does_not_matter,
    one_image_of_three_items_gives_three_matches_of_one_score,
    equal_vectors_are_ordered_by_id_wherever_they_lie,
    opposite_vectors_tie_at_the_bottom_as_well,
    deleted_vectors_are_not_found_and_shift_nothing,
    an_empty_source_gives_nothing,
    one_vector_is_always_found,
    no_query_gives_no_result,
    scores_stay_within_minus_one_and_one,
    the_source_is_what_was_indexed,
    a_filter_leaves_the_items_that_match,
    of_items_that_show_one_image_only_those_that_match_are_found,
    excluded_items_are_not_found_and_others_take_their_places,
    of_a_group_the_best_image_is_found_and_what_has_no_group_is_found_too,
    true_and_1_are_two_groups_and_1_and_1_0_are_one,
    conditions_hold_together,
    one_group_of_many_images_hides_no_other,
    a_filter_that_does_not_fit_is_refused,
    a_query_without_a_direction_is_refused,
    arguments_that_make_no_sense_are_refused,
    arguments_are_not_modified,
    the_layout_of_the_queries_does_not_matter,
    threads_get_the_answers_that_one_gets,
    answers_are_those_of_a_double_loop,
    conditions_are_those_of_a_double_loop,
    a_search_is_a_prefix_of_a_longer_one_and_a_batch_is_its_queries_one_by_one,
    the_order_of_insertion_changes_nothing,
    vectors_closer_than_float32_can_tell_are_told_apart,
    neighbors_are_the_right_ones_where_float32_sums_mistake_their_order,
    a_batch_of_real_size_is_its_queries_one_by_one,
]


SLOW = PROMISES[PROMISES.index(answers_are_those_of_a_double_loop) :]
"""What is asked of engines, and of lagging indexes of all types but one, in the night."""

INDEX_TYPES = ["flat", "hnsw", "ivf-pq", "faiss:SQ8", "toy"]
LATE = ["faiss:SQ8", "toy"]
"""Of these, CI asks one of what is `SLOW`."""

register_index_type("toy", "toy_index:ToyIndexType")


class Searched:
    """An index whose `search` takes the fields of a `SearchRequest`."""

    def __init__(self, index):
        self.index = index
        self.source = index.source

    def search(self, vectors, k, **conditions):
        return self.index.search(SearchRequest(vectors, k, **conditions))


@pytest.fixture
def indexed(request, tmp_path):
    numbers = count()

    def build_and_open(source):
        if request.param == "exact":
            return Searched(ExactIndex(source))
        directory = tmp_path / str(next(numbers))
        directory.mkdir()
        name, _ = build_or_update(IndexConfig(request.param), source, directory)
        return Searched(open_index(name, source, directory))

    return build_and_open


@pytest.mark.parametrize(
    ("promise", "indexed"),
    [
        pytest.param(promise, name, marks=[pytest.mark.nightly] if promise in SLOW[1:] and name in LATE else [])
        for promise in PROMISES
        for name in ("exact", *INDEX_TYPES)
    ],
    indirect=["indexed"],
)
def test_every_index_keeps(promise, indexed, source_of):
    promise(indexed, source_of)


# Engines

PROMISES_OF_ENGINES = [*PROMISES, a_filter_far_from_the_query_and_one_that_leaves_few_lose_nothing]
DAILY = (
    a_filter_far_from_the_query_and_one_that_leaves_few_lose_nothing,
    a_filter_leaves_the_items_that_match,
    nearest_come_first_and_ties_are_ordered_by_id,
    one_group_of_many_images_hides_no_other,
)
AT_NIGHT = [promise for promise in PROMISES_OF_ENGINES if promise not in DAILY]
"""What the engines behind the first one are asked at night: all promises but some, since each makes a collection."""


@pytest.mark.parametrize(
    ("promise", "kind"),
    [
        pytest.param(promise, kind, marks=[pytest.mark.nightly] if promise in (AT_NIGHT if n else SLOW) else [])
        for promise in PROMISES_OF_ENGINES
        for n, kind in enumerate(KINDS)
    ],
)
def test_every_engine_keeps(promise, kind, source_of, tmp_path):
    with empty_engines(kind, tmp_path) as new:
        promise(lambda source: Searched(published_index(source, new())), source_of)


class NaiveLance:
    """LanceDB as its manual shows it: with its defaults, and the filter in SQL."""

    def __init__(self, source, folder, *, prefilter):
        self.index = published_index(source, f"lance:{folder}")
        self.prefilter = prefilter

    def search(self, vectors, k, where):
        condition = self.index.condition_of(SearchRequest(vectors, k, where)).expression
        query = self.index._table._table.search(vectors[0], vector_column_name="vector").distance_type("dot").limit(k)
        found = query.where(condition, prefilter=self.prefilter).to_arrow()
        return [scored(found, normalize_or_raise(vectors)[0]).matches]


@pytest.mark.parametrize("prefilter", [False, True], ids=["that_filters_what_it_has_found", "with_its_own_defaults"])
def test_an_engine_is_caught(prefilter, source_of, tmp_path):
    pytest.importorskip("lancedb")
    promise = a_filter_far_from_the_query_and_one_that_leaves_few_lose_nothing
    with pytest.raises(AssertionError):
        promise(lambda source: NaiveLance(source, tmp_path, prefilter=prefilter), source_of)


# Indexes that lag behind their source


def earlier(source):
    """Return what *source* was some generations ago, and what is pending since.

    A third of the vectors was not there yet. All that *source* has deleted was there, and copies of half of the vectors
    at positions that *source* does not know any more.
    """
    now, copies = source.positions(), source.every[::2]
    added = now[::3]
    before = Vectors(
        np.concatenate([source.every, copies]),
        sorted({*range(len(source.every) + len(copies))} - {*added.tolist()}),
        is_normalized=True,
    )
    before.fingerprint, before.generation = source.fingerprint, source.generation - 3
    removed = np.setdiff1d(before.positions(), now)
    return before, IndexPending(*(tuple((place, place + 1) for place in each.tolist()) for each in (added, removed)))


@pytest.mark.parametrize(
    ("promise", "name"),
    [
        pytest.param(promise, name, marks=[pytest.mark.nightly] if promise in SLOW and name != "flat" else [])
        for promise in PROMISES
        for name in INDEX_TYPES
    ],
)
def test_every_index_keeps_that_lags_behind(promise, name, source_of, tmp_path):
    numbers = count()

    def build_and_open(source):
        directory = tmp_path / str(next(numbers))
        directory.mkdir()
        before, pending = earlier(source)
        built, _ = build_or_update(IndexConfig(name), before, directory)
        return Searched(open_index(built, source, directory, made_from=before.generation, pending=pending))

    promise(build_and_open, source_of)


# Indexes of an earlier source that were updated, so that what was added lies beside the rest


@pytest.mark.parametrize(
    ("promise", "name"),
    [
        pytest.param(promise, name, marks=[pytest.mark.nightly] if promise in SLOW else [])
        for promise in PROMISES
        for name in ("hnsw", "ivf-pq")
    ],
)
def test_every_index_keeps_that_was_updated(promise, name, source_of, tmp_path, monkeypatch):
    monkeypatch.setattr(hnsw, "_LARGEST_DELTA", 9.0)
    monkeypatch.setattr(hnsw, "_MOST_DELETED", 1.0)
    numbers = count()

    def build_and_open(source):
        folders = [tmp_path / str(next(numbers)) for _ in range(2)]
        for folder in folders:
            folder.mkdir()
        build_or_update(IndexConfig(name), earlier(source)[0], folders[0])
        built, _ = build_or_update(IndexConfig(name), source, folders[1], previous=folders[0])
        return Searched(open_index(built, source, folders[1]))

    promise(build_and_open, source_of)


# Index types: building, updating, opening and verifying


@pytest.fixture(params=INDEX_TYPES)
def config(request):
    return IndexConfig(request.param)


@pytest.fixture
def built(config, tmp_path, source_of):
    """Return a source of 40 vectors, and the directory of its index."""
    return (source := many(source_of)), *build(config, source, tmp_path / "built")


def many(source_of, alive=range(40), **changes):
    vectors = np.random.default_rng(0).standard_normal((60, 5))
    source = source_of(*[(f"item{n:02}" if n in alive else "", v) for n, v in enumerate(vectors)], dim=5)
    for name, value in changes.items():
        setattr(source, name, value)
    return source


def build(config, source, directory, previous=None):
    directory.mkdir()
    name, stats = build_or_update(config, source, directory, previous=previous)
    assert isinstance(stats, IndexStats)
    return name, directory


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def assert_is_exact(name, source, directory):
    queries = np.random.default_rng(1).standard_normal((3, 5)).astype(np.float32)
    assert open_index(name, source, directory).search(SearchRequest(queries, 7)) == double_loop(source, queries, 7)


def test_what_is_built_is_opened_and_verified(built):
    source, name, directory = built
    assert_is_exact(name, source, directory)
    assert verify(directory) == []
    assert all(path.is_file() for path in directory.iterdir())


def test_the_type_is_found_by_its_name_and_says_what_it_measured(config, source_of, tmp_path):
    index_type = find_index_type(config.index_type)
    stats = index_type.build(many(source_of), tmp_path, config)
    assert find_index_type(index_type.name).name == index_type.name == config.index_type.partition(":")[0]
    assert (stats.recall_at_1, stats.recall_at_10, stats.recall_at_100) == (1.0, 1.0, 1.0)
    assert stats.target_recall_met
    assert stats.index_factory
    assert index_type.verify(tmp_path) == []


def test_an_index_is_updated_or_built_anew_and_the_one_before_stays_as_it_was(config, built, source_of, tmp_path):
    _, _, directory = built
    before = contents(directory)
    for number, alive in enumerate([range(45), range(2, 45), range(30, 60), range(0), range(5)]):
        source = many(source_of, alive, generation=8 + number)
        name, following = build(config, source, tmp_path / str(number), previous=directory)
        assert_is_exact(name, source, following)
        assert verify(following) == []
        assert contents(directory) == before
        directory, before = following, contents(following)


def test_a_damaged_index_is_built_anew(config, built, source_of, tmp_path):
    _, _, directory = built
    source = many(source_of, range(41), generation=8)
    for number, path in enumerate(sorted(directory.iterdir())):
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        name, following = build(config, source, tmp_path / str(number), previous=directory)
        assert_is_exact(name, source, following)
        path.write_bytes(data)


def test_an_index_of_something_else_is_not_opened(built, source_of):
    source, name, directory = built
    for changes, error in (({"fingerprint": "x"}, SpaceMismatch), ({"generation": 8}, StoreDamaged)):
        with pytest.raises(error, match="rebuild it with `visrec index`"):
            open_index(name, many(source_of, **changes), directory)
    with pytest.raises(StoreDamaged, match="holds an index of type"):
        open_index("flat" if name != "flat" else "hnsw", source, directory)


def test_every_change_of_a_file_is_found(built):
    source, name, directory = built
    for path in sorted(directory.iterdir()):
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        assert any(str(path) in problem for problem in verify(directory))
        path.write_bytes(data[:-1])
        assert any(str(path) in problem for problem in verify(directory))
        with pytest.raises(StoreDamaged, match=path.name):
            open_index(name, source, directory)
        path.write_bytes(data)
    (directory / "notes.txt").write_text("hello")
    assert verify(directory) == [f"{directory / 'notes.txt'} does not belong to the index"]


# Indexes with one known bug each: an honest index, and what a bug makes of it.


def pads_with_minus_one_which_is_the_last_item(honest, vectors, k):
    every = honest.search(vectors, k)
    return [matches + matches[-1:] * (k - len(matches)) for matches in every]


def forgets_to_scale_the_query(honest, vectors, k):
    lengths = np.linalg.norm(vectors, axis=1).tolist()
    return [
        [m._replace(score=m.score * length) for m in matches]
        for length, matches in zip(lengths, honest.search(vectors, k), strict=True)
    ]


def measures_euclidean_distance(honest, vectors, k):
    return [[m._replace(score=2 - 2 * m.score) for m in matches] for matches in honest.search(vectors, k)]


def answers_in_ascending_order(honest, vectors, k):
    return [matches[::-1] for matches in honest.search(vectors, k)]


def drops_ties(honest, vectors, k):
    return [list({m.score: m for m in reversed(matches)}.values())[::-1] for matches in honest.search(vectors, k)]


def orders_ties_as_they_lie(honest, vectors, k):
    return [sorted(m, key=lambda m: (m.score, m.id), reverse=True)[:k] for m in honest.search(vectors, 10**6)]


def scales_the_query_in_place(honest, vectors, k):
    found = honest.search(vectors, k)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return found


def returns_duplicates(honest, vectors, k):
    return [[m for m in matches for _ in "ab"][:k] for matches in honest.search(vectors, k)]


def mixes_up_the_queries(honest, vectors, k):
    return honest.search(vectors, k)[::-1]


def answers_nan(honest, vectors, k):
    return honest.search(np.where(np.isfinite(vectors), vectors, 1), k)


def adds_up_in_another_order_in_a_batch(honest, vectors, k):
    last_bit = np.float32(6e-8) * (len(vectors) > 1)
    return [[m._replace(score=m.score - last_bit) for m in matches] for matches in honest.search(vectors, k)]


def drops_its_conditions(honest, vectors, k, **_):
    return honest.search(vectors, k)


def filters_the_k_best(honest, vectors, k, **conditions):
    left = honest.search(vectors, 10**6, **conditions)
    return [[m for m in matches if m in own] for matches, own in zip(honest.search(vectors, k), left, strict=True)]


def shows_every_item_of_an_image(honest, vectors, k, where):
    images = {match.digest[:9] for matches in honest.search(vectors, 10**6, where=where) for match in matches}
    return [[m for m in matches if m.digest[:9] in images][:k] for matches in honest.search(vectors, 10**6)]


def groups_what_has_no_group(honest, vectors, k, **conditions):
    found = honest.search(vectors, k, **conditions)
    return [[m for n, m in enumerate(matches) if m.id not in ("lada", "volvo") or n < 2] for matches in found]


def takes_true_for_1(honest, vectors, k, **conditions):
    return [[m for m in matches if m.id != "b"] for matches in honest.search(vectors, k, **conditions)]


BUGS = [
    (pads_with_minus_one_which_is_the_last_item, asking_for_more_than_there_is_gives_what_there_is),
    (forgets_to_scale_the_query, the_length_of_a_query_does_not_matter),
    (measures_euclidean_distance, nearest_come_first_and_ties_are_ordered_by_id),
    (answers_in_ascending_order, nearest_come_first_and_ties_are_ordered_by_id),
    (drops_ties, nearest_come_first_and_ties_are_ordered_by_id),
    (orders_ties_as_they_lie, equal_vectors_are_ordered_by_id_wherever_they_lie),
    (scales_the_query_in_place, arguments_are_not_modified),
    (returns_duplicates, asking_for_all_there_is_gives_all),
    (mixes_up_the_queries, result_i_belongs_to_query_i),
    (answers_nan, a_query_without_a_direction_is_refused),
    (adds_up_in_another_order_in_a_batch, a_batch_of_real_size_is_its_queries_one_by_one),
    (drops_its_conditions, a_filter_leaves_the_items_that_match),
    (drops_its_conditions, excluded_items_are_not_found_and_others_take_their_places),
    (drops_its_conditions, of_a_group_the_best_image_is_found_and_what_has_no_group_is_found_too),
    (drops_its_conditions, a_filter_that_does_not_fit_is_refused),
    (filters_the_k_best, a_filter_leaves_the_items_that_match),
    (filters_the_k_best, excluded_items_are_not_found_and_others_take_their_places),
    (filters_the_k_best, one_group_of_many_images_hides_no_other),
    (shows_every_item_of_an_image, of_items_that_show_one_image_only_those_that_match_are_found),
    (groups_what_has_no_group, of_a_group_the_best_image_is_found_and_what_has_no_group_is_found_too),
    (takes_true_for_1, true_and_1_are_two_groups_and_1_and_1_0_are_one),
]


class Broken:
    def __init__(self, bug, source):
        self.bug = bug
        self.honest = Searched(ExactIndex(source))

    def search(self, vectors, k, **conditions):
        return self.bug(self.honest, vectors, k, **conditions)


@pytest.mark.parametrize(("bug", "promise"), BUGS, ids=lambda function: function.__name__)
def test_an_index_is_caught_that(bug, promise, source_of):
    with pytest.raises(AssertionError):
        promise(lambda source: Broken(bug, source), source_of)
