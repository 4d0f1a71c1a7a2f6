"""The walk over a graph in C finds what an obvious walk finds, and what FAISS finds in the same graph; and so does the
search in C, which also compares what was found."""

from __future__ import annotations

import os
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from property_examples import examples_of

from vision_recs import _native
from vision_recs._native import Visits
from vision_recs.indexes._faiss import faiss
from vision_recs.indexes.base import Scored, top_k_with_ties
from vision_recs.vectors import exact_cosine, normalize_rows

SIZE, LOWEST, HIGHER = 7, 6, 3  # numbers in a code, and links of a vector on the lowest level and on each other one


def as_they_are(size):
    """Return the rotation that changes nothing: queries of these tests are whole numbers."""
    return np.eye(size, dtype=np.float32), np.zeros(size, np.float32)


@pytest.fixture(scope="module")
def walk():
    if _native.kernels is None:
        assert "CI" not in os.environ, "where changes are tested, the functions in C have to be there"
        pytest.skip("no compiler was there when visrec was installed")
    kernels = _native.kernels

    def walked(graph, queries, count, effort, marks=None):
        graph, rotation = graph[:5], graph[5:] or as_they_are(SIZE)
        distances = np.full((len(queries), count), 7, np.float32)
        ordinals = np.full((len(queries), count), 7, np.int64)
        bits = b"" if marks is None else np.packbits(marks, bitorder="little")
        held = kernels.hold_graph(*graph, np.arange(len(graph[2]) - 1), *rotation)
        kernels.walk_graph(held, queries.astype(np.float32), bits, distances, ordinals, count, effort)
        return ordinals.tolist(), distances.tolist()

    return walked


def random_graph(random, count):
    """Return a graph whose vectors are linked at random: many of them cannot be reached, and some links are missing."""
    levels = random.integers(1, 4, count)
    offsets = np.concatenate([[0], np.cumsum(LOWEST + HIGHER * (levels - 1))])
    links = random.integers(0, count, int(offsets[-1]) + 3 * HIGHER)  # whatever level a walk takes a vector for
    links[random.random(len(links)) < 0.2] = -1
    firsts = np.array([0, LOWEST, LOWEST + HIGHER, LOWEST + 2 * HIGHER])
    entry = np.array([random.integers(0, count), 2])
    codes = random.integers(100, 156, count * SIZE)  # few values: many distances are equal
    types = (np.uint8, np.int32, np.int64, np.int32, np.int64)
    return [each.astype(dtype) for each, dtype in zip((codes, links, offsets, firsts, entry), types, strict=True)]


def obvious_walk(graph, query, count, effort, marks):
    codes, links, offsets, firsts, (nearest, top) = graph
    distances = ((codes.reshape(-1, SIZE).astype(int) - 128 - query) ** 2).sum(axis=1).tolist()

    def distance(vector):
        return distances[vector]

    def neighbors(vector, level):
        found = links[offsets[vector] + firsts[level] : offsets[vector] + firsts[level + 1]].tolist()
        return found[: found.index(-1)] if -1 in found else found

    for level in range(top, 0, -1):
        while True:
            best = min([nearest, *neighbors(nearest, level)], key=distance)  # the first of equal ones
            if distance(best) == distance(nearest):
                break
            nearest = best
    met, visited = [int(nearest)], set()
    while True:
        front = sorted(met, key=lambda vector: (distance(vector), vector))[:effort]
        following = next((vector for vector in front if vector not in visited), None)
        if following is None:
            break
        visited.add(following)
        met += [vector for vector in dict.fromkeys(neighbors(following, 0)) if vector not in met]
    found = sorted((vector for vector in met if marks[vector]), key=lambda vector: (distance(vector), vector))[:count]
    missing = count - len(found)
    return found + [-1] * missing, [float(distance(vector)) for vector in found] + [np.inf] * missing


def test_it_finds_what_an_obvious_walk_finds(walk):
    @settings(deadline=None, max_examples=examples_of(100))
    @given(st.integers(1, 60), st.integers(1, 12), st.integers(1, 30), st.booleans(), st.integers(0, 1 << 32))
    def check(vectors, count, effort, has_marks, seed):
        random = np.random.default_rng(seed)
        graph = random_graph(random, vectors)
        queries = random.integers(-28, 28, (3, SIZE))
        marks = random.random(vectors) < (0.4 if has_marks else 2)
        expected = [obvious_walk(graph, query, count, effort, marks) for query in queries]
        found = walk(graph, queries, count, effort, marks if has_marks else None)
        assert found == tuple(map(list, zip(*expected, strict=True)))

    check()


