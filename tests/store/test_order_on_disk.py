"""What is flushed before what: a manifest that is removed is gone for good before the files that it names change."""

import os
from pathlib import Path

import pytest
from fake_shop import index, shop_of

from vision_recs.store import garbage_collect
from vision_recs.store.layout import Layout
from vision_recs.store.lock import locked_folder

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the system does not list open files")


@pytest.fixture
def events(tmp_path, monkeypatch):
    """What is done to the store: ("fsync", "generations", names in it), ("replace", "items/000002.sqlite", ()) ..."""
    done = []

    def note(name, path):
        path = os.path.realpath(path)
        if path.startswith(f"{tmp_path}/") and not path.startswith(f"{tmp_path}/tmp/"):
            names = tuple(sorted(os.listdir(path))) if name == "fsync" and os.path.isdir(path) else ()  # noqa: PTH112, PTH208
            done.append((name, os.path.relpath(path, tmp_path), names))

    def noting(name, real, path_of):
        def call(*args, **kwargs):
            path = path_of(args)
            result = real(*args, **kwargs)
            note(name, path)
            return result

        return call

    paths = {
        "fsync": lambda args: Path(f"/proc/self/fd/{args[0]}").readlink(),
        "replace": lambda args: args[1],
        "rename": lambda args: args[0],
        "unlink": lambda args: args[0],
    }
    for name, path_of in paths.items():
        monkeypatch.setattr(os, name, noting(name, getattr(os, name), path_of))
    return done


def flushed_names(events, path):
    return [set(names) for name, flushed, names in events if (name, flushed) == ("fsync", path)]


def first(events, *, of):
    return next(number for number, event in enumerate(events) if of(*event))


def test_a_manifest_of_a_dead_run_is_gone_for_good_before_other_files_of_its_generation_come(tmp_path, events):
    shop = shop_of(4)
    index(shop, tmp_path)
    manifests = tmp_path / "generations"
    (manifests / "000002.json").write_bytes((manifests / "000001.json").read_bytes())
    shop.items["item001"].attributes["price"] = 99
    events.clear()
    index(shop, tmp_path)
    flushed = first(
        events, of=lambda name, path, names: (name, path, names) == ("fsync", "generations", ("000001.json",))
    )
    placed = first(events, of=lambda _, path, __: "000002" in path and not path.startswith("generations"))
    assert flushed < placed
    assert (manifests / "000002.json").exists()


def test_garbage_collection_flushes_that_manifests_are_gone_before_it_removes_anything_else(tmp_path, events):
    shop = shop_of(4)
    for price in (1, 2, 3):
        shop.items["item001"].attributes["price"] = price
        index(shop, tmp_path)
    events.clear()
    garbage_collect(tmp_path)
    flushed = first(
        events, of=lambda name, path, names: (name, path, names) == ("fsync", "generations", ("000003.json",))
    )
    removed = first(events, of=lambda name, path, _: name != "fsync" and not path.startswith(("generations", "LOCK")))
    assert flushed < removed


def test_a_new_folder_has_its_lock_first_and_last_on_the_disk(tmp_path, events):
    layout = Layout(tmp_path / "shop")
    with locked_folder(layout):
        begun = {entry.name for entry in layout.root.iterdir()}
    assert {"LOCK", "generations"} < begun
    assert flushed_names(events, "shop") == [set(), {"LOCK"}, begun, {"LOCK"}]
    assert not layout.root.exists()
