"""The functions in C give what an obvious computation gives, and NumPy stands in for them."""

from __future__ import annotations

import math
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_recs import _native
from vision_recs.batch.neighbors.diversity import diversify
from vision_recs.errors import StoreDamaged
from vision_recs.indexes.rescoring import cosines_of
from vision_recs.knn_join.blocks import exact_scores
from vision_recs.store import Store
from vision_recs.vectors import exact_cosine, normalize_rows

EVERY_HALF = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
DIMS = st.integers(1, 70)
SEEDS = st.integers(0, 1 << 32)


@pytest.fixture
def native():
    if _native.kernels is None:
        assert "CI" not in os.environ, "where changes are tested, the functions in C have to be there"
        pytest.skip("no compiler was there when visrec was installed")
    return _native.kernels


@pytest.fixture(params=["C", "NumPy"])
def implementation(request, monkeypatch):
    monkeypatch.setattr(_native, "kernels", request.getfixturevalue("native") if request.param == "C" else None)


def halves(count, dim, seed):
    random = np.random.default_rng(seed)
    spread = 10.0 ** random.integers(-8, 4, (count, 1))  # many subnormal numbers
    return (spread * random.standard_normal((count, dim))).astype(np.float16)


def obvious_unit(row):
    numbers = [float(number) for number in row]
    length = math.sqrt(math.fsum(number * number for number in numbers))
    return np.array([number / length for number in numbers]) if 0 < length < math.inf else np.zeros(len(row))


@pytest.mark.usefixtures("implementation")
def test_every_float16_number_is_read_as_it_is():
    with np.errstate(invalid="ignore", over="ignore"):
        scaled, alive = normalize_rows(np.stack([EVERY_HALF, np.ones_like(EVERY_HALF)], axis=1))
        wide = EVERY_HALF.astype(np.float64)
        expected = wide * (1 / np.sqrt(wide * wide + 1))
    finite = np.isfinite(EVERY_HALF)
    assert alive.tolist() == finite.tolist()
    assert scaled[finite, 0].tolist() == expected[finite].astype(np.float32).tolist()
    assert not scaled[~finite].any()


@pytest.mark.usefixtures("implementation")
def test_vectors_are_scaled_to_length_1():
    @given(DIMS, SEEDS)
    def check(dim, seed):
        given_rows = halves(9, dim, seed)
        given_rows[3] = 0
        scaled, alive = normalize_rows(given_rows)
        assert alive.tolist() == [bool(row.any()) for row in given_rows]
        expected = np.array([obvious_unit(row) for row in given_rows])
        np.testing.assert_allclose(scaled, expected, rtol=1.2e-7, atol=1e-45)

    check()


@pytest.mark.usefixtures("implementation")
def test_a_cosine_is_the_sum_of_the_products_to_the_step():
    @given(DIMS, SEEDS)
    def check(dim, seed):
        vectors, queries = (normalize_rows(halves(6, dim, seed + more))[0] for more in (0, 1))
        vectors, queries = vectors.reshape(2, 3, dim), queries[:2]
        scores = exact_cosine(vectors, queries[:, None, :])
        for number, query in enumerate(queries):
            for row, score in zip(vectors[number], scores[number], strict=True):
                exact = math.fsum(float(one) * float(other) for one, other in zip(row, query, strict=True))
                assert abs(min(1.0, max(-1.0, exact)) - score) <= 2.0**-25 * 1.001
                assert score == exact_cosine(row[None], query)[0] == exact_cosine(query[None], row)[0]

    check()


@pytest.mark.usefixtures("implementation")
def test_pairs_of_vectors_have_the_scores_of_one_vector_with_one():
    @settings(deadline=None)
    @given(DIMS, SEEDS, st.integers(0, 200))
    def check(dim, seed, count):
        some, others = normalize_rows(halves(5, dim, seed))[0], normalize_rows(halves(9, dim, seed + 1))[0]
        random = np.random.default_rng(seed)
        row, column = random.integers(0, 5, count), random.integers(0, 9, count)
        found = exact_scores(some, row, others, column)
        expected = [exact_cosine(others[[one]], some[other])[0] for one, other in zip(column, row, strict=True)]
        assert found.tolist() == expected

    check()


@pytest.mark.usefixtures("implementation")
def test_of_each_pool_the_best_of_those_that_are_left_is_chosen():
    @settings(deadline=None)
    @given(DIMS, SEEDS, st.lists(st.integers(0, 12), max_size=9), st.integers(1, 14), st.sampled_from([0.1, 0.5, 0.9]))
    def check(dim, seed, counts, k, diversity):
        random = np.random.default_rng(seed)
        vectors = normalize_rows(random.standard_normal((30, dim)))[0]
        starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        rows = random.integers(0, 30, starts[-1])
        scores = random.uniform(-1, 1, len(rows)).astype(np.float32)
        found = diversify(vectors, rows, scores, starts, k, diversity).tolist()
        for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
            chosen, found = found[: min(k, stop - start)], found[min(k, stop - start) :]
            own, left = (1 - diversity) * scores.astype(float), set(range(start, stop))
            assert left.issuperset(chosen)
            for step, choice in enumerate(chosen):
                near = (vectors[rows].astype(float) @ vectors[rows[chosen[:step]]].T).max(axis=1) if step else 0.0
                values = own - diversity * near
                assert values[choice] >= max(values[other] for other in left) - 1e-6
                left.remove(choice)
        assert not found

    check()


