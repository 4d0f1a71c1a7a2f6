import json
import random
import re

import pytest

from vision_recs.checksummed_json import dump_checksummed, load_checksummed
from vision_recs.errors import SpaceMismatch, StoreDamaged, UnknownFormat
from vision_recs.indexes import open_index, verify

FILES = ["index.json", "flat.faiss", "positions.npy"]


def relabel(directory, **changes):
    label = directory / "index.json"
    label.write_bytes(dump_checksummed({**load_checksummed(label.read_bytes()), **changes}))


def test_the_label_says_what_the_index_was_built_from(flat_folder):
    label = json.loads((flat_folder / "index.json").read_text())
    assert {key: label[key] for key in ("format", "name", "fingerprint", "generation", "vectors", "dim")} == {
        "format": 1,
        "name": "flat",
        "fingerprint": "space",
        "generation": 1,
        "vectors": 50,
        "dim": 8,
    }
    sizes = {path.name: path.stat().st_size for path in flat_folder.iterdir() if path.name != "index.json"}
    assert {name: entry["size"] for name, entry in label["files"].items()} == sizes


def test_the_folder_holds_three_files_and_all_is_well(flat_folder):
    assert sorted(path.name for path in flat_folder.iterdir()) == FILES
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
    assert verify(flat_folder) == [f"{flat_folder / 'notes.txt'} is no file of the engine 'flat'"]


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


def test_the_folder_of_another_engine_is_refused(flat_folder, random_source):
    relabel(flat_folder, name="hnsw")
    with pytest.raises(StoreDamaged, match="holds the engine 'hnsw', not 'flat'"):
        open_index("flat", random_source(50, 8), flat_folder)


def test_a_folder_of_a_newer_visrec_is_refused(flat_folder, random_source):
    relabel(flat_folder, format=2)
    with pytest.raises(UnknownFormat, match="newer visrec"):
        open_index("flat", random_source(50, 8), flat_folder)
    assert len(verify(flat_folder)) == 1
