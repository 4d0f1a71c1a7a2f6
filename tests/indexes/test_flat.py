import subprocess
import sys

import faiss
import numpy as np
import pytest

from vision_recs.errors import StoreDamaged, ZeroVector
from vision_recs.indexes import ExactIndex, open_index
from vision_recs.types import SearchRequest
from vision_recs.vectors import exact_cosine

MAPPED = """
import sys
from pathlib import Path
from vision_recs.indexes import flat, open_index

class Source:
    fingerprint, generation, dim = "space", 1, 512

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

before = resident()
index = open_index("flat", Source, Path(sys.argv[1]))
print(resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_opening_reads_no_vectors(tmp_path, random_source, build_flat):
    build_flat(random_source(8_192, 512), tmp_path)
    assert (tmp_path / "flat.faiss").stat().st_size > 16_000_000
    grown = subprocess.check_output([sys.executable, "-c", MAPPED, str(tmp_path)], text=True)
    assert int(grown) < 8_000_000


def test_the_files_hold_the_vectors_as_inner_products_and_their_positions(flat_folder, random_source):
    source = random_source(50, 8)
    index = faiss.read_index(str(flat_folder / "flat.faiss"))
    assert index.metric_type == faiss.METRIC_INNER_PRODUCT
    assert index.reconstruct_n(0, 50).tolist() == source.every[::2].tolist()
    assert np.load(flat_folder / "positions.npy").tolist() == list(range(0, 100, 2))


def test_an_index_of_more_than_one_block_holds_every_vector(tmp_path, random_source, build_flat):
    source = random_source(20_000, 4)
    build_flat(source, tmp_path)
    index = faiss.read_index(str(tmp_path / "flat.faiss"))
    assert np.array_equal(index.reconstruct_n(0, 20_000), source.every[::2])


def test_many_queries_are_answered_as_one_by_one(flat_folder, random_source):
    source = random_source(50, 8)
    index = open_index("flat", source, flat_folder)
    queries = np.tile(source.every[::2], (50, 1))
    one_by_one = [index.search(SearchRequest(query[None], 3))[0] for query in queries[:50]]
    assert index.search(SearchRequest(queries, 3)) == one_by_one * 50


def test_the_index_still_answers_after_its_folder_was_deleted(flat_folder, random_source):
    source = random_source(50, 8)
    index = open_index("flat", source, flat_folder)
    for path in flat_folder.iterdir():
        path.unlink()
    assert index.search(SearchRequest(source.every[4:5], 1))[0][0].id == "item000004"


@pytest.mark.parametrize("length", [0.0, 2.0, np.nan, np.inf])
def test_a_source_whose_vectors_are_not_of_unit_length_is_refused(length, random_source, tmp_path, build_flat):
    source = random_source(5, 4)
    query = source.every[:1].copy()
    source.every[6] *= length
    with pytest.raises(ZeroVector, match="position 6 has the length"):
        build_flat(source, tmp_path)
    with pytest.raises(ZeroVector, match="position 6 has the length"):
        ExactIndex(source).search(SearchRequest(query, 1))


def test_vectors_that_were_altered_to_nan_are_refused_not_taken_for_the_last_item(flat_folder, random_source):
    path = flat_folder / "flat.faiss"
    data = path.read_bytes()
    path.write_bytes(data[: -8 * 4] + b"\xff" * 8 * 4)
    index = open_index("flat", random_source(50, 8), flat_folder)
    with pytest.raises(StoreDamaged, match="not numbers"):
        index.search(SearchRequest(np.ones((1, 8), np.float32), 50))


@pytest.mark.parametrize("name", ["flat.faiss", "positions.npy"])
def test_an_altered_header_is_refused_or_harmless(name, flat_folder, random_source):
    source = random_source(50, 8)
    path = flat_folder / name
    data = path.read_bytes()
    refused = 0
    for offset in range(45 if name == "flat.faiss" else 128):
        path.write_bytes(data[:offset] + b"\x03" + data[offset + 1 :])
        try:
            open_index("flat", source, flat_folder).search(SearchRequest(source.every[:1], 3))
        except StoreDamaged:
            refused += 1
    assert refused > 20


def test_files_of_the_right_size_that_hold_something_else_are_refused(flat_folder, random_source):
    path = flat_folder / "flat.faiss"
    size = path.stat().st_size
    other = faiss.IndexFlat(4, faiss.METRIC_INNER_PRODUCT)
    other.add(np.ones((100, 4), np.float32))
    faiss.write_index(other, str(path))
    assert path.stat().st_size == size
    with pytest.raises(StoreDamaged, match="do not fit together"):
        open_index("flat", random_source(50, 8), flat_folder)


def test_positions_of_another_type_are_refused(flat_folder, random_source):
    path = flat_folder / "positions.npy"
    path.write_bytes(path.read_bytes().replace(b"<i8", b"<f8"))
    with pytest.raises(StoreDamaged, match=r"positions\.npy cannot be read"):
        open_index("flat", random_source(50, 8), flat_folder)


def test_scores_that_are_cut_to_minus_one_tie_though_their_vectors_are_a_little_too_long(
    tmp_path, random_source, build_flat
):
    source = random_source(60, 8)
    query = source.every[:1].copy()
    source.every[:] = -query * np.linspace(1.002, 1.0005, 120, dtype=np.float32)[:, None]
    request = SearchRequest(query, 3)
    (found,) = open_index("flat", source, build_flat(source, tmp_path)).search(request)
    assert [(match.id, match.score) for match in found] == [(f"item00000{n}", -1.0) for n in (0, 2, 4)]
    assert ExactIndex(source).search(request) == [found]


@pytest.mark.parametrize("dim", [1, 2, 7, 8, 9, 127, 129, 512, 1280, 4097])
def test_a_score_depends_on_its_two_vectors_alone(dim, random_source):
    vectors = random_source(20, dim).every
    query = vectors[0] + vectors[1]
    together = exact_cosine(vectors, query)
    alone = [exact_cosine(vector[None], query)[0] for vector in vectors]
    assert together.tolist() == [float(score) for score in alone]
    assert exact_cosine(np.asfortranarray(vectors), query).tolist() == together.tolist()


def test_there_is_no_negative_zero_among_the_scores():
    (score,) = exact_cosine(np.array([[-1e-30, 1]], np.float32), np.array([1e-30, 0], np.float32)).tolist()
    assert str(score) == "0.0"