def test_the_first_of_equal_candidates_is_chosen_first(implementation):  # noqa: ARG001 - with and without C
    vectors, scores = np.eye(3, 20, dtype=np.float32), np.full(9, 0.5, np.float32)
    found = diversify(vectors, np.arange(9) % 3, scores, np.array([0, 9]), 9, 0.5)
    assert found.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.usefixtures("implementation")
def test_the_vectors_of_a_store_come_in_the_order_of_their_positions(indexed_samples):
    store = Store.open(indexed_samples[0])
    every = store.positions()
    kept = {}
    for shard in store.manifest.shards:
        rows = np.load(store.layout.shard(shard.name) / "vectors.npy")
        kept |= {shard.first_position + number: obvious_unit(row) for number, row in enumerate(rows)}
    positions = np.random.default_rng(0).permutation(np.tile(every, 3))
    together = store.vectors(positions)
    np.testing.assert_allclose(together, [kept[position] for position in positions.tolist()], rtol=1e-6, atol=1e-9)
    for position, vector in zip(positions[:20].tolist(), together[:20], strict=True):
        assert store.vectors(np.array([position]))[0].tolist() == vector.tolist()
    for nowhere in (-1, int(every.max()) + 1, 1 << 60):
        with pytest.raises(StoreDamaged, match="is in no shard"):
            store.vectors(np.array([every[0], nowhere]))
    store.close()  # vectors that are read afterwards are mapped again
    assert store.vectors(positions).tolist() == together.tolist()
    store.close()


@pytest.mark.usefixtures("native")
def test_vectors_are_compared_where_they_are_as_if_they_had_been_read(indexed_samples):
    with Store.open(indexed_samples[0]) as store:
        every = store.positions()
        queries = store.vectors(every[:3])  # which opens their shards
        store.vectors(every)
        random = np.random.default_rng(0)
        positions = random.choice(every, (3, 50))
        positions[:, ::7] = -1
        scores = store.cosines(positions, queries)
        for query, own, found in zip(queries, positions, scores, strict=True):
            assert found[own >= 0].tolist() == exact_cosine(store.vectors(own[own >= 0]), query).tolist()
            assert found[own < 0].tolist() == [-2.0] * int((own < 0).sum())
        assert store.cosines(positions[:, :0], queries).shape == (3, 0)
        nowhere = np.array([[every[0], every.max() + 1]])
        assert store.cosines(nowhere, queries[:1]) is None
        with pytest.raises(StoreDamaged, match="is in no shard"):
            cosines_of(store, queries[:1], nowhere)
        store.close()  # vectors that are not open are read, which opens them
        assert store.cosines(positions, queries) is None
        assert cosines_of(store, queries, positions).tolist() == scores.tolist()
        assert store.cosines(positions[:1], queries[:1]).tolist() == scores[:1].tolist()


def test_a_vector_without_a_direction_is_not_compared(native):
    half, scores = np.zeros((3, 4), np.float16), np.zeros(3, np.float32)
    half[0] = 1
    shard = np.array([0]), np.array([3]), np.array([half.__array_interface__["data"][0]])
    assert native.cosines_at(np.array([0, 0, 1]), *shard, np.ones((1, 4), np.float32) / 2, scores, 4) == 2
    assert scores[:2].tolist() == [1.0, 1.0]


