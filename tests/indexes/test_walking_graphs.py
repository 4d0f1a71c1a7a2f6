"""The walk over a graph in C finds what an obvious walk finds, and what FAISS finds in the same graph."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from property_examples import examples_of

from vision_recs import _native
from vision_recs.indexes._faiss import faiss

SIZE, LOWEST, HIGHER = 7, 6, 3  # numbers in a code, and links of a vector on the lowest level and on each other one


@pytest.fixture(scope="module")
def walk():
    if _native.kernels is None:
        assert "CI" not in os.environ, "where changes are tested, the functions in C have to be there"
        pytest.skip("no compiler was there when visrec was installed")
    kernels = _native.kernels

    def walked(graph, queries, count, effort, marks=None):
        distances = np.full((len(queries), count), 7, np.float32)
        ordinals = np.full((len(queries), count), 7, np.int64)
        bits = b"" if marks is None else np.packbits(marks, bitorder="little")
        size = queries.shape[1]
        kernels.walk_graph(queries.astype(np.float32), *graph, bits, distances, ordinals, count, effort, size)
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
    numbers = codes.reshape(-1, SIZE).astype(int) - 128

    def distance(vector):
        return int(((numbers[vector] - query) ** 2).sum())

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
    found = walk(graph, queries, 10, effort)
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
    for count, effort in ((0, 3), (3, 0)):
        with pytest.raises(ValueError, match="fit together"):
            walk(graph, query, count, effort)
    with pytest.raises(TypeError, match="12 arguments"):
        _native.kernels.walk_graph(query, 3)


@pytest.mark.parametrize(("most", "is_taken"), [(0, True), (1, False)])
def test_a_vector_has_as_many_links_and_numbers_as_are_said_to_be_taken(walk, most, is_taken):
    links, size = _native.MOST_LINKS + most, _native.MOST_NUMBERS + most
    offsets, entry, farthest = np.zeros(3, np.int64), np.array([0, 0]), 255**2
    many = np.zeros(2 * SIZE, np.uint8), np.ones(links, np.int32), offsets, np.array([0, links], np.int32), entry
    wide = np.full(2 * size, 255, np.uint8), np.ones(6, np.int32), offsets, np.array([0, 6], np.int32), entry
    for graph, query in ((many, np.full((1, SIZE), -128)), (wide, np.full((1, size), -128))):
        if is_taken:
            distance = float(np.float32(farthest * size)) if graph is wide else 0.0
            assert walk(graph, query, 2, 2) == ([[0, 1]], [[distance] * 2])
        else:
            with pytest.raises(ValueError, match="fit together"):
                walk(graph, query, 2, 2)


def test_an_empty_graph_has_nothing(walk):
    empty = [np.empty(0, np.uint8), np.empty(0, np.int32), np.zeros(1, np.int64), np.array([0, 6], np.int32)]
    assert walk([*empty, np.array([-1, -1])], np.zeros((2, SIZE)), 2, 2) == ([[-1, -1]] * 2, [[np.inf, np.inf]] * 2)
