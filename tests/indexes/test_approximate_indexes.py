import functools
import shutil
from math import ceil
from types import SimpleNamespace

import numpy as np
import pytest
from vector_sources import Vectors, clustered, nearest

from vision_recs import _native
from vision_recs.errors import IndexBuildError, UnknownIndexType
from vision_recs.indexes import ExactIndex, IndexConfig, build_or_update, open_index, verify
from vision_recs.indexes.base import read_manifest
from vision_recs.indexes.config import SearchParams, SearchProfile, read_profile
from vision_recs.indexes.faiss_search import FaissCandidates
from vision_recs.indexes.hnsw import usual_components
from vision_recs.indexes.rescoring import SCAN, SPARSE, TOO_FAR
from vision_recs.types import SearchRequest
from vision_recs.vectors import normalize_or_raise

INDEX_TYPES = ["ivf-pq", "hnsw", "faiss:PCA16,IVF32,SQ8"]
COUNT = 4_000
OFTEN = ["ivf-pq", "hnsw", pytest.param("faiss:PCA16,IVF32,SQ8", marks=pytest.mark.nightly)]
"""Types of indexes of which CI builds two once more; the third is built by the same lines as the second."""


@pytest.fixture(scope="module")
def source():
    return Vectors(clustered(COUNT, 32))


@pytest.fixture(scope="module")
def made_of(source, tmp_path_factory):
    """Return a function from an index type to what was configured, the type's name, its stats and its directory.

    Each is made once, and not to be changed, nor the files that an update shares with it.
    """

    @functools.cache
    def made_of(configured):
        folder = tmp_path_factory.mktemp("index")
        return configured, *build_or_update(IndexConfig(configured), source, folder), folder

    return made_of


@pytest.fixture(scope="module", params=INDEX_TYPES)
def made(request, made_of):
    return made_of(request.param)


def near(source, count=40, seed=5):
    """Return vectors near those of *source*, which are not in it."""
    random = np.random.default_rng(seed)
    chosen = source.every[random.integers(0, len(source.every), count)]
    return normalize_or_raise(chosen + 0.05 * random.standard_normal(chosen.shape))


def recall(source, index, queries, *, where=None, chosen=None):
    """Return the share of the ten nearest of *source*, or of its positions *chosen*, that *index* finds."""
    found = wanted = 0
    among = source if chosen is None else source.only(chosen)
    for query, matches in zip(queries, index.search(SearchRequest(queries, 10, where)), strict=True):
        expected = {f"item{p:06}" for p in nearest(among, query, 10)}
        found += len(expected & {match.id for match in matches})
        wanted += len(expected)
    return found / wanted


def test_it_finds_what_was_wanted_of_it(made, source):
    _, name, stats, folder = made
    assert stats.target_recall_met
    assert stats.recall_at_10 >= 0.95
    assert recall(source, open_index(name, source, folder), near(source)) >= 0.94


def test_scores_are_those_of_exact_search(made, source):
    _, name, _, folder = made
    queries = near(source, 8)
    exact = ExactIndex(source).search(SearchRequest(queries, COUNT))
    found = open_index(name, source, folder).search(SearchRequest(queries, 20))
    for every, matches in zip(exact, found, strict=True):
        scores = {match.id: match.score for match in every}
        assert [match.score for match in matches] == [scores[match.id] for match in matches]
        assert matches == sorted(matches, key=lambda match: (-match.score, match.id))


@pytest.mark.parametrize("share", [1.0, 0.3, 0.1, 0.03, 0.01, 0.001])
def test_a_filter_loses_nothing_at_any_share(made, source, share):
    _, name, _, folder = made
    chosen = np.flatnonzero(np.random.default_rng(9).random(COUNT) < share)
    where = source.choose(chosen)
    index = open_index(name, source, folder)
    queries = near(source, 20)
    for matches in index.search(SearchRequest(queries, 10, where)):
        assert {int(match.id[4:]) for match in matches} <= set(chosen.tolist())
        assert len(matches) == min(10, len(chosen))
    assert recall(source, index, queries, where=where, chosen=chosen) >= 0.99


