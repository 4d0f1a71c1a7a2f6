import json
import random
import re

import pytest

from vision_recs.errors import SpaceMismatch, StoreDamaged, UnknownFormat
from vision_recs.file_formats import dump_checksummed, load_checksummed
from vision_recs.indexes import open_index, verify

FILES = ["index.json", "flat.faiss", "positions.npy"]


def rewrite_manifest(directory, **changes):
    manifest = directory / "index.json"
    manifest.write_bytes(dump_checksummed({**load_checksummed(manifest.read_bytes()), **changes}))


def test_the_manifest_says_what_the_index_was_built_from(flat_folder):
    manifest = json.loads((flat_folder / "index.json").read_text())
    assert {key: manifest[key] for key in ("format", "type", "space", "generation", "vectors", "dim")} == {
        "format": 1,
        "type": "flat",
        "space": "space",
        "generation": 1,
        "vectors": 50,
        "dim": 8,
    }
    assert manifest["config"] == {"index_type": "flat", "max_memory": None, "target_recall": 0.95, "seed": 0}
    assert manifest["stats"]["index_factory"] == "Flat"
    sizes = {path.name: path.stat().st_size for path in flat_folder.iterdir() if path.name != "index.json"}
    assert {name: entry["size"] for name, entry in manifest["files"].items()} == sizes


def test_the_folder_holds_three_files_and_all_is_well(flat_folder):
    assert sorted(path.name for path in flat_folder.iterdir()) == sorted(FILES)
    assert verify(flat_folder) == []


@pytest.mark.parametrize("name", FILES)
def test_verify_notices_any_flipped_bit(name, flat_folder):
    path = flat_folder / name
    data = path.read_bytes()
    draw = random.Random(name)
    for _ in range(200):
        altered = bytearray(data)
        altered[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes(altered)
        (problem,) = verify(flat_folder)
        assert str(path) in problem
    path.write_bytes(data)
    assert verify(flat_folder) == []


@pytest.mark.parametrize("name", FILES)
def test_verify_names_a_missing_file_and_opening_refuses(name, flat_folder, random_source):
    (flat_folder / name).unlink()
    (problem,) = verify(flat_folder)
    assert str(flat_folder / name) in problem
    with pytest.raises(StoreDamaged, match=re.escape(str(flat_folder / name))):
        open_index("flat", random_source(50, 8), flat_folder)


def test_verify_names_a_file_that_does_not_belong_there(flat_folder):
    (flat_folder / "notes.txt").write_text("hello")
    assert verify(flat_folder) == [f"{flat_folder / 'notes.txt'} does not belong to the index"]


@pytest.mark.parametrize("name", FILES[1:])
def test_a_file_that_was_cut_off_is_refused_before_it_is_mapped(name, flat_folder, random_source):
    data = (flat_folder / name).read_bytes()
    (flat_folder / name).write_bytes(data[:-1])
    with pytest.raises(StoreDamaged, match=f"{name} has {len(data) - 1} bytes, not {len(data)}"):
        open_index("flat", random_source(50, 8), flat_folder)


def test_an_index_of_another_space_is_refused_naming_both(flat_folder, random_source):
    with pytest.raises(SpaceMismatch, match=r"space space \(8 columns\).*other \(8 columns\).*visrec index"):
        open_index("flat", random_source(50, 8, fingerprint="other"), flat_folder)


def test_an_index_of_another_dim_is_refused_naming_both(flat_folder, random_source):
    with pytest.raises(SpaceMismatch, match=r"\(8 columns\).*\(9 columns\)"):
        open_index("flat", random_source(50, 9), flat_folder)


def test_an_index_of_another_generation_is_refused_naming_both(flat_folder, random_source):
    with pytest.raises(StoreDamaged, match=r"generation 1, the store is at 2; .*visrec index"):
        open_index("flat", random_source(50, 8, generation=2), flat_folder)


def test_the_folder_of_another_index_type_is_refused(flat_folder, random_source):
    rewrite_manifest(flat_folder, type="hnsw")
    with pytest.raises(StoreDamaged, match="holds an index of type 'hnsw', not 'flat'"):
        open_index("flat", random_source(50, 8), flat_folder)


def test_a_folder_of_a_newer_visrec_is_refused(flat_folder, random_source):
    rewrite_manifest(flat_folder, format=2)
    with pytest.raises(UnknownFormat, match="newer visrec"):
        open_index("flat", random_source(50, 8), flat_folder)
    assert len(verify(flat_folder)) == 1