@pytest.mark.parametrize("has_marks", [False, True])
@pytest.mark.parametrize(("count", "effort"), [(20, 256), (700, 300), (400, 900)])
def test_far_away_it_finds_what_an_obvious_walk_finds(walk, count, effort, has_marks):
    random = np.random.default_rng(effort)
    graph = random_graph(random, 800)
    queries = random.integers(-28, 28, (2, SIZE))
    marks = random.random(800) < (0.4 if has_marks else 2)
    expected = [obvious_walk(graph, query, count, effort, marks) for query in queries]
    found = walk(graph, queries, count, effort, marks if has_marks else None)
    assert found == tuple(map(list, zip(*expected, strict=True)))


def test_a_scan_finds_the_nearest_of_all_that_are_marked(walk):
    @settings(deadline=None, max_examples=examples_of(100))
    @given(st.integers(1, 600), st.integers(1, 12), st.integers(1, 70), st.booleans(), st.integers(0, 1 << 32))
    def check(vectors, count, size, has_marks, seed):
        random = np.random.default_rng(seed)
        codes = random.integers(0, 256, (vectors, size)).astype(np.uint8)
        queries = random.integers(-127, 128, (3, size))
        marks = random.random(vectors) < (0.4 if has_marks else 2)
        distances = ((codes - 128.0 - queries[:, None]) ** 2).sum(axis=2)
        distances[:, ~marks] = np.inf
        order = np.argsort(distances, axis=1, kind="stable")[:, :count]
        nearest = np.take_along_axis(distances, order, axis=1)
        order[nearest == np.inf] = -1
        missing = (0, 0), (0, count - order.shape[1])
        expected = np.pad(order, missing, constant_values=-1), np.pad(nearest, missing, constant_values=np.inf)
        without_links = codes.ravel(), np.empty(0, np.int32), np.zeros(vectors + 1, np.int64), np.zeros(2, np.int32)
        graph = [*without_links, np.zeros(2, np.int64), *as_they_are(size)]
        found = walk(graph, queries, count, 0, marks if has_marks else None)
        assert found == tuple(each.tolist() for each in expected)
        held = _native.kernels.hold_graph(*graph[:5], np.arange(vectors), *graph[5:])
        marked = _native.kernels.hold_codes(held, codes[marks], np.flatnonzero(marks))
        del held  # what is held of some vectors has what it needs
        others = np.empty((3, count), np.int64), np.empty((3, count), np.float32)
        _native.kernels.walk_graph(marked, queries.astype(np.float32), b"", *others[::-1], count, 0)
        assert tuple(each.tolist() for each in others) == found

    check()


@pytest.mark.parametrize("effort", [3, 40, 2_000])
def test_it_finds_what_faiss_finds(walk, effort):
    random = np.random.default_rng(3)
    vectors = np.rint(random.standard_normal((2_000, 48)) * 30).clip(-127, 127).astype(np.float32)
    index = faiss.index_factory(48, "HNSW16,SQ8_direct_signed", faiss.METRIC_L2)
    index.add(vectors)
    codes = faiss.rev_swig_ptr(faiss.downcast_index(index.storage).codes.data(), 48 * 2_000)
    links = faiss.rev_swig_ptr(index.hnsw.neighbors.data(), index.hnsw.neighbors.size())
    offsets = faiss.vector_to_array(index.hnsw.offsets).astype(np.int64)
    firsts = faiss.vector_to_array(index.hnsw.cum_nneighbor_per_level)
    graph = [codes, links, offsets, firsts, np.array([index.hnsw.entry_point, index.hnsw.max_level])]
    queries = np.rint(random.standard_normal((20, 48)) * 30).clip(-127, 127).astype(np.float32)
    distances, _ = index.search(queries, 10, params=faiss.SearchParametersHNSW(efSearch=effort))
    found = walk([*graph, *as_they_are(48)], queries, 10, effort)
    # where several are equally far, each of the two may go on from another one
    is_same = [own == other for own, other in zip(found[1], distances.tolist(), strict=True)]
    assert sum(is_same) >= 18
    if effort == 2_000:
        assert found[1] == np.sort(((queries[:, None] - vectors) ** 2).sum(axis=2), axis=1)[:, :10].tolist()


def test_links_that_lead_out_of_the_graph_are_not_followed(walk):
    random = np.random.default_rng(0)
    codes, links, offsets, firsts, entry = random_graph(random, 30)
    links[::3] = 30
    links[1::7] = 1 << 30
    offsets[5], offsets[6], offsets[7] = -40, 1 << 60, len(links) - 1
    found, _ = walk((codes, links, offsets, firsts, entry), np.zeros((1, SIZE)), 30, 30)
    assert set(found[0]) <= set(range(-1, 30))