@pytest.mark.parametrize("share", [None, 0.99, 0.3, 0.01])
@pytest.mark.parametrize("k", [10, 100])
def test_no_query_has_no_answer(made, source, share, k):
    _, name, _, folder = made
    where = None if share is None else source.choose(np.flatnonzero(np.random.default_rng(9).random(COUNT) < share))
    assert open_index(name, source, folder).search(SearchRequest(source.every[:0], k, where)) == []


def test_a_filter_that_leaves_only_what_is_far_away_loses_nothing(made, source):
    _, name, _, folder = made
    query = source.every[:1]
    cosines = source.every @ query[0]
    far = np.argsort(cosines)[: COUNT // 5]
    where = source.choose(far)
    assert recall(source, open_index(name, source, folder), query, where=where, chosen=far) >= 0.9


@pytest.mark.parametrize(("components", "is_enough"), [(48, True), (24, False)])
def test_where_codes_lose_much_more_candidates_are_scored_under_a_filter(tmp_path, components, is_enough):
    source = Vectors(normalize_or_raise(np.random.default_rng(3).standard_normal((3_000, 64), np.float32)))
    config = IndexConfig(f"faiss:PCA{components},HNSW16,SQ8", target_recall=0.3)
    name, _ = build_or_update(config, source, tmp_path)
    _, profile = read_profile(tmp_path)
    assert (profile.filtered_factor is not None) == is_enough
    assert profile.filtered_factor != 8
    index = open_index(name, source, tmp_path)
    chosen = np.flatnonzero(np.random.default_rng(9).random(3_000) < 0.3)
    assert recall(source, index, near(source), where=source.choose(chosen), chosen=chosen) >= 0.98


@pytest.mark.parametrize("made", OFTEN, indirect=True)
def test_the_same_seed_gives_the_same_answers(made, source, tmp_path):
    configured, name, _, folder = made
    build_or_update(IndexConfig(configured), source, tmp_path)
    request = SearchRequest(near(source), 10)
    one, other = (open_index(name, source, where).search(request) for where in (folder, tmp_path))
    assert one == other


def update(source, folder, target, config):
    target.mkdir()
    return build_or_update(config, source, target, previous=folder)


def trained_for(folder):
    return read_profile(folder)[0].trained_for


def test_a_change_costs_no_more_than_what_changed(made, source, tmp_path):
    configured, name, _, folder = made
    more = Vectors(np.concatenate([source.every, clustered(60, 32, seed=3)]))
    now = more.only(set(range(COUNT + 60)) - set(range(0, 600, 10)))
    _, stats = update(now, folder, tmp_path / "next", IndexConfig(configured))
    assert stats.target_recall_met
    assert read_profile(tmp_path / "next") == read_profile(folder)  # it was neither built nor tuned anew
    index = open_index(name, now, tmp_path / "next")
    fresh = now.every[COUNT:]
    first = [matches[0].id for matches in index.search(SearchRequest(fresh, 1))]
    assert sum(one == f"item{COUNT + number:06}" for number, one in enumerate(first)) >= 57
    gone = source.every[0:600:10]
    assert not {match.id for matches in index.search(SearchRequest(gone, 20)) for match in matches} & {
        f"item{p:06}" for p in range(0, 600, 10)
    }
    assert recall(now, index, near(now)) >= 0.94


def test_a_filter_works_where_the_last_vectors_are_gone(made, source, tmp_path):
    configured, _, _, first = made
    second = tmp_path / "second"
    now = source.only(range(COUNT - 50))
    name, _ = update(now, first, second, IndexConfig(configured))
    index = open_index(name, now, second)
    for chosen in (range(COUNT - 400, COUNT), range(COUNT // 2, COUNT)):
        where = now.choose(chosen)
        assert recall(now, index, near(now), where=where, chosen=[p for p in chosen if p < COUNT - 50]) >= 0.99


def are_shared(first, second, names):
    before, after = read_manifest(first).files, read_manifest(second).files
    return all((first / name).samefile(second / name) and before[name] == after[name] for name in names)


def test_generations_share_what_did_not_change(made_of, source, tmp_path):
    first, second = made_of("ivf-pq")[-1], tmp_path / "second"
    _, stats = update(source.only(range(5, COUNT)), first, second, IndexConfig("ivf-pq"))
    assert are_shared(first, second, ["trained.faiss", "0.codes.npy", "0.positions.npy", "0.offsets.npy"])
    assert np.load(second / "deleted.npy").tolist() == [0, 1, 2, 3, 4]
    assert (stats.in_delta, stats.dead) == (0, 5)


OF_GRAPH = [f"graph.{part}.npy" for part in ("codes", "links", "offsets", "levels", "entry")]


def test_what_is_added_to_a_graph_lies_beside_it_until_it_is_much(tmp_path):
    source = Vectors(clustered(1_500, 16))
    new = near(source, 180, seed=3)
    every = Vectors(np.concatenate([source.every, new]))
    folder, sizes, shared = tmp_path / "0", [], []
    folder.mkdir()
    build_or_update(IndexConfig("hnsw"), source, folder)
    for step, (first, count) in enumerate([(0, 15), (10, 30), (20, 30), (40, 150), (40, 180)], 1):
        target, now = tmp_path / str(step), every.only(range(first, 1_500 + count))
        _, stats = update(now, folder, target, IndexConfig("hnsw"))
        sizes.append((stats.in_delta, stats.dead))
        shared.append(are_shared(folder, target, ["index.faiss", "positions.npy", *OF_GRAPH]))
        assert (target / "delta.codes.npy").exists() == (stats.in_delta > 0)
        index = open_index("hnsw", now, target)
        assert recall(now, index, near(now)) >= 0.94
        assert recall(now, index, near(Vectors(new[:count]))) >= 0.94
        chosen = np.arange(first, 1_500 + count, 2)
        assert recall(now, index, near(now), where=now.choose(chosen), chosen=chosen) >= 0.98
        folder = target
    assert sizes == [(15, 0), (30, 10), (30, 20), (150, 40), (0, 40)]
    assert shared == [True, True, True, True, False]


@pytest.mark.skipif(_native.kernels is None, reason="no compiler was there when visrec was installed")
def test_a_scan_in_c_finds_what_a_scan_by_faiss_finds(monkeypatch, tmp_path):
    source = Vectors(clustered(1_600, 16))
    folder, target = tmp_path / "0", tmp_path / "1"
    folder.mkdir()
    build_or_update(IndexConfig("hnsw"), source.only(range(1_500)), folder)
    for now, index in ((source.only(range(1_500)), folder), (source.only(range(40, 1_600)), target)):
        if index == target:
            update(now, folder, target, IndexConfig("hnsw"))
        mask, queries = now.filtered(now.choose(range(0, 1_600, 7))).mask(), near(now)
        within, scanned = SimpleNamespace(mask=lambda mask=mask: mask), FaissCandidates(index)
        own = scanned.candidates(queries, 30, SCAN, within)
        assert (scanned.candidates(queries, 30, SCAN, within) == own).all()  # of a copy of the codes
        with monkeypatch.context() as patch:
            patch.setattr(_native, "kernels", None)
            others = FaissCandidates(index).candidates(queries, 30, SCAN, within)
        # a query is rotated by whole numbers in C: some numbers of it are rounded to the next one
        assert np.mean([len({*mine} & {*theirs}) for mine, theirs in zip(own, others, strict=True)]) > 29
        assert mask[own].all()
        half = source.every.astype(np.float16)
        shards = np.array([0]), np.array([len(half)]), np.array([half.ctypes.data])
        found = FaissCandidates(index).nearest(shards, queries, 10, 30, SCAN, within)
        assert (found is None) == (index == target)  # which has two graphs
        for scored, positions, query in zip(found.scored if found else (), own, queries, strict=False):
            expected = np.sort(normalize_or_raise(half[positions]) @ query)[:-11:-1]
            assert scored.scores == pytest.approx(expected, abs=1e-6)
            assert {*scored.positions} <= {*positions}


@pytest.mark.skipif(_native.kernels is None, reason="no compiler was there when visrec was installed")
def test_a_walk_that_finds_how_dense_a_filter_is_finds_what_one_does_that_knew(tmp_path):
    source = Vectors(clustered(1_600, 16))
    folder, target = tmp_path / "0", tmp_path / "1"
    folder.mkdir()
    build_or_update(IndexConfig("hnsw"), source.only(range(1_500)), folder)
    half, random, seen = source.every.astype(np.float16), np.random.default_rng(0), set()
    shards, graph = (np.array([0]), np.array([len(half)]), np.array([half.ctypes.data])), FaissCandidates(folder)
    for share, correlation in ((0.7, 0), (0.3, 0), (0.5, 0.9), (0.3, 1.8), (0.05, 0)):
        mask = random.random(1_500) < share - correlation * source.every[:1_500, 0]
        within = SimpleNamespace(mask=lambda mask=mask: mask, count=mask.sum)
        for query in near(source)[:, None]:
            density, needed = graph.density(query, within), 20.5
            found = graph.nearest_if_dense(shards, query, 10, 30, needed, within)
            seen.add(0 if density < SPARSE else 1 if density < 1 else 2)
            if density < SPARSE:
                assert found is (TOO_FAR if share > 0.1 else None)
            else:
                expected = graph.nearest(shards, query, 10, 30, ceil(needed / min(density, 1)), within)
                assert [each.tolist() for each in found.scored[0]] == [each.tolist() for each in expected.scored[0]]
    assert seen == {0, 1, 2}
    update(source, folder, target, IndexConfig("hnsw"))
    every = SimpleNamespace(mask=lambda: np.ones(1_600, bool), count=lambda: 800)  # beside the graph is another one
    assert FaissCandidates(target).nearest_if_dense(shards, near(source)[:1], 10, 30, 20, every) is None


@pytest.mark.skipif(_native.kernels is None, reason="no compiler was there when visrec was installed")
def test_how_dense_a_filter_is_does_not_depend_on_what_is_deleted(monkeypatch, tmp_path):
    monkeypatch.setattr("vision_recs.indexes.hnsw._MOST_DELETED", 1.0)
    source, random = Vectors(clustered(1_500, 16)), np.random.default_rng(0)
    folder, target = tmp_path / "0", tmp_path / "1"
    folder.mkdir()
    build_or_update(IndexConfig("hnsw"), source, folder)
    alive = random.random(1_500) < 0.5
    update(source.only(np.flatnonzero(alive)), folder, target, IndexConfig("hnsw"))
    half, graph = source.every.astype(np.float16), FaissCandidates(target)
    shards = np.array([0]), np.array([len(half)]), np.array([half.ctypes.data])
    mask = alive & (random.random(1_500) < 0.5)
    within = SimpleNamespace(mask=lambda: mask, count=mask.sum)
    queries = near(source)[:, None]
    assert np.mean([graph.density(query, within) for query in queries]) == pytest.approx(1, abs=0.2)
    found = [graph.nearest_if_dense(shards, query, 10, 30, 20.5, within) for query in queries]
    assert None not in found
    assert sum(each is TOO_FAR for each in found) <= 8  # of 40; with a share of those alive, half of them


def test_many_new_vectors_that_are_alike_are_found_beside_a_graph(tmp_path):
    source = Vectors(clustered(1_500, 16))
    folder, target = tmp_path / "0", tmp_path / "1"
    folder.mkdir()
    build_or_update(IndexConfig("hnsw"), source, folder)
    collection = source.every[7] + 0.2 * np.random.default_rng(2).standard_normal((150, 16))
    now = Vectors(np.concatenate([source.every, normalize_or_raise(collection)]))
    _, stats = update(now, folder, target, IndexConfig("hnsw"))
    assert stats.in_delta == 150
    assert recall(now, open_index("hnsw", now, target), now.every[-100:]) >= 0.95


def test_what_was_verified_in_another_index_is_not_read_again(made_of, source, tmp_path):
    first, second = shutil.copytree(made_of("ivf-pq")[-1], tmp_path / "first"), tmp_path / "second"
    update(source.only(range(5, COUNT)), first, second, IndexConfig("ivf-pq"))
    for name, is_read in {"0.codes.npy": False, "deleted.npy": True}.items():
        data = (second / name).read_bytes()
        (second / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))  # of a linked file in both
        assert [str(second / name) in problem for problem in verify(second)] == [True]
        assert bool(verify(second, verified=first)) == is_read
        (second / name).write_bytes(data)
    (second / "0.codes.npy").unlink()
    (second / "0.codes.npy").write_bytes(bytes((first / "0.codes.npy").stat().st_size))
    assert verify(second, verified=first) == verify(second) != []
    assert verify(second, verified=tmp_path / "gone") == verify(second)


def test_many_small_changes_are_merged(source, tmp_path):
    folder = tmp_path / "0"
    folder.mkdir()
    build_or_update(IndexConfig("ivf-pq"), source.only(range(COUNT - 100)), folder)
    for step in range(1, 11):
        now = source.only(range(step * 5, COUNT - 100 + step * 10))
        target = tmp_path / str(step)
        update(now, folder, target, IndexConfig("ivf-pq"))
        folder = target
    assert len(list(folder.glob("*.codes.npy"))) < 8
    assert recall(now, open_index("ivf-pq", now, folder), near(now)) >= 0.94


def test_many_deletions_give_their_space_back(made_of, source, tmp_path):
    first, second = made_of("ivf-pq")[-1], tmp_path / "second"
    now = source.only(range(0, COUNT, 2))
    update(now, first, second, IndexConfig("ivf-pq"))
    (codes,) = second.glob("*.codes.npy")
    assert len(np.load(codes)) == COUNT // 2
    assert recall(now, open_index("ivf-pq", now, second), near(now)) >= 0.94


@pytest.mark.parametrize("name", OFTEN)
def test_a_catalog_that_has_more_than_doubled_gets_a_new_index(source, tmp_path, name):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    build_or_update(IndexConfig(name), source.only(range(COUNT // 3)), first)
    update(source, first, second, IndexConfig(name))
    assert trained_for(second) == COUNT


def test_another_configuration_or_another_space_is_built_anew(made_of, source, tmp_path):
    first = made_of("ivf-pq")[-1]
    for number, (now, config) in enumerate(
        [(source, IndexConfig("ivf-pq", seed=1)), (Vectors(clustered(COUNT, 16)), IndexConfig("ivf-pq"))]
    ):
        target = tmp_path / f"next{number}"
        update(now, first, target, config)
        assert read_profile(target)[0] != read_profile(first)[0]


def test_opening_reads_no_list(made_of, source):
    folder = made_of("ivf-pq")[-1]
    source.read.clear()
    index = open_index("ivf-pq", source, folder)
    assert source.read == []
    is_read = index.approximate.candidates.lists._is_read
    assert not is_read.any()
    index.search(SearchRequest(source.every[:1], 10))
    assert 0 < is_read.sum() < len(is_read)


def test_a_memory_that_fits_no_good_index_gets_the_smallest_one_and_hears_what_it_finds(monkeypatch, tmp_path):
    monkeypatch.setattr("vision_recs.indexes.autoselect._FLAT_NUMBERS", 1000)
    noise = Vectors(np.random.default_rng(0).standard_normal((3_000, 48)))
    name, stats = build_or_update(IndexConfig(max_memory=1_000, target_recall=0.9999), noise, tmp_path)
    assert name == "ivf-pq"
    assert stats.bytes_per_vector < 48 / 2
    assert not stats.target_recall_met
    assert 0.2 < stats.recall_at_10 < 0.9999


def test_a_graph_is_built_where_it_fits_and_no_lists_are_tried(monkeypatch, source, tmp_path):
    monkeypatch.setattr("vision_recs.indexes.autoselect._FLAT_NUMBERS", 1000)
    monkeypatch.setattr("vision_recs.indexes.ivf_pq.IvfPqIndexType.build", None)
    name, stats = build_or_update(IndexConfig(), source, tmp_path)
    assert name == "hnsw"
    assert stats.target_recall_met


def test_of_two_kinds_of_lists_the_clearly_faster_one_is_built(monkeypatch, tmp_path):
    monkeypatch.setattr("vision_recs.indexes.autoselect._FLAT_NUMBERS", 1000)
    monkeypatch.setattr("vision_recs.indexes.autoselect._MOST_IN_GRAPH", 1000)
    monkeypatch.setattr("vision_recs.indexes.autoselect._MANY_COLUMNS", 8)
    monkeypatch.setattr("vision_recs.indexes.autoselect._CLEARLY", 0.0)  # the last one, then
    vectors = Vectors(np.random.default_rng(0).standard_normal((1_100, 260)) * np.exp(-np.arange(260) / 8))
    name, stats = build_or_update(IndexConfig(), vectors, tmp_path)
    assert (name, stats.index_factory[:7]) == ("ivf-pq", "PCAR260")


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
    name, stats = build_or_update(IndexConfig(), source, tmp_path)
    assert (name, stats.index_factory, stats.recall_at_100) == ("flat", "Flat", 1.0)


def test_a_factory_string_that_faiss_does_not_know_is_refused(source, tmp_path):
    message = r"FAISS cannot build the index 'IVF16,Nonsense8' \(.*\); use another --index-type"
    with pytest.raises(IndexBuildError, match=message):
        build_or_update(IndexConfig("faiss:IVF16,Nonsense8"), source, tmp_path)


@pytest.mark.parametrize("name", ["faiss", "faiss:"])
def test_faiss_without_a_factory_string_is_refused(source, tmp_path, name):
    with pytest.raises(UnknownIndexType, match="takes a factory string; write it as faiss:IVF256,Flat"):
        build_or_update(IndexConfig(name), source, tmp_path)


@pytest.mark.parametrize("name", ["annoy", "IVF16,Flat", "", "flat:", "HNSW"])
def test_a_type_that_does_not_exist_is_refused(source, tmp_path, name):
    with pytest.raises(UnknownIndexType, match=f"there is no index type '{name}'; use auto, flat, hnsw, ivf-pq"):
        build_or_update(IndexConfig(name), source, tmp_path)


def test_the_effort_under_a_filter_is_between_those_of_the_shares_around_it():
    profile = SearchProfile((SearchParams(10, 32, 12),), filtered=((0.01, 1600), (0.1, 400), (1.0, 100)))
    shares = (0.009, 0.01, 0.0316227766, 0.1, 0.316227766, 1.0)
    assert [profile.filtered_effort(share) for share in shares] == [None, 1600, 800, 400, 200, 100]


def test_a_graph_with_hundreds_of_links_for_a_vector_is_walked_along_them(tmp_path):
    source = Vectors(clustered(600, 16))
    build_or_update(IndexConfig("faiss:PCA16,HNSW140,SQ8_direct_signed"), source, tmp_path)
    queries = near(source)
    found = FaissCandidates(tmp_path).candidates(queries, 30, 100)
    common = [len({*own.tolist()} & {*nearest(source, query, 10)}) for own, query in zip(found, queries, strict=True)]
    assert np.mean(common) > 9


def test_what_is_near_holds_the_nearest_and_nothing_is_read(made, source):
    _, name, _, folder = made
    index = open_index(name, source, folder)
    queries = near(source, 20)
    before = len(source.read)
    found = index.near(queries, 60)
    assert len(source.read) == before
    common = [len({*own.positions.tolist()} & {*nearest(source, q, 60)}) for own, q in zip(found, queries, strict=True)]
    assert np.mean(common) > 55
    ranks = [
        (source.every @ q > np.median(source.every[own.lasts] @ q)).sum() for own, q in zip(found, queries, strict=True)
    ]
    assert 30 < np.median(ranks) < 120


def test_what_is_near_may_be_everything(made, source):
    _, name, _, folder = made
    index, query = open_index(name, source, folder), near(source, 1)
    (every,) = index.near(query, COUNT + 1)
    assert sorted(every.positions.tolist()) == list(range(COUNT))
    assert not len(every.lasts)
    (all_but_one,) = index.near(query, COUNT - 1)
    assert all_but_one.lasts.tolist() == nearest(source, query[0], COUNT - 1)[-1:]


def test_an_array_that_holds_another_query_now_is_another_query(made, source):
    _, name, _, folder = made
    index = open_index(name, source, folder)
    buffer, other = near(source, 2)[:, None].copy()
    index.nearest(buffer, 200)
    buffer[:] = other
    assert index.nearest(buffer, 200)[0].scores == pytest.approx(index.nearest(other, 200)[0].scores, abs=0)
