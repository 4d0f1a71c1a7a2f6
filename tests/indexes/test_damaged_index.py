"""A byte that changed in a file of an index is StoreDamaged or harmless, never another error."""

import functools
import random
import shutil

import numpy as np
import pytest
from property_examples import examples_of
from vector_sources import Vectors, clustered

from vision_recs.errors import StoreDamaged
from vision_recs.filters import Filter
from vision_recs.indexes import IndexConfig, build_or_update, open_index, verify
from vision_recs.indexes.base import read_manifest
from vision_recs.types import SearchRequest

FLIPS = examples_of(50)
COUNT = 1_500  # more than are always scored exactly
INDEX_TYPES = ["flat", "ivf-pq", "hnsw", "faiss:IVF8,SQ8", "faiss:HNSW8,Flat"]
CONDITIONS = [None, Filter.parse("number >= 100 and number < 1100"), Filter.parse("number >= 100 and number < 110")]
OF_FAISS = {"hnsw": "index.faiss", "faiss": "index.faiss", "ivf-pq": "trained.faiss"}


@pytest.fixture(scope="module", params=INDEX_TYPES)
def sound(request, tmp_path_factory):
    source = Vectors(clustered(COUNT, 12, clusters=20))
    first, second = (tmp_path_factory.mktemp(name) for name in ("first", "second"))
    config = IndexConfig(request.param)
    build_or_update(config, source.only(range(COUNT - 60)), first)
    source = source.only(range(7, COUNT))
    name, _ = build_or_update(config, source, second, previous=first)
    source.attributes = {f"item{number:06}": {"number": number} for number in range(COUNT)}
    source.filtered = functools.cache(source.filtered)
    return source, name, second


@pytest.fixture
def damaged(sound, tmp_path):
    source, name, directory = sound
    return source, name, shutil.copytree(directory, tmp_path / "index")


def search(source, name, directory):
    """Search with and without a filter; return what is wrong."""
    queries = source.every[40:44]
    try:
        index = open_index(name, source, directory)
        for where in CONDITIONS:
            index.search(SearchRequest(queries, 5, where))
    except StoreDamaged as error:
        return str(error)
    return None


def flipped(data, draw):
    """Return *data* with a byte of it changed, be it of the header, of the first numbers or of any."""
    place = draw.choice([draw.randrange(128), 128 + draw.randrange(64), draw.randrange(len(data))])
    altered = bytearray(data)
    altered[place % len(data)] ^= draw.choice([1, 128, 255])
    return bytes(altered)


def test_a_changed_byte_is_found_by_verify_and_by_opening_or_does_no_harm(damaged):
    source, name, directory = damaged
    assert search(source, name, directory) is None
    found = 0
    for path in sorted(directory.iterdir()):
        data, draw = path.read_bytes(), random.Random(path.name)
        for _ in range(FLIPS):
            path.write_bytes(flipped(data, draw))
            assert any(str(path) in problem for problem in verify(directory))
            problem = search(source, name, directory)
            found += problem is not None
            assert problem is None or "rebuild" in problem
        path.write_bytes(data)
    assert found > FLIPS / 2


