"""What `VectorIndex.search` promises, asked of every engine, and of broken ones that must be caught.

A promise is a function of a way to open an engine over a source, and of `source_of` (see conftest.py), so that it can
be asked of anything.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vision_recs.errors import ZeroVector
from vision_recs.indexes import ENGINES, build_index, open_index
from vision_recs.types import Match
from vision_recs.vectors import normalize_or_raise

EAST, NORTH, SOUTH, NORTH_EAST = (np.array([v], np.float32) for v in ([1, 0], [0, 1], [0, -1], [1, 1]))
FOUR_CORNERS = [("east", (1, 0)), ("north", (0, 1)), ("west", (-1, 0)), ("south", (0, -1))]


def ids(matches):
    return [match.id for match in matches]


def scores(matches):
    return [match.score for match in matches]


def double_loop(source, queries, k):
    """The obvious way: every query with every row, one number at a time."""
    return [_nearest(source, [float(x) for x in query], k) for query in normalize_or_raise(queries)]


def _nearest(source, query, k):
    matches = []
    for position in source.positions().tolist():
        (vector,) = source.vectors(np.array([position]))
        cosine = math.fsum(x * float(y) for x, y in zip(query, vector, strict=True))
        score = round(min(1.0, max(-1.0, cosine)) * 2**24) / 2**24
        rows = source.rows([position], limit=10**6)[position]
        matches += [Match(row.id, score, row.image, row.digest) for row in rows]
    return sorted(matches, key=lambda match: (-match.score, match.id, match.image))[:k]


# By hand


def nearest_come_first_and_ties_are_ordered_by_id(engine, source_of):
    (matches,) = engine(source_of(*FOUR_CORNERS)).search(EAST, 3)
    assert ids(matches) == ["east", "north", "south"]
    assert scores(matches) == [1.0, 0.0, 0.0]


def asking_for_more_than_there_is_gives_what_there_is(engine, source_of):
    (matches,) = engine(source_of(*FOUR_CORNERS)).search(EAST, 10)
    assert ids(matches) == ["east", "north", "south", "west"]
    assert scores(matches) == [1.0, 0.0, 0.0, -1.0]


def asking_for_all_there_is_gives_all(engine, source_of):
    (matches,) = engine(source_of(*FOUR_CORNERS)).search(SOUTH, 4)
    assert ids(matches) == ["south", "east", "west", "north"]


def result_i_belongs_to_query_i(engine, source_of):
    results = engine(source_of(*FOUR_CORNERS)).search(np.concatenate([NORTH, EAST, SOUTH]), 1)
    assert [ids(matches) for matches in results] == [["north"], ["east"], ["south"]]


def a_match_names_the_image_and_its_digest(engine, source_of):
    (matches,) = engine(source_of(("lamp/front.jpg", (1, 0)), ("lamp/back.jpg", (1, 1)))).search(EAST, 2)
    assert [(m.id, m.image, m.digest) for m in matches] == [
        ("lamp", "front.jpg", "digest of lamp/front.jpg"),
        ("lamp", "back.jpg", "digest of lamp/back.jpg"),
    ]


def the_length_of_a_query_does_not_matter(engine, source_of):
    index = engine(source_of(("long", (3, 0)), ("short", (0.3, 0.4))))
    assert index.search(NORTH_EAST * np.float32(1000), 2) == index.search(NORTH_EAST / np.float32(512), 2)
    (matches,) = index.search(NORTH_EAST * np.float32(1000), 2)
    assert ids(matches) == ["short", "long"]
    assert scores(matches) == pytest.approx([0.7 * math.sqrt(2), math.sqrt(0.5)], abs=1e-6)


def one_image_of_three_items_gives_three_matches_of_one_score(engine, source_of):
    index = engine(source_of(("west", (-1, 0)), ("vase lamp shade", (1, 1)), ("east", (1, 0))))
    (matches,) = index.search(EAST, 4)
    assert ids(matches) == ["east", "lamp", "shade", "vase"]
    assert scores(matches)[1:] == [np.float32(math.sqrt(0.5))] * 3
    assert ids(index.search(EAST, 2)[0]) == ["east", "lamp"]


def equal_vectors_are_ordered_by_id_wherever_they_lie(engine, source_of):
    names = [f"item{number:03}" for number in range(100)]
    index = engine(source_of(*[(name, (1, 2)) for name in reversed(names)], ("other", (2, 1))))
    assert ids(index.search(NORTH, 3)[0]) == names[:3]
    assert ids(index.search(EAST, 3)[0]) == ["other", *names[:2]]


def opposite_vectors_tie_at_the_bottom_as_well(engine, source_of):
    rng = np.random.default_rng(3)
    (direction,) = rng.standard_normal((1, 24))
    names = [f"item{number:02}" for number in range(60)]
    source = source_of(*[(name, -direction * rng.uniform(0.1, 9)) for name in reversed(names)], dim=24)
    query = direction[None].astype(np.float32)
    assert engine(source).search(query, 5) == double_loop(source, query, 5)


def deleted_vectors_are_not_found_and_shift_nothing(engine, source_of):
    index = engine(source_of(("", (1, 0)), ("north", (0, 1)), ("", (1, 0.1)), ("", (1, 0)), ("west", (-1, 0))))
    assert ids(index.search(EAST, 5)[0]) == ["north", "west"]


def an_empty_source_gives_nothing(engine, source_of):
    index = engine(source_of(dim=2))
    assert index.search(np.concatenate([EAST, NORTH]), 3) == [[], []]


def one_vector_is_always_found(engine, source_of):
    assert engine(source_of(("only", (0, -2)))).search(NORTH, 1) == [
        [Match("only", -1.0, "only.jpg", "digest of only")]
    ]


def no_query_gives_no_result(engine, source_of):
    assert engine(source_of(*FOUR_CORNERS)).search(np.empty((0, 2), np.float32), 3) == []


def scores_stay_within_minus_one_and_one(engine, source_of):
    vectors = np.random.default_rng(0).standard_normal((200, 3))
    found = engine(source_of(*[(f"item{i}", v) for i, v in enumerate(vectors)], dim=3)).search(vectors, 200)
    every = np.array([scores(matches) for matches in found])
    assert every.max() == 1.0
    assert every.min() >= -1.0


def the_source_is_what_was_indexed(engine, source_of):
    assert engine(source_of(*FOUR_CORNERS)).source == ("by-hand", 7)


# Arguments


def a_query_without_a_direction_is_refused(engine, source_of):
    index = engine(source_of(*FOUR_CORNERS))
    for bad in (0.0, math.nan, math.inf, -math.inf):
        try:
            answer = index.search(np.array([[1, 0], [0, bad]], np.float32), 2)
        except ZeroVector as error:
            assert "row 1" in str(error)  # noqa: PT017 - an answer must fail as an assertion does, for the broken engines
        else:
            raise AssertionError(f"{bad} was answered with {answer}")


def arguments_that_make_no_sense_are_refused(engine, source_of):
    index = engine(source_of(*FOUR_CORNERS))
    for vectors, k in ((EAST, 0), (EAST, -1), (np.ones((1, 3), np.float32), 1), (np.ones(2, np.float32), 1)):
        try:
            answer = index.search(vectors, k)
        except ValueError as error:
            assert str(k if k < 1 else vectors.shape) in str(error)  # noqa: PT017 - as above
        else:
            raise AssertionError(f"{vectors}, k={k} was answered with {answer}")


def arguments_are_not_modified(engine, source_of):
    queries = np.array([[3, 4], [-5, 0]], np.float32)
    before = queries.copy()
    engine(source_of(*FOUR_CORNERS)).search(queries, 2)
    assert queries.tolist() == before.tolist()


def the_layout_of_the_queries_does_not_matter(engine, source_of):
    vectors = np.random.default_rng(1).standard_normal((30, 9)).astype(np.float32)
    index = engine(source_of(*[(f"item{i}", v) for i, v in enumerate(vectors)], dim=9))
    expected = index.search(vectors, 5)
    assert index.search(np.asfortranarray(vectors), 5) == expected
    assert index.search(np.repeat(vectors, 2, axis=0)[::2].astype(np.float64), 5) == expected


def threads_get_the_answers_that_one_gets(engine, source_of):
    vectors = np.random.default_rng(2).standard_normal((300, 16)).astype(np.float32)
    index = engine(source_of(*[(f"item{i % 200}/{i}", v) for i, v in enumerate(vectors)], dim=16))
    batches = [vectors[start : start + 7] for start in range(0, 280, 7)]
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


def holds(examples, promise):
    settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))(
        given(images(), st.integers(1, 30))(promise)
    )()


def answers_are_those_of_a_double_loop(engine, source_of):
    def promise(drawn, k):
        shown, queries = drawn
        source = source_of(*shown, dim=queries.shape[1])
        assert engine(source).search(queries, k) == double_loop(source, queries, k)

    holds(80, promise)


def a_search_is_a_prefix_of_a_longer_one_and_a_batch_is_its_queries_one_by_one(engine, source_of):
    def promise(drawn, k):
        shown, queries = drawn
        index = engine(source_of(*shown, dim=queries.shape[1]))
        found = index.search(queries, k)
        assert found == [matches[:k] for matches in index.search(queries, k + 1)]
        assert found == [index.search(query[None], k)[0] for query in queries]

    holds(40, promise)


def the_order_of_insertion_changes_nothing(engine, source_of):
    def promise(drawn, k):
        shown, queries = drawn
        forwards, backwards = source_of(*shown, dim=queries.shape[1]), source_of(*shown[::-1], dim=queries.shape[1])
        assert engine(forwards).search(queries, k) == engine(backwards).search(queries, k)

    holds(40, promise)


def vectors_closer_than_float32_can_tell_are_told_apart(engine, source_of):
    rng = np.random.default_rng(4)
    center = rng.standard_normal(96)
    crowd = center + rng.standard_normal((400, 96)) * 3e-4
    source = source_of(*[(f"item{number:03}", vector) for number, vector in enumerate(crowd)], dim=96)
    queries = np.concatenate([center[None], crowd[:30]]).astype(np.float32)
    assert engine(source).search(queries, 5) == double_loop(source, queries, 5)


def neighbors_are_the_right_ones_where_float32_sums_mistake_their_order(engine, source_of):
    rng = np.random.default_rng(6)
    query, *others = np.linalg.qr(rng.standard_normal((640, 301)))[0].T
    cosines = 0.5 + 2e-9 * rng.permutation(300)
    vectors = [c * query + math.sqrt(1 - c * c) * other for c, other in zip(cosines, others, strict=True)]
    source = source_of(*[(f"item{number:03}", vector) for number, vector in enumerate(vectors)], dim=640)
    index, queries = engine(source), query[None].astype(np.float32)
    for k in range(1, 100, 7):
        assert index.search(queries, k) == double_loop(source, queries, k)


def a_batch_of_real_size_is_its_queries_one_by_one(engine, source_of):
    vectors = np.random.default_rng(5).standard_normal((500, 257)).astype(np.float32)
    index = engine(source_of(*[(f"item{i}", v) for i, v in enumerate(vectors)], dim=257))
    assert index.search(vectors[:64], 12) == [index.search(query[None], 12)[0] for query in vectors[:64]]


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
    a_query_without_a_direction_is_refused,
    arguments_that_make_no_sense_are_refused,
    arguments_are_not_modified,
    the_layout_of_the_queries_does_not_matter,
    threads_get_the_answers_that_one_gets,
    answers_are_those_of_a_double_loop,
    a_search_is_a_prefix_of_a_longer_one_and_a_batch_is_its_queries_one_by_one,
    the_order_of_insertion_changes_nothing,
    vectors_closer_than_float32_can_tell_are_told_apart,
    neighbors_are_the_right_ones_where_float32_sums_mistake_their_order,
    a_batch_of_real_size_is_its_queries_one_by_one,
]


@pytest.fixture(params=sorted(ENGINES))
def engine(request, tmp_path):
    numbers = count()

    def build_and_open(source):
        directory = tmp_path / str(next(numbers))
        directory.mkdir()
        build_index(request.param, source, directory)
        return open_index(request.param, source, directory)

    return build_and_open


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_every_engine_keeps(promise, engine, source_of):
    promise(engine, source_of)


# Engines with one known bug each: an honest index, and what a bug makes of it.


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
]


class Broken:
    def __init__(self, bug, source):
        self.bug = bug
        self.honest = open_index("exact", source, Path("unused"))

    def search(self, vectors, k):
        return self.bug(self.honest, vectors, k)


@pytest.mark.parametrize(("bug", "promise"), BUGS, ids=lambda function: function.__name__)
def test_an_engine_is_caught_that(bug, promise, source_of):
    with pytest.raises(AssertionError):
        promise(lambda source: Broken(bug, source), source_of)