@pytest.mark.parametrize("offset", [-3, -LOWEST, 19, 1 << 60, (1 << 63) - 3, (1 << 63) - 1, -(1 << 63)])
def test_links_beside_those_of_the_graph_are_not_read(walk, offset):
    memory = np.ones(40, np.int32)  # on both sides are links to the other vector
    links = memory[10:30]
    links[:] = -1
    codes, firsts = np.zeros(2 * SIZE, np.uint8), np.array([0, LOWEST], np.int32)
    offsets = np.array([offset, 0, 0])
    found, _ = walk((codes, links, offsets, firsts, np.array([0, 0])), np.zeros((1, SIZE)), 2, 2)
    assert found == [[0, -1]]


def test_a_walk_takes_no_more_memory_than_the_graph_has_vectors(walk):
    graph = random_graph(np.random.default_rng(0), 30)
    queries = np.zeros((2, SIZE))
    assert walk(graph, queries, 3, (1 << 61) - 1) == walk(graph, queries, 3, 30)  # eight times as many bytes are none


def test_arrays_that_do_not_fit_together_are_refused(walk):
    graph = random_graph(np.random.default_rng(0), 30)
    query = np.zeros((1, SIZE))
    for number, wrong in (
        (0, graph[0][1:]),
        (2, graph[2][1:]),
        (3, graph[3][:2]),  # the entry is on a higher level
        (3, graph[3][:0]),
        (3, graph[3] - np.int32(1)),
        (3, graph[3][[0, 2, 1, 3]]),
        (4, graph[4][:1]),
        (4, np.array([30, 2])),
        (4, np.array([-1, 2])),
        (4, np.array([0, 3])),
    ):
        altered = [wrong if part == number else each for part, each in enumerate(graph)]
        with pytest.raises(ValueError, match="fit together"):
            walk(altered, query, 3, 3)
    with pytest.raises(ValueError, match="fit together"):
        walk(graph, query, 3, 3, np.ones(20, bool))
    for count, effort in ((0, 3), (3, -1)):
        with pytest.raises(ValueError, match="fit together"):
            walk(graph, query, count, effort)
    with pytest.raises(TypeError, match="7 arguments"):
        _native.kernels.walk_graph(query, 3)


@pytest.mark.parametrize(("most", "is_taken"), [(0, True), (1, False)])
def test_a_vector_has_as_many_links_and_numbers_as_are_said_to_be_taken(walk, most, is_taken):
    links, size = _native.MOST_LINKS + most, _native.MOST_NUMBERS + most
    offsets, entry, farthest = np.zeros(3, np.int64), np.array([0, 0]), 254**2
    many = np.zeros(2 * SIZE, np.uint8), np.ones(links, np.int32), offsets, np.array([0, links], np.int32), entry
    wide = np.full(2 * size, 255, np.uint8), np.ones(6, np.int32), offsets, np.array([0, 6], np.int32), entry
    for graph, numbers in ((many, SIZE), (wide, size)):
        rotation = np.ones((numbers, 1), np.float32), np.zeros(numbers, np.float32)
        query = np.full((1, 1), -127)
        if is_taken:
            distance = float(np.float32(farthest * size)) if graph is wide else float(SIZE)
            assert walk((*graph, *rotation), query, 2, 2) == ([[0, 1]], [[distance] * 2])
        else:
            with pytest.raises(ValueError, match="fit together"):
                walk((*graph, *rotation), query, 2, 2)


def test_an_empty_graph_has_nothing(walk):
    empty = [np.empty(0, np.uint8), np.empty(0, np.int32), np.zeros(1, np.int64), np.array([0, 6], np.int32)]
    assert walk([*empty, np.array([-1, -1])], np.zeros((2, SIZE)), 2, 2) == ([[-1, -1]] * 2, [[np.inf, np.inf]] * 2)


def test_queries_are_rotated_rounded_and_kept_within_a_byte(walk):
    @settings(deadline=None, max_examples=examples_of(100))
    @given(st.integers(1, 70), st.integers(1, 200), st.floats(0.01, 3), st.integers(0, 1 << 32))
    def check(dim, size, length, seed):
        random = np.random.default_rng(seed)
        matrix = (random.standard_normal((size, dim)) * 100 / np.sqrt(dim)).astype(np.float32)
        query = normalize_rows(random.standard_normal((1, dim)))[0] * np.float32(length)
        expected = random.integers(-150, 150, size)
        shift = expected + random.uniform(-0.4, 0.4, size) - matrix.astype(np.float64) @ query[0]
        codes = random.integers(0, 256, size).astype(np.uint8)
        alone = codes, np.full(6, -1, np.int32), np.array([0, 6]), np.array([0, 6], np.int32), np.array([0, 0])
        found = walk((*alone, matrix, shift.astype(np.float32)), query, 1, 1)
        assert found == ([[0]], [[float(((codes - 128.0 - expected.clip(-127, 127)) ** 2).sum())]])

    check()


