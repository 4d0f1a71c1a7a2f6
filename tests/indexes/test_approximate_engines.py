import numpy as np
import pytest
from vector_sources import Part, Vectors, clustered, nearest

from vision_recs.errors import VisionRecsError
from vision_recs.indexes import IndexConfig, build_or_update, open_index
from vision_recs.indexes.exact import ExactIndex
from vision_recs.indexes.hnsw import usual_components
from vision_recs.indexes.index_dir import read_label
from vision_recs.vectors import normalize_or_raise

KINDS = ["ivf-pq", "hnsw", "PCA16,IVF32,SQ8"]
COUNT = 6_000


@pytest.fixture(scope="module")
def source():
    return Vectors(clustered(COUNT, 32))


@pytest.fixture(scope="module", params=KINDS)
def made(request, source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("engine")
    engine, figures = build_or_update(IndexConfig(request.param), source, folder)
    return request.param, engine, figures, folder


def queries(source, count=40, seed=5):
    """Return vectors near those of *source*, which are not in it."""
    random = np.random.default_rng(seed)
    chosen = source.every[random.integers(0, len(source.every), count)]
    return normalize_or_raise(chosen + 0.05 * random.standard_normal(chosen.shape))


def recall(source, index, asked, k=10, **how):
    found = wanted = 0
    for query, matches in zip(asked, index.search(asked, k, **how), strict=True):
        expected = {f"item{p:06}" for p in nearest(how.get("within", source), query, k)}
        found += len(expected & {match.id for match in matches})
        wanted += len(expected)
    return found / wanted


def test_it_finds_what_was_wanted_of_it(made, source):
    _, engine, figures, folder = made
    assert figures.reached
    assert figures.recall_at_10 >= 0.95
    assert recall(source, open_index(engine, source, folder), queries(source)) >= 0.94


def test_scores_are_those_of_exact_search(made, source):
    _, engine, _, folder = made
    asked = queries(source, 8)
    exact = [{match.id: match.score for match in answer} for answer in ExactIndex(source).search(asked, COUNT)]
    for scores, matches in zip(exact, open_index(engine, source, folder).search(asked, 20), strict=True):
        assert [match.score for match in matches] == [scores[match.id] for match in matches]
        assert matches == sorted(matches, key=lambda match: (-match.score, match.id))


@pytest.mark.parametrize("share", [1.0, 0.3, 0.1, 0.03, 0.01, 0.001])
def test_a_filter_loses_nothing_at_any_share(made, source, share):
    _, engine, _, folder = made
    chosen = np.flatnonzero(np.random.default_rng(9).random(COUNT) < share)
    part = Part(source, chosen)
    index = open_index(engine, source, folder)
    asked = queries(source, 20)
    for matches in index.search(asked, 10, within=part):
        assert {int(match.id[4:]) for match in matches} <= set(chosen.tolist())
        assert len(matches) == min(10, len(chosen))
    assert recall(source, index, asked, within=part) >= 0.99


def test_a_filter_that_leaves_only_what_is_far_away_loses_nothing(made, source):
    _, engine, _, folder = made
    query = source.every[:1]
    cosines = source.every @ query[0]
    far = np.argsort(cosines)[: COUNT // 5]
    part = Part(source, far)
    assert recall(source, open_index(engine, source, folder), query, within=part) >= 0.9


def test_the_same_seed_gives_the_same_answers(made, source, tmp_path):
    name, engine, _, folder = made
    build_or_update(IndexConfig(name), source, tmp_path)
    asked = queries(source)
    one, other = (open_index(engine, source, where).search(asked, 10) for where in (folder, tmp_path))
    assert one == other


def changed(source, folder, target, wish):
    target.mkdir()
    return build_or_update(wish, source, target, previous=folder)


def test_a_change_costs_no_more_than_what_changed(made, source, tmp_path):
    name, _, _, folder = made
    more = Vectors(np.concatenate([source.every, clustered(60, 32, seed=3)]))
    now = more.only(set(range(COUNT + 60)) - set(range(0, 600, 10)))
    engine, figures = changed(now, folder, tmp_path / "next", IndexConfig(name))
    assert figures.reached
    assert read_label(tmp_path / "next").facts["built"] == read_label(folder).facts["built"]  # not built anew
    index = open_index(engine, now, tmp_path / "next")
    fresh = now.every[COUNT:]
    first = [matches[0].id for matches in index.search(fresh, 1)]
    assert sum(one == f"item{COUNT + number:06}" for number, one in enumerate(first)) >= 57
    gone = source.every[0:600:10]
    assert not {match.id for matches in index.search(gone, 20) for match in matches} & {
        f"item{p:06}" for p in range(0, 600, 10)
    }
    assert recall(now, index, queries(now)) >= 0.94


def test_generations_share_what_did_not_change(source, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    build_or_update(IndexConfig("ivf-pq"), source, first)
    changed(source.only(range(5, COUNT)), first, second, IndexConfig("ivf-pq"))
    assert (first / "0.codes.npy").stat().st_ino == (second / "0.codes.npy").stat().st_ino
    assert np.load(second / "dead.npy").tolist() == [0, 1, 2, 3, 4]


def test_many_small_changes_are_merged(source, tmp_path):
    folder = tmp_path / "0"
    folder.mkdir()
    build_or_update(IndexConfig("ivf-pq"), source.only(range(COUNT - 100)), folder)
    for step in range(1, 11):
        now = source.only(range(step * 5, COUNT - 100 + step * 10))
        target = tmp_path / str(step)
        changed(now, folder, target, IndexConfig("ivf-pq"))
        folder = target
    assert len(list(folder.glob("*.codes.npy"))) < 8
    assert recall(now, open_index("ivf-pq", now, folder), queries(now)) >= 0.94


def test_many_deletions_give_their_space_back(source, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    build_or_update(IndexConfig("ivf-pq"), source, first)
    now = source.only(range(0, COUNT, 2))
    changed(now, first, second, IndexConfig("ivf-pq"))
    (codes,) = second.glob("*.codes.npy")
    assert len(np.load(codes)) == COUNT // 2
    assert recall(now, open_index("ivf-pq", now, second), queries(now)) >= 0.94


@pytest.mark.parametrize("name", KINDS)
def test_a_catalog_that_has_more_than_doubled_gets_a_new_index(source, tmp_path, name):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    build_or_update(IndexConfig(name), source.only(range(COUNT // 3)), first)
    changed(source, first, second, IndexConfig(name))
    assert read_label(second).facts["built"]["trained_for"] == COUNT


def test_another_wish_or_another_space_is_no_change(source, tmp_path):
    first = tmp_path / "first"
    first.mkdir()
    build_or_update(IndexConfig("ivf-pq"), source, first)
    for number, (now, wish) in enumerate(
        [(source, IndexConfig("ivf-pq", seed=1)), (Vectors(clustered(COUNT, 16)), IndexConfig("ivf-pq"))]
    ):
        target = tmp_path / f"next{number}"
        changed(now, first, target, wish)
        assert read_label(target).facts["built"] != read_label(first).facts["built"]


def test_opening_reads_no_list(source, tmp_path):
    build_or_update(IndexConfig("ivf-pq"), source, tmp_path)
    source.read.clear()
    index = open_index("ivf-pq", source, tmp_path)
    assert source.read == []
    assert not index.proposer._lists._read.any()
    index.search(source.every[:1], 10)
    assert 0 < index.proposer._lists._read.sum() < len(index.proposer._lists._read)


def test_a_memory_that_fits_no_good_index_gets_the_smallest_one_and_hears_what_it_finds(monkeypatch, tmp_path):
    monkeypatch.setattr("vision_recs.indexes.autoselect._FLAT_NUMBERS", 1000)
    noise = Vectors(np.random.default_rng(0).standard_normal((3_000, 48)))
    engine, figures = build_or_update(IndexConfig(max_memory=1_000, target_recall=0.9999), noise, tmp_path)
    assert engine == "ivf-pq"
    assert figures.bytes_per_vector < 48 / 2
    assert not figures.reached
    assert 0.2 < figures.recall_at_10 < 0.9999


def test_the_fastest_that_reaches_the_recall_is_chosen(monkeypatch, source, tmp_path):
    monkeypatch.setattr("vision_recs.indexes.autoselect._FLAT_NUMBERS", 1000)
    engine, figures = build_or_update(IndexConfig(), source, tmp_path)
    assert engine in {"ivf-pq", "hnsw"}
    assert figures.reached


@pytest.mark.parametrize(
    ("dim", "rank", "count", "components"),
    [
        (600, 100, 9000, 128),  # all of the variance
        (600, 240, 9000, 256),
        (600, 600, 9000, 512),
        (250, 250, 9000, 250),  # not more than there are
        (600, 600, 100, 128),  # of which there are too few to tell
    ],
)
def test_a_graph_compares_as_many_components_as_hold_most_of_the_variance(dim, rank, count, components):
    random = np.random.default_rng(0)
    source = Vectors(np.pad(random.standard_normal((count, rank)), ((0, 0), (0, dim - rank))))
    assert usual_components(source, source.positions(), seed=0) == components


def test_few_vectors_are_compared_with_whole(source, tmp_path):
    engine, figures = build_or_update(IndexConfig(), source, tmp_path)
    assert (engine, figures.recipe, figures.recall_at_100) == ("flat", "Flat", 1.0)


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ("annoy", r"there is no engine 'annoy'; use auto, flat, hnsw, ivf-pq, or a factory string of FAISS"),
        ("IVF16,Nonsense8", r"FAISS cannot build the index 'IVF16,Nonsense8' \(.*\); use another --index-type"),
    ],
)
def test_an_engine_that_there_is_not_is_refused(source, tmp_path, engine, message):
    with pytest.raises(VisionRecsError, match=message):
        build_or_update(IndexConfig(engine), source, tmp_path)