def test_arrays_that_do_not_fit_together_are_refused(native):
    half, unit, alive = np.zeros((3, 4), np.float16), np.zeros((3, 4), np.float32), np.zeros(3, bool)
    where = np.zeros(2, np.int64)
    positions = np.zeros(3, np.int64)
    for arguments in (
        (half[:2], unit, alive, 4),
        (half, unit[:2], alive, 4),
        (half, unit, alive, 5),
        (half, unit, alive, 0),
        (half[:, ::2], unit, alive, 4),
    ):
        with pytest.raises(ValueError, match=r"fit together|no numbers|contiguous"):
            native.scale_half(*arguments)
    for arguments in (
        (positions[:2], where, where, where, unit, alive, 4),
        (positions, where, where[:1], where, unit, alive, 4),
        (positions, where, where, where[:1], unit, alive, 4),
        (positions, where, where, where, unit[:2], alive, 4),
    ):
        with pytest.raises(ValueError, match="fit together"):
            native.gather_half(*arguments)
    assert native.gather_half(positions, where, where, where, unit, alive, 4) == 0  # the first of them is in no shard
    scores = np.zeros(3, np.float32)
    for arguments in (
        (positions[:2], where, where, where, unit, scores, 4),
        (positions, where, where[:1], where, unit, scores, 4),
        (positions, where, where, where[:1], unit, scores, 4),
        (positions, where, where, where, unit[:2], scores, 4),
        (positions, where, where, where, unit[:0], scores, 4),
    ):
        with pytest.raises(ValueError, match="fit together"):
            native.cosines_at(*arguments)
    for arguments in ((unit, unit[:2], np.zeros(3, np.float32), 4), (unit, unit, np.zeros(2, np.float32), 4)):
        with pytest.raises(ValueError, match="fit together"):
            native.cosines(*arguments)
    for some, others, rows, columns in (
        (unit, unit[:2], positions, positions + 2),
        (unit[:2], unit, positions + 2, positions),
        (unit, unit, positions - 1, positions),
        (unit, unit, positions, positions + (1 << 62)),
        (unit, unit, positions[:2], positions),
        (unit, unit, positions, positions[:2]),
        (unit[:0], unit, positions, positions),
    ):
        with pytest.raises(ValueError, match="fit together"):
            native.cosines_of_pairs(some, others, rows, columns, scores, 4)
    with pytest.raises(TypeError, match="4 arguments"):
        native.cosines(unit, unit)
    unit.flags.writeable = False
    with pytest.raises((ValueError, BufferError), match=r"read-only|not writable"):
        native.scale_half(half, unit, alive, 4)


def test_pools_that_do_not_fit_to_their_vectors_are_refused(native):
    vectors, rows, scores = np.ones((2, 4), np.float32), np.array([0, 1, 1]), np.ones(3, np.float32)
    starts, chosen = np.array([0, 1, 3]), np.full(3, -1)
    native.diversify(vectors, rows, scores, starts, chosen, 2, 0.3, 4)
    assert chosen.tolist() == [0, 1, 2]
    for arguments in (
        (vectors[:1], rows, scores, starts, chosen, 2, 0.3, 4),
        (vectors, rows - 1, scores, starts, chosen, 2, 0.3, 4),
        (vectors, rows[:2], scores, starts, chosen, 2, 0.3, 4),
        (vectors, rows, scores[:2], starts, chosen, 2, 0.3, 4),
        (vectors, rows, scores, starts[:2], chosen, 2, 0.3, 4),
        (vectors, rows, scores, starts[1:], chosen, 2, 0.3, 4),
        (vectors, rows, scores, starts[:0], chosen, 2, 0.3, 4),
        (vectors, rows, scores, np.array([0, 4, 3]), chosen, 2, 0.3, 4),
        (vectors, rows, scores, np.array([0, -1, 3]), chosen, 2, 0.3, 4),
        (vectors, rows, scores, starts, chosen, 1, 0.3, 4),
        (vectors, rows, scores, starts, chosen[:2], 2, 0.3, 4),
        (vectors, rows, scores, starts, chosen, -2, 0.3, 4),
        (vectors, rows, scores, starts, chosen, 2, 0.3, 8),
    ):
        with pytest.raises(ValueError, match="fit together"):
            native.diversify(*arguments)
    with pytest.raises(TypeError):
        native.diversify(vectors, rows, scores, starts, chosen, 2, "0.3", 4)


def test_a_model_that_does_not_fit_to_a_pool_is_refused(native):
    pool = {
        "numbers": np.ones(5),
        "standards": np.ones((3, 5)),
        "items": np.ones(4),
        "pairs": np.zeros(3, np.int64),
        "of_pairs": np.ones(3),
        "rows": np.ones((3, 2)),
        "scores": np.ones(2),
        "codes": np.array([1, -2]),
        "moved": np.ones(2),
        "equal": 1,
        "first": 0,
        "most": 1.0,
    }
    native.move_pool(*pool.values())
    arrays = [name for name, value in pool.items() if isinstance(value, np.ndarray)]
    wrong = [{name: np.resize(pool[name], size).copy()} for name in arrays for size in (0, 1, 4, 7)]
    wrong += [{"codes": np.array([0, code])} for code in (-3, 2, 1 << 62, -(1 << 62))]
    wrong += [{"equal": number} for number in (-1, 0, 2, 3, 5, 1 << 60)] + [{"first": 1 << 62}, {"first": -(1 << 63)}]
    refused = 0
    for each in wrong:
        try:
            native.move_pool(*(pool | each).values())
        except ValueError:
            refused += 1
    assert refused == len(wrong) - 2  # two sizes are those that they are
    with pytest.raises(OverflowError):
        native.move_pool(*(pool | {"first": 1 << 64}).values())
    with pytest.raises(TypeError, match="12 arguments"):
        native.move_pool(pool["numbers"])
