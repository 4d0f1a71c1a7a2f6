"""The nearest of all for all, compared with every cosine computed one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from property_examples import examples_of

from vision_recs.errors import TooManyVectors, ZeroVector
from vision_recs.knn_join import (
    Groups,
    KnnJoin,
    blocks,
    candidates,
    groups,
    join,
    keys,
    matmul,
    pairs_above,
    range_join,
)
from vision_recs.vectors import exact_cosine, normalize_or_raise

FORMATS = {"bf16": matmul.BFLOAT16, "f32": matmul.FLOAT32, "f16": matmul.FLOAT16}


class Vectors:
    """A source of the vectors that it is given, at the positions 0, 1, 2 ..."""

    fingerprint, generation = "space", 1

    def __init__(self, every):
        self.every = every
        self.dim = every.shape[1]

    def positions(self):
        return np.arange(len(self.every))

    def vectors(self, positions):
        return self.every[positions]


@pytest.fixture(params=["bf16", "f32"])
def number_format(request, monkeypatch):
    """Compute in each format a CPU may have, whichever is the fastest here."""
    monkeypatch.setattr(matmul, "_fastest_format", lambda *_: FORMATS[request.param])
    return FORMATS[request.param]


def shrink(patch, *, sample=24):
    """Have a hundred vectors fill many blocks and bands, with samples that are a part of the columns."""
    for module in (blocks, join, range_join):
        patch.setattr(module, "ROWS", 8)
    for module in (join, range_join):
        patch.setattr(module, "AHEAD", 1)
    for name, value in {"_COLUMNS": 16, "_PAIRS": 5}.items():
        patch.setattr(blocks, name, value)
    for name, value in {"_BAND": 2, "_SAMPLE": sample}.items():
        patch.setattr(join, name, value)


@pytest.fixture
def small_blocks(monkeypatch):
    shrink(monkeypatch)


def made(count, dim=12, *, seed=0, kind="random"):
    """Return unit vectors: at random, in tight clusters, or on a coarse grid, where many are equal."""
    random = np.random.default_rng(seed)
    vectors = random.standard_normal((count, dim))
    if kind == "clusters":
        centers = random.standard_normal((max(1, count // 12), dim))
        vectors = centers[random.integers(len(centers), size=count)] + 0.02 * vectors
    if kind == "grid":
        vectors = np.rint(random.uniform(-1, 1, (count, dim)))
        vectors[~vectors.any(axis=1)] = 1
    return normalize_or_raise(vectors)


def brute_force(vectors, queries, corpus, k):
    """Return the numbers and the scores of the k best, equal scores by number."""
    numbers, scores = [], []
    for position in queries:
        every = exact_cosine(vectors[corpus], vectors[position])
        best = np.lexsort((np.arange(len(every)), -every))[:k]
        numbers.append(best)
        scores.append(every[best])
    return np.array(numbers), np.array(scores)


def found(parts):
    parts = list(parts)
    firsts = np.cumsum([0, *[len(part.numbers) for part in parts]])[:-1]
    assert [part.first for part in parts] == firsts.tolist()
    return np.concatenate([part.numbers for part in parts]), np.concatenate([part.scores for part in parts])


@pytest.mark.parametrize("kind", ["random", "clusters", "grid"])
@pytest.mark.usefixtures("small_blocks", "number_format")
def test_every_vector_gets_the_nearest_of_exact_search_bit_for_bit(kind):
    vectors = made(150, kind=kind)
    every = np.arange(150)
    numbers, scores = found(KnnJoin(Vectors(vectors), every, every).nearest(7))
    expected_numbers, expected_scores = brute_force(vectors, every, every, 7)
    np.testing.assert_array_equal(numbers, expected_numbers)
    np.testing.assert_array_equal(scores, expected_scores)
    assert scores.dtype == np.float32


@settings(deadline=None, max_examples=examples_of(40))
@given(data=st.data(), kind=st.sampled_from(["random", "clusters", "grid"]), seed=st.integers(0, 1000))
def test_any_queries_in_any_corpus_get_what_a_loop_finds(data, kind, seed):
    vectors = made(60, 5, seed=seed, kind=kind)
    positions = st.lists(st.integers(0, 59), unique=True, max_size=60)
    queries, corpus = np.array(data.draw(positions), np.int64), np.array(data.draw(positions), np.int64)
    k = data.draw(st.integers(1, 70))
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        patch.setattr(join, "_PENDING", 200)
        patch.setattr(matmul, "_fastest_format", lambda *_: FORMATS[data.draw(st.sampled_from(["bf16", "f32"]))])
        every = KnnJoin(Vectors(vectors), queries, corpus)
        numbers, scores = found(every.nearest(k))
        some = queries[: len(queries) // 2]
        again, scores_again = found(every.nearest_to(some, k))
    expected_numbers, expected_scores = brute_force(vectors, queries, corpus, k)
    assert numbers.tolist() == expected_numbers.tolist()
    assert scores.tolist() == expected_scores.tolist()
    assert again.tolist() == expected_numbers[: len(some)].tolist()
    assert scores_again.tolist() == expected_scores[: len(some)].tolist()
    known, rows = every.rows_at(corpus)
    assert known[rows].tolist() == vectors[corpus].tolist()


@settings(deadline=None, max_examples=examples_of(60))
@given(
    seed=st.integers(0, 1000),
    kind=st.sampled_from(["random", "clusters", "grid"]),
    sizes=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    count=st.integers(2, 40),
    number_format=st.sampled_from(["bf16", "f32"]),
)
def test_of_each_group_the_nearest_counts_and_never_what_the_query_owns(seed, kind, sizes, count, number_format):
    random = np.random.default_rng(seed)
    vectors = made(60, 5, seed=seed, kind=kind)
    queries, corpus = random.permutation(60)[: sizes[0]], random.permutation(60)[: sizes[1]]
    owners = random.integers(0, 20, 60)
    _, group = np.unique(random.integers(0, count, 20)[owners[corpus]], return_inverse=True)
    chosen = Groups(group, owners[corpus], np.where(random.random(len(queries)) < 0.1, -1, owners[queries]))
    k = int(random.integers(1, max(2, chosen.count)))
    if k >= chosen.count:
        return
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch, sample=10)
        patch.setattr(join, "_PENDING", 300)
        patch.setattr(matmul, "_fastest_format", lambda *_: FORMATS[number_format])
        every = KnnJoin(Vectors(vectors), queries, corpus, groups=chosen)
        if not all(len(best_of_groups(vectors, queries[row], corpus, chosen, row)) >= k for row in range(len(queries))):
            return
        numbers, scores = found(every.nearest(k))
        again, _ = found(every.nearest_to(queries[::2], k))
    for row, position in enumerate(queries):
        best = best_of_groups(vectors, position, corpus, chosen, row)[:k]
        assert numbers[row].tolist() == [number for _, number in best]
        assert scores[row].tolist() == [-score for score, _ in best]
    assert again.tolist() == numbers[::2].tolist()


def best_of_groups(vectors, position, corpus, chosen, row):
    """Return (-score, number) of the nearest of each group, best first."""
    best = {}
    for number, score in enumerate(exact_cosine(vectors[corpus], vectors[position]).tolist()):
        if chosen.owner[number] != chosen.query_owner[row]:
            group = ("single", number) if chosen.query_owner[row] < 0 else chosen.group[number]
            best[group] = min(best.get(group, (2.0, 0)), (-score, number))
    return sorted(best.values())


def test_as_many_as_there_are_groups_are_refused():
    chosen = Groups(np.array([0, 1, 1]), np.array([0, 1, 2]), np.array([0, 1, 2]))
    three = np.arange(3)
    with pytest.raises(ValueError, match="k is 2, and there are 2 groups; ask for less"):
        list(KnnJoin(Vectors(made(3)), three, three, groups=chosen).nearest(2))


@pytest.mark.usefixtures("small_blocks", "number_format")
def test_few_at_a_time_and_compacted_candidates_change_nothing(monkeypatch):
    vectors = made(200, kind="clusters")
    every = np.arange(200)
    whole = found(KnnJoin(Vectors(vectors), every, every).nearest(5))
    compacted = []
    compact = candidates.Candidates.compact
    monkeypatch.setattr(candidates.Candidates, "compact", lambda self: (compacted.append(self.count), compact(self)))
    monkeypatch.setattr(join, "_PENDING", 300)
    some = found(KnnJoin(Vectors(vectors), every, every).nearest(5))
    assert sum(compacted) > 1000
    np.testing.assert_array_equal(whole[0], some[0])
    np.testing.assert_array_equal(whole[1], some[1])


@pytest.mark.usefixtures("small_blocks", "number_format")
def test_too_high_a_guess_is_noticed_and_mended(monkeypatch):
    vectors = made(150)
    every = np.arange(150)
    mended = []
    guess, mend = join.BlockedJoin._guess, join.BlockedJoin._certainly_nearest
    monkeypatch.setattr(join.BlockedJoin, "_guess", lambda self, rows: guess(self, rows) + np.float32(0.3))
    monkeypatch.setattr(
        join.BlockedJoin, "_certainly_nearest", lambda self, rows: (mended.extend(rows), mend(self, rows))[1]
    )
    numbers, scores = found(KnnJoin(Vectors(vectors), every, every).nearest(7))
    expected_numbers, expected_scores = brute_force(vectors, every, every, 7)
    np.testing.assert_array_equal(numbers, expected_numbers)
    np.testing.assert_array_equal(scores, expected_scores)
    assert len(mended) > 10


def test_a_guess_out_of_a_sample_is_seldom_too_high():
    vectors = made(3_000, 24, kind="clusters")
    every = np.arange(3_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(join, "_SAMPLE", 500)
        mended = []
        patch.setattr(join.BlockedJoin, "_certainly_nearest", lambda _, rows: (mended.extend(rows), (0, 0))[1])
        list(KnnJoin(Vectors(vectors), every, every).nearest(40))
    assert len(mended) <= 3


def test_equal_scores_come_by_the_order_of_those_that_answer():
    vectors = np.tile(normalize_or_raise(np.array([[1.0, 2.0, 3.0]])), (6, 1))
    corpus = np.array([4, 0, 5, 2])
    ((_, numbers, scores),) = KnnJoin(Vectors(vectors), np.array([1, 4]), corpus).nearest(3)
    assert numbers.tolist() == [[0, 1, 2], [0, 1, 2]]
    assert scores.tolist() == [[1.0] * 3] * 2


def test_the_corners_of_a_square_are_found_in_order_with_their_opposites_last():
    corners = normalize_or_raise(np.array([[1.0, 0], [0, 1.0], [-1.0, 0], [0, -1.0]]))
    every = np.arange(4)
    ((_, numbers, scores),) = KnnJoin(Vectors(corners), every, every).nearest(9)
    assert numbers.tolist() == [[0, 1, 3, 2], [1, 0, 2, 3], [2, 1, 3, 0], [3, 0, 2, 1]]
    assert scores.tolist() == [[1.0, 0.0, 0.0, -1.0]] * 4


def test_no_queries_or_no_corpus_gives_nothing():
    source = Vectors(made(3))
    none = np.empty(0, np.int64)
    assert found(KnnJoin(source, none, np.arange(3)).nearest(2))[0].shape == (0, 0)
    assert found(KnnJoin(source, np.arange(3), none).nearest(2))[0].shape == (3, 0)
    assert list(pairs_above(source, none, 0.5)) == []


def test_k_below_one_and_a_vector_that_is_no_unit_are_refused():
    vectors = made(3)
    with pytest.raises(ValueError, match="k is 0; ask for at least 1"):
        list(KnnJoin(Vectors(vectors), np.arange(3), np.arange(3)).nearest(0))
    vectors[1] *= 3
    with pytest.raises(ZeroVector, match="position 1 has the length 3"):
        KnnJoin(Vectors(vectors), np.arange(3), np.arange(3))


@settings(deadline=None, max_examples=examples_of(30))
@given(
    kind=st.sampled_from(["random", "clusters", "grid"]),
    seed=st.integers(0, 1000),
    threshold=st.floats(-1, 1),
    number_format=st.sampled_from(["bf16", "f32"]),
)
def test_pairs_above_a_threshold_are_all_of_them_and_no_other(kind, seed, threshold, number_format):
    vectors = made(60, 5, seed=seed, kind=kind)
    positions = np.random.default_rng(seed).permutation(60)[:50]
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        patch.setattr(matmul, "_fastest_format", lambda *_: FORMATS[number_format])
        parts = list(pairs_above(Vectors(vectors), positions, threshold))
    got = {
        (one, other): score
        for part in parts
        for one, other, score in zip(*(each.tolist() for each in part[1:]), strict=True)
    }
    assert parts[-1].done == 50
    chosen = vectors[positions]
    expected = {
        (one, other): score
        for one in range(50)
        for other, score in enumerate(exact_cosine(chosen, chosen[one]).tolist())
        if one < other and score >= threshold
    }
    assert got == expected


@settings(deadline=None, max_examples=examples_of(60))
@given(
    seed=st.integers(0, 10_000),
    dim=st.integers(1, 300),
    number_format=st.sampled_from(["bf16", "f32", "f16"]),
    scale=st.sampled_from([1.0, 40.0]),
)
def test_no_product_is_further_from_its_cosine_than_the_bound_says(seed, dim, number_format, scale):
    random = np.random.default_rng(seed)
    vectors = normalize_or_raise(random.standard_normal((24, dim)) ** 3 + scale * random.standard_normal(dim))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matmul, "_fastest_format", lambda *_: FORMATS[number_format])
        made_of = matmul.Matmul.of(vectors, device="cpu")
    approximate = (made_of.rows.vectors @ made_of.columns.vectors.T).double().numpy()
    exact = vectors.astype(np.float64) @ vectors.astype(np.float64).T
    for column in range(24):
        bound = made_of.error_bound(slice(None))
        assert (exact[:, column] >= bound.lower(approximate[:, column])).all()
        assert (approximate[:, column] >= bound.lower(exact[:, column])).all()


def test_what_is_reached_is_reached_by_k_columns_and_by_few_more():
    vectors = made(400, 32)
    chosen = np.arange(0, 400, 2)
    found_low = matmul.Matmul.of(vectors).kth_best(slice(10, 20), chosen, 5)
    scores = vectors[10:20] @ vectors[chosen].T
    counts = (scores >= found_low[:, None] - 0.01).sum(axis=1)
    assert (counts >= 5).all()
    assert (counts <= 12).all()


def test_one_vector_of_numbers_below_the_least_threshold_is_no_hit():
    vectors = normalize_or_raise(np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.001]]))
    for number_format in (matmul.BFLOAT16, matmul.FLOAT32):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(matmul, "_fastest_format", lambda *_, number_format=number_format: number_format)
            made_of = matmul.Matmul.of(vectors, device="cpu")
        hits = made_of.hits(slice(0, 1), slice(0, 3), np.array([0.5], np.float32))
        assert (hits.rows.tolist(), hits.columns.tolist(), hits.values.tolist()) == ([0], [0], [1.0])
        hits = made_of.hits(slice(0, 1), slice(0, 3), np.array([-0.5], np.float32))
        assert {0, 1} <= set(hits.columns.tolist())


def test_the_threads_of_torch_are_as_many_afterwards_as_before():
    before = torch.get_num_threads()
    vectors = made(30)
    list(KnnJoin(Vectors(vectors), np.arange(30), np.arange(30)).nearest(2))
    assert torch.get_num_threads() == before
    assert torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction


class Sparse(dict):
    """Stands for an array of which only a few places are looked at."""

    def __getitem__(self, places):
        return np.array([dict.__getitem__(self, place) for place in places.tolist()])


def test_candidates_with_numbers_beyond_24_bits_are_told_apart():
    numbers = np.array([(1 << 24) + 3, 5, (1 << 25) + 1, 3])
    order = candidates.CorpusOrder(numbers, Sparse(zip(numbers.tolist(), range(4), strict=True)), None)
    scores = np.array([0.5, 0.75, 0.5, 0.25], np.float32)
    chosen = candidates.Candidates(
        3,
        lambda _, column: scores[column],
        order=order,
        bound=matmul.ErrorBound(np.zeros(2), 0.0),
        low=np.full(2, -2, np.float32),
    )
    rows, columns = np.repeat([0, 1], 4), np.tile(np.arange(4), 2)
    chosen.add(candidates.approximate_keys(rows, columns, scores[columns]))
    chosen.compact()
    found, found_scores, _ = chosen.nearest()
    assert found.tolist() == [[5, (1 << 24) + 3, (1 << 25) + 1]] * 2
    assert found_scores.tolist() == [[0.75, 0.5, 0.5]] * 2


@given(
    st.lists(
        st.tuples(
            st.integers(0, keys.MOST_QUERIES - 1),
            st.integers(-(1 << 24), 1 << 24),
            st.integers(0, keys.MOST_CANDIDATES - 1),
        )
    )
)
def test_keys_sort_by_query_then_by_falling_score_then_by_number(drawn):
    queries, steps, numbers = (np.array([each[part] for each in drawn], np.int64) for part in range(3))
    packed = keys.pack(queries, (steps / 2**24).astype(np.float32), numbers)
    found = [each.tolist() for each in keys.unpack(np.sort(packed))]
    assert list(zip(*found, strict=True)) == sorted(
        ((query, step / 2**24, number) for query, step, number in drawn), key=lambda each: (each[0], -each[1], each[2])
    )


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([-1.0, 0.25, 1.0]), st.sampled_from([0, 7, 1 << 25]))))
def test_the_best_key_of_each_query_and_number_is_kept(drawn):
    best = {}
    for query, score, number in drawn:
        best[query, number] = max(score, best.get((query, number), -2))
    queries, scores, numbers = (np.array([each[part] for each in drawn]) for part in range(3))
    kept = keys.best_of_each(keys.pack(queries, scores.astype(np.float32), numbers))
    found = [each.tolist() for each in keys.unpack(kept)]
    assert list(zip(*found, strict=True)) == [(query, best[query, number], number) for query, number in sorted(best)]


def test_more_vectors_than_can_be_numbered_are_one_sentence(monkeypatch):
    monkeypatch.setattr(keys, "MOST_CANDIDATES", 20)
    source = Vectors(made(21))
    with pytest.raises(TooManyVectors, match="21 images are more than the 20 that one run can compare; split"):
        KnnJoin(source, np.arange(3), np.arange(21))
    assert len(found(KnnJoin(source, np.arange(21), np.arange(20)).nearest(2))[0]) == 21


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40))), st.sampled_from([8, 64]))
def test_pairs_are_grouped_whether_or_not_they_fit_into_a_key(pairs, bits):
    queries, corpus = (np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1))
    chosen = Groups(np.arange(41) // 5, np.arange(41), np.array([0, -1, 2, 3, -1, 5]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(groups, "_KEY_BITS", bits)
        order, begins = chosen.grouped(queries, corpus)
    whose = [(query, 100 + vector if query in (1, 4) else vector // 5) for query, vector in pairs]
    expected = sorted(range(len(pairs)), key=lambda place: whose[place])
    assert order.tolist() == expected
    assert begins.tolist() == [not n or whose[place] != whose[expected[n - 1]] for n, place in enumerate(expected)]
