"""How a graph lies in memory: whole numbers in a byte each, and neighbors side by side."""

import faiss
import numpy as np
import pytest

from vision_recs.errors import StoreDamaged
from vision_recs.indexes.faiss_search import Rotation, stretch
from vision_recs.indexes.hnsw_mmap import load_graph, reorder_by_proximity, save_graph


def graph_of(vectors):
    index = faiss.IndexHNSWSQ(vectors.shape[1], faiss.ScalarQuantizer.QT_8bit_direct_signed, 4)
    index.add(vectors)
    return index


def links_of(index):
    """Return the neighbors of each vector on the lowest level, without those that there are not."""
    found = []
    for number in range(index.ntotal):
        begin, end = faiss.vector_to_array(index.hnsw.offsets)[number], index.hnsw.nb_neighbors(0)
        links = faiss.rev_swig_ptr(index.hnsw.neighbors.data(), index.hnsw.neighbors.size())[int(begin) :][:end]
        found.append([link for link in links.tolist() if link >= 0])
    return found


@pytest.fixture
def vectors():
    return np.rint(np.random.default_rng(3).normal(0, 40, (400, 16))).clip(-127, 127).astype(np.float32)


def test_a_graph_that_is_numbered_anew_finds_the_same(vectors):
    index, queries = graph_of(vectors), vectors[::7] + 0.4
    distances, before = index.search(queries, 9)
    order = reorder_by_proximity(index)
    assert sorted(order.tolist()) == list(range(400))
    again, after = index.search(queries, 9)
    np.testing.assert_array_equal(again, distances)
    np.testing.assert_array_equal(order[after], before)
    np.testing.assert_array_equal(index.reconstruct_n(0, 400), vectors[order])


def test_neighbors_get_numbers_that_are_near(vectors):
    index = graph_of(vectors)

    def apart():
        return np.mean([abs(number - link) for number, links in enumerate(links_of(index)) for link in links])

    before = apart()
    reorder_by_proximity(index)
    assert apart() < before


def test_the_entry_is_numbered_last_so_that_any_vector_has_links_enough_after_it(vectors):
    index = graph_of(vectors)
    reorder_by_proximity(index)
    assert index.hnsw.entry_point == 399
    levels = faiss.vector_to_array(index.hnsw.levels)
    assert levels[-1] == levels.max() > 1


@pytest.fixture
def saved(vectors, tmp_path):
    """A graph that is not numbered anew, as after an update: its last vector is on the lowest level only."""
    index = graph_of(vectors)
    save_graph(index, tmp_path)
    levels = np.load(tmp_path / "graph.levels.npy")
    assert levels[-1] == 1 < levels.max()
    return index, tmp_path


def test_a_link_of_a_high_level_leads_to_a_vector_of_that_level(saved):
    """The links of another vector end below: a walk would read beyond them, at the last vector beyond all."""
    index, folder = saved
    links, offsets, levels = (np.load(folder / f"graph.{part}.npy") for part in ("links", "offsets", "levels"))
    links[offsets[np.argmax(levels > 1)] + index.hnsw.nb_neighbors(0)] = len(levels) - 1
    np.save(folder / "graph.links.npy", links)
    with pytest.raises(StoreDamaged, match="do not fit together"):
        load_graph(index, folder)


@pytest.mark.parametrize("place", [0, 7, -2])
def test_links_of_a_vector_lie_where_its_levels_say(saved, place):
    index, folder = saved
    offsets = np.load(folder / "graph.offsets.npy")
    offsets[place] += 1
    np.save(folder / "graph.offsets.npy", offsets)
    with pytest.raises(StoreDamaged, match="do not fit together"):
        load_graph(index, folder)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_graph_of_next_to_nothing_is_numbered_too(vectors, count):
    index = graph_of(vectors[:count])
    assert sorted(reorder_by_proximity(index).tolist()) == list(range(count))


def test_vectors_that_nobody_links_to_keep_a_number(vectors):
    index = graph_of(vectors[:30])
    links = faiss.rev_swig_ptr(index.hnsw.neighbors.data(), index.hnsw.neighbors.size())
    links[:] = -1
    order = reorder_by_proximity(index)
    assert sorted(order.tolist()) == list(range(30))


def rotation_of(vectors):
    """Return a transform, what it gave for *vectors* before it was stretched, and the rotation it then is."""
    transform = faiss.PCAMatrix(vectors.shape[1], 8)
    transform.train(vectors)
    rotated = transform.apply(vectors)
    stretch(transform, vectors)
    return transform, rotated, Rotation.of(transform, is_rounded=True)


def test_what_is_stretched_fills_a_byte_and_keeps_its_shape(vectors):
    small = vectors / 1000
    _, rotated, rounding = rotation_of(small)
    kept = rounding.apply(small)
    assert np.abs(kept).max() == 127
    assert (kept == np.rint(kept)).all()
    np.testing.assert_allclose(kept / 127, rotated / np.abs(rotated).max(), atol=0.5 / 127 + 1e-5)


def test_what_is_larger_than_all_before_is_cut_to_a_byte(vectors):
    transform, _, rounding = rotation_of(vectors / 1000)
    assert np.abs(rounding.apply(vectors)).max() == 127
    assert np.abs(transform.apply(vectors)).max() > 127


def test_one_vector_is_rotated_as_many_are(vectors):
    small = vectors / 1000
    transform, _, rounding = rotation_of(small)
    plain = Rotation.of(transform)
    np.testing.assert_allclose(plain.apply(small[:1]), plain.apply(small[:5])[:1], atol=1e-3)
    assert np.abs(rounding.apply(small[:1]) - rounding.apply(small[:5])[:1]).max() <= 1


def test_vectors_that_are_all_alike_can_be_stretched():
    transform = faiss.PCAMatrix(4, 4)
    faiss.copy_array_to_vector(np.zeros(16, np.float32), transform.A)
    faiss.copy_array_to_vector(np.zeros(4, np.float32), transform.b)
    transform.is_trained = True
    stretch(transform, np.ones((3, 4), np.float32))
    assert not Rotation.of(transform, is_rounded=True).apply(np.ones((2, 4), np.float32)).any()