def held_graph(random, vectors, dim, positions=None):
    """Return a graph over vectors of *dim* numbers, and these: float16 in two shards, by default in any order."""
    half = random.standard_normal((vectors, dim)).astype(np.float16)
    half[vectors // 2] = half[0]  # two scores are equal
    positions = random.permutation(vectors) if positions is None else positions
    rotation = (
        random.standard_normal((SIZE, dim)).astype(np.float32) * 9,
        random.standard_normal(SIZE).astype(np.float32),
    )
    graph = _native.kernels.hold_graph(*random_graph(random, vectors), positions, *rotation)
    middle = vectors // 3
    addresses = half.__array_interface__["data"][0] + 2 * dim * np.array([0, middle])
    return graph, half, (np.array([0, middle]), np.array([middle, vectors]), addresses)


@pytest.mark.usefixtures("walk")
def test_a_search_compares_what_a_walk_finds():
    @settings(deadline=None, max_examples=examples_of(100))
    @given(
        *(st.integers(3, 60), st.integers(1, 20), st.integers(1, 12)),
        *(st.sampled_from([0, 9]), st.booleans(), st.integers(0, 1 << 32)),
    )
    def check(vectors, count, k, effort, has_marks, seed):  # noqa: PLR0913, PLR0917 - all of them are drawn
        random = np.random.default_rng(seed)
        dim, queries = int(random.integers(1, 70)), int(random.integers(1, 20))
        graph, half, shards = held_graph(random, vectors, dim)
        given_queries = normalize_rows(random.standard_normal((queries, dim)))[0]
        marks = np.packbits(random.random(vectors) < 0.5) if has_marks else b""
        walked, distances = np.empty((queries, count), np.int64), np.empty((queries, count), np.float32)
        _native.kernels.walk_graph(graph, given_queries, marks, distances, walked, count, effort)
        positions, scores = np.empty_like(walked), np.empty_like(distances)
        sizes = np.empty((queries, 2), np.int64)
        assert _native.kernels.search_graph(graph, given_queries, marks, *shards, positions, scores, sizes, k, effort)
        units = normalize_rows(half)[0]
        for number, (size, depth) in enumerate(sizes.tolist()):
            own = walked[number][walked[number] >= 0]
            expected = top_k_with_ties(Scored(own, exact_cosine(units[own], given_queries[number])), k)
            order = np.argsort(-expected.scores, kind="stable")
            assert positions[number, :size].tolist() == expected.positions[order].tolist()
            assert scores[number, :size].tolist() == expected.scores[order].tolist()
            are_best = np.isin(own, expected.positions) | bool(effort)
            assert depth == np.flatnonzero(are_best).max(initial=-1) + 1

    check()


@pytest.mark.usefixtures("walk")
def test_under_a_filter_a_walk_goes_as_far_as_one_that_knew_what_is_marked_around_the_query():
    seen = set()

    @settings(deadline=None, max_examples=examples_of(150))
    @given(
        *(st.integers(3, 900), st.integers(1, 30), st.integers(1, 9), st.integers(1, 30)),
        *(st.sampled_from([3.5, 20.0, 290.0, 1e300]), st.sampled_from([4, 700])),
        *(st.floats(0.05, 0.95), st.integers(0, 1 << 32)),
    )
    def check(vectors, count, first, around, needed, most, share, seed):  # noqa: PLR0913, PLR0917 - all of them are drawn
        random = np.random.default_rng(seed)
        graph, _half, shards = held_graph(random, vectors, 8, np.arange(vectors))
        queries = normalize_rows(random.standard_normal((2, 8)))[0]
        marks = random.random(vectors) < share
        near, distances = np.empty((2, around), np.int64), np.empty((2, around), np.float32)
        _native.kernels.walk_graph(graph, queries, b"", distances, near, around, first)

        def searched(some, effort):
            positions, scores = np.empty((len(some), count), np.int64), np.empty((len(some), count), np.float32)
            bits, sizes = np.packbits(marks, bitorder="little"), np.empty((len(some), 2), np.int64)
            is_done = _native.kernels.search_graph(graph, some, bits, *shards, positions, scores, sizes, 5, effort)
            if is_done is None:
                return None
            assert is_done
            places = np.arange(count) < sizes[:, :1]
            return [positions[places].tolist(), scores[places].tolist(), sizes.tolist()]

        visits, alone = Visits(needed, most, first, around, share * around, 0.5), []
        for query, own in zip(queries[:, None], near, strict=True):
            density = marks[own[own >= 0]].sum() / (share * around)
            effort = max(first, min(ceil(needed / min(density, 1.0)), most)) if density >= 0.5 else 0
            alone.append(searched(query, effort) if effort else None)
            assert searched(query, visits) == alone[-1]
            seen.add("none" if not effort else "far" if effort >= 256 else "near")
        expected = None if None in alone else [one + other for one, other in zip(*alone, strict=True)]
        assert searched(queries, visits) == expected

    check()
    assert seen == {"none", "near", "far"}


@pytest.mark.usefixtures("walk")
def test_a_search_says_that_a_vector_is_not_in_memory():
    random = np.random.default_rng(0)
    graph, half, (firsts, ends, addresses) = held_graph(random, 60, 8)
    queries = normalize_rows(random.standard_normal((3, 8)))[0]
    arrays = np.empty((3, 60), np.int64), np.empty((3, 60), np.float32), np.empty((3, 2), np.int64)
    search = _native.kernels.search_graph
    assert search(graph, queries, b"", firsts, ends, addresses, *arrays, 5, 60)
    assert not search(graph, queries, b"", firsts, ends, addresses * [1, 0], *arrays, 5, 60)
    assert not search(graph, queries, b"", firsts, ends - [0, 60], addresses, *arrays, 5, 60)
    half[:] = 0  # no vector has a direction
    assert not search(graph, queries, b"", firsts, ends, addresses, *arrays, 5, 60)


@pytest.mark.usefixtures("walk")
def test_arrays_that_do_not_fit_a_search_are_refused():
    graph, _half, shards = held_graph(np.random.default_rng(0), 60, 8)
    fitting = [
        *(graph, np.ones((3, 8), np.float32), np.full(8, 255, np.uint8), *shards),
        *(np.empty((3, 9), np.int64), np.empty((3, 9), np.float32), np.empty((3, 2), np.int64), 5, 9),
    ]
    search = _native.kernels.search_graph
    assert search(*fitting)
    for number, wrong in enumerate(fitting[1:-2], 1):
        with pytest.raises(ValueError, match="fit together"):
            search(*fitting[:number], wrong[1:], *fitting[number + 1 :])
    with pytest.raises(ValueError, match="fit together"):
        search(*fitting[:8], np.empty(7, np.int64), *fitting[9:])
    for k, effort in ((0, 9), (5, -1)):
        with pytest.raises(ValueError, match="fit together"):
            search(*fitting[:-2], k, effort)
    with pytest.raises(ValueError, match="PyCapsule"):
        search(None, *fitting[1:])
    with pytest.raises(TypeError, match="11 arguments"):
        search(graph)
    with pytest.raises(TypeError, match="8 arguments"):
        _native.kernels.hold_graph(graph)


@pytest.mark.usefixtures("walk")
def test_codes_that_do_not_fit_a_graph_are_refused():
    graph, _half, shards = held_graph(np.random.default_rng(0), 60, 8)
    hold, codes, positions = _native.kernels.hold_codes, np.zeros((4, SIZE), np.uint8), np.arange(4)
    arrays = np.empty((3, 9), np.int64), np.empty((3, 9), np.float32), np.empty((3, 2), np.int64)
    held, queries = hold(graph, codes, positions), np.ones((3, 8), np.float32)
    assert _native.kernels.search_graph(held, queries, b"", *shards, *arrays, 5, 0)
    with pytest.raises(ValueError, match="fit together"):  # it has no links
        _native.kernels.search_graph(held, queries, b"", *shards, *arrays, 5, 9)
    with pytest.raises(ValueError, match="fit together"):
        _native.kernels.walk_graph(held, queries, b"", arrays[1], arrays[0], 9, 9)
    for wrong in ((codes[1:], positions), (codes, positions[1:]), (codes[1:], positions.view(np.uint8)[1:])):
        with pytest.raises(ValueError, match="fit together"):
            hold(graph, *wrong)
    with pytest.raises(ValueError, match="contiguous"):
        hold(graph, codes[:, ::2], positions)
    with pytest.raises(ValueError, match="PyCapsule"):
        hold(None, codes, positions)
    with pytest.raises(TypeError, match="3 arguments"):
        hold(graph)
