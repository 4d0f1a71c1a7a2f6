import subprocess
import sys
from pathlib import Path

import pytest

from vision_recs.errors import UnknownIndexType
from vision_recs.indexes import (
    INDEX_TYPES,
    ExactIndex,
    IndexConfig,
    build_or_update,
    find_index_type,
    open_index,
    register_index_type,
    require_index_type,
)
from vision_recs.indexes.config import SearchParams, SearchProfile
from vision_recs.jobs import IndexOptions
from vision_recs.types import SearchRequest

UNKNOWN = "there is no index type 'annoy'; use auto, flat, hnsw, ivf-pq, or faiss: and a factory string"


@pytest.fixture
def own_types(monkeypatch):
    own = {name: location for name, location in INDEX_TYPES.items() if name != "toy"}  # of the contract suite
    monkeypatch.setattr("vision_recs.indexes.base.INDEX_TYPES", own)


def test_there_are_an_exact_and_three_approximate_index_types():
    assert {"flat", "hnsw", "ivf-pq", "faiss"} <= set(INDEX_TYPES)


@pytest.mark.usefixtures("own_types")
def test_an_unknown_index_type_is_refused_with_the_names_that_exist(random_source, tmp_path):
    for use in (
        lambda: find_index_type("annoy"),
        lambda: require_index_type("annoy"),
        lambda: IndexOptions(index_type="annoy"),  # before anything is embedded
        lambda: open_index("annoy", random_source(1, 2), tmp_path),
        lambda: build_or_update(IndexConfig("annoy"), random_source(1, 2), tmp_path),
    ):
        with pytest.raises(UnknownIndexType, match=UNKNOWN):
            use()


@pytest.mark.usefixtures("own_types")
def test_a_registered_index_type_is_built_and_opened_by_its_name(random_source, tmp_path):
    register_index_type("toy", "toy_index:ToyIndexType")
    source = random_source(30, 4)
    assert find_index_type("toy").name == "toy"
    build_or_update(IndexConfig("toy"), source, tmp_path)
    request = SearchRequest(source.every[:3], 5)
    assert open_index("toy", source, tmp_path).search(request) == ExactIndex(source).search(request)


@pytest.mark.usefixtures("own_types")
def test_an_index_type_has_to_be_registered_by_its_own_name():
    register_index_type("other", "toy_index:ToyIndexType")
    with pytest.raises(UnknownIndexType, match="toy_index:ToyIndexType is named 'toy', not 'other'"):
        find_index_type("other")


@pytest.mark.usefixtures("own_types")
@pytest.mark.parametrize("name", ["flat", "auto", "exact", "faiss:x"])
def test_a_name_that_visrec_uses_is_not_registered(name):
    with pytest.raises(ValueError, match=f"'{name}' cannot be registered"):
        register_index_type(name, "toy_index:ToyIndexType")


def test_an_installed_package_offers_an_index_type_to_the_program(visrec, sample_images, tmp_path):
    package = tmp_path / "site" / "toy_index-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: toy_index\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[visrec.index_types]\ntoy = toy_index:ToyIndexType\n")
    paths = {"PYTHONPATH": f"{package.parent}:{Path(__file__).parents[1] / 'support'}"}
    shop, store = tmp_path / "shop", tmp_path / "store"
    shop.mkdir()
    for name in ("mug-01-1.jpg", "mug-02-1.jpg"):
        (shop / name).symlink_to(sample_images / name)
    indexed = visrec("index", shop, "--store", store, "--encoder", "color", "--index-type", "toy", **paths)
    assert indexed.returncode == 0, indexed.stderr
    found = visrec("similar", "mug-01-1", "--store", store, **paths)
    assert found.returncode == 0, found.stderr
    assert "mug-02-1" in found.stdout
    without = visrec("similar", "mug-01-1", "--store", store)
    assert without.stderr.startswith("visrec: there is no index type 'toy'; use auto, flat, hnsw, ivf-pq")


def test_exact_search_needs_no_folder(random_source):
    source = random_source(3, 4)
    (matches,) = ExactIndex(source).search(SearchRequest(source.every[2:3], 1))
    assert [match.id for match in matches] == ["item000002"]


def test_importing_the_indexes_does_not_import_faiss():
    code = "import sys, vision_recs.indexes.base, vision_recs.indexes.exact; print('faiss' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"


def test_between_two_measured_depths_the_effort_lies_between_theirs():
    profile = SearchProfile((SearchParams(10, 16, 12), SearchParams(20, 32, 24), SearchParams(100, 30, 111)))
    wanted = {1: (16, 12), 10: (16, 12), 11: (18, 14), 16: (26, 20), 20: (32, 24), 60: (31, 68), 200: (60, 222)}
    found = {k: profile.params_for(k) for k in wanted}
    assert {k: (each.search_effort, each.num_candidates) for k, each in found.items()} == wanted