@pytest.mark.parametrize("sound", ["hnsw", "faiss:IVF8,SQ8", "ivf-pq"], indirect=True)
def test_a_file_that_faiss_reads_is_compared_with_its_digest_first(damaged):
    source, name, directory = damaged
    path = directory / OF_FAISS[name]
    data = path.read_bytes()
    for place in (0, 9, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        with pytest.raises(StoreDamaged, match=rf"{path} was altered; rebuild it with `visrec index`"):
            open_index(name, source, directory)


def write(path, dtype, change):
    array = np.load(path).astype(dtype)
    change(array)
    np.save(path, array)


@pytest.mark.parametrize("value", [1 << 40, COUNT])
def test_a_position_that_there_is_not_is_found_when_it_is_used(damaged, value):
    source, name, directory = damaged
    path = next(iter(sorted(directory.glob("*positions.npy"))))
    write(path, np.int64, lambda positions: positions.fill(value))
    assert search(source, name, directory) is not None


@pytest.mark.parametrize("sound", ["hnsw"], indirect=True)
@pytest.mark.parametrize("entry", [(COUNT, 0), (-2, 0), (0, 40), (0, -1)])
def test_a_graph_is_not_entered_where_there_is_nothing(damaged, entry):
    source, name, directory = damaged
    write(directory / "graph.entry.npy", np.int64, lambda numbers: numbers.__setitem__(slice(None), entry))
    assert "do not fit together" in search(source, name, directory)


@pytest.mark.parametrize("sound", ["hnsw", "faiss:HNSW8,Flat"], indirect=True)
@pytest.mark.parametrize("value", [COUNT, 1 << 30, -2, -(1 << 31)])
@pytest.mark.parametrize(("graph", "place"), [("graph", 0), ("graph", 70_000 // 4), ("graph", -1), ("delta", 5)])
def test_a_link_to_where_no_vector_is_is_not_followed(damaged, graph, place, value):
    source, name, directory = damaged
    write(directory / f"{graph}.links.npy", np.int32, lambda links: links.__setitem__(place, value))
    assert "do not fit together" in search(source, name, directory)


@pytest.mark.parametrize("sound", ["hnsw"], indirect=True)
@pytest.mark.parametrize(
    ("part", "place", "value"),
    [("offsets", 5, 1 << 40), ("offsets", 9, -1), ("levels", 3, 0), ("levels", 3, 1 << 20)],
)
def test_links_of_a_vector_lie_where_its_levels_say(damaged, part, place, value):
    source, name, directory = damaged
    write(directory / f"graph.{part}.npy", np.int64, lambda numbers: numbers.__setitem__(place, value))
    if part == "levels":  # in the type that it has
        np.save(directory / "graph.levels.npy", np.load(directory / "graph.levels.npy").astype(np.int32))
    assert "do not fit together" in search(source, name, directory)


@pytest.mark.parametrize("sound", ["ivf-pq"], indirect=True)
@pytest.mark.parametrize(("place", "value"), [(0, 1), (-1, 10**6), (5, 10**9), (5, -4)])
def test_lists_that_lie_outside_of_their_segment_are_refused(damaged, place, value):
    source, name, directory = damaged
    write(directory / "0.offsets.npy", np.int64, lambda offsets: offsets.__setitem__(place, value))
    assert "do not fit together" in search(source, name, directory)


@pytest.mark.parametrize("sound", ["hnsw"], indirect=True)
@pytest.mark.parametrize("value", [-1, COUNT])
def test_a_vector_that_there_is_not_cannot_be_deleted(damaged, value):
    source, name, directory = damaged
    write(directory / "deleted.npy", np.int64, lambda deleted: deleted.__setitem__(0, value))
    assert "marks vectors as deleted that it lacks" in search(source, name, directory)


def test_a_damaged_index_is_not_updated_and_the_log_says_why(damaged, tmp_path, caplog):
    source, _, directory = damaged
    config = IndexConfig(**read_manifest(directory).config)
    path = max(directory.iterdir(), key=lambda each: each.stat().st_size)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    target = tmp_path / "next"
    target.mkdir()
    build_or_update(config, source.only(range(9, COUNT)), target, previous=directory)
    assert verify(target) == []
    assert f"{path} was altered" in caplog.text


@pytest.mark.parametrize("sound", ["hnsw", "ivf-pq"], indirect=True)
@pytest.mark.parametrize("links", [True, False])
def test_an_update_that_trusts_the_index_keeps_no_damage_under_a_new_digest(
    damaged, tmp_path, monkeypatch, caplog, links
):
    """Damage to a file that stays is found as before; what was altered and would be written anew, or copied, is not."""
    source, _, directory = damaged
    if not links:
        monkeypatch.setattr("os.link", lambda *_: (_ for _ in ()).throw(OSError("there are no links")))
    config, now = IndexConfig(**read_manifest(directory).config), source.only(range(9, COUNT - 2))
    paths = sorted(directory.glob("*.np[yz]"))
    if not links:  # each is then copied by the same lines, and each takes a new index
        paths = random.Random(0).sample(paths, min(examples_of(12), len(paths)))
    for number, path in enumerate(paths):
        data, target = path.read_bytes(), tmp_path / f"{number}"
        target.mkdir()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        caplog.clear()
        build_or_update(config, now, target, previous=directory, trust=True)
        other = target / path.name
        is_kept = links and other.exists() and other.samefile(path)
        assert [str(other) in problem for problem in verify(target)] == [True] * is_kept
        assert ("so that it is built anew" in caplog.text) != is_kept
        path.write_bytes(data)
