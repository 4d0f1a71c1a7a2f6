"""The process dies, or the power goes, at each step of a run, one after the other."""

import contextlib
import os
import shutil
import stat
from pathlib import Path

import pytest
from crashing import Crash, crash_after
from fake_shop import FakeEncoder, Shop, content, index, shop_of, wanted

from vision_recs.errors import EmptyCatalog
from vision_recs.indexes import ExactIndex, hnsw, open_published
from vision_recs.jobs import IndexOptions, verify
from vision_recs.jobs import index as run_index
from vision_recs.store import Store, garbage_collect
from vision_recs.store import store as opening
from vision_recs.types import SearchRequest


def crashes(base, store, run, monkeypatch):
    """Run *run* on a copy of *base* in *store*, dead after 0 steps, after 1, and so on until it ends alive."""
    steps = 0
    while True:
        shutil.rmtree(store, ignore_errors=True)
        if base.exists():
            shutil.copytree(base, store)
        with monkeypatch.context() as patch:
            calls = crash_after(steps, patch)
            with contextlib.suppress(Crash):
                run()
            if len(calls) <= steps:
                return
        yield steps
        steps += 1


@pytest.fixture
def old():
    return shop_of(6)


@pytest.fixture
def new():
    """The shop with an item gone, another price, and three new images."""
    shop = shop_of(9)
    del shop.items["item002"]
    shop.items["item001"].attributes["price"] = 99
    return shop


def test_a_store_opens_whole_wherever_a_run_died_and_the_next_run_ends_it(tmp_path, old, new, monkeypatch):
    base, store = tmp_path / "base", tmp_path / "index"
    index(old, base)
    before, after = wanted(old), wanted(new)
    found = []

    for _ in crashes(base, store, lambda: index(new, store), monkeypatch):
        found.append(content(store))
        assert found[-1] in (before, after)
        assert list(verify(store)) == []
        index(new, store)
        assert content(store) == after
        assert list(verify(store)) == []
    assert found[0] == before
    assert found[-1] == after
    assert found.count(before) > 20


@pytest.mark.nightly
def test_an_index_that_shares_files_with_the_one_before_is_whole_wherever_a_run_died(tmp_path, old, new, monkeypatch):
    base, store = tmp_path / "base", tmp_path / "index"
    monkeypatch.setattr(hnsw, "_LARGEST_DELTA", 9.0)
    monkeypatch.setattr(hnsw, "_MOST_DELETED", 1.0)
    run_index(old, base, encoder=FakeEncoder(), options=IndexOptions(index_type="hnsw", workers=2))
    for _ in crashes(base, store, lambda: index(new, store), monkeypatch):
        assert list(verify(store)) == []
        index(new, store)
        assert content(store) == wanted(new)
        assert list(verify(store)) == []
        with Store.open(store) as opened:
            assert opened.manifest.index_stats["in_delta"] == 3
            request = SearchRequest(opened.vectors(opened.positions()), 5)
            assert open_published(opened).search(request) == ExactIndex(opened).search(request)


def test_what_a_dead_run_left_does_not_contradict_the_next_that_dies_too(tmp_path, old, new, monkeypatch):
    base, store = tmp_path / "base", tmp_path / "index"
    index(old, base)
    with monkeypatch.context() as patch:  # the first run dies between its manifest and CURRENT
        replace = os.replace
        patch.setattr(os, "replace", lambda a, b: dies() if Path(b).name == "CURRENT" else replace(a, b))
        with pytest.raises(Crash):
            index(shop_of(20), base)
    assert list(verify(base)) == []
    whole = wanted(old), wanted(new)
    for _ in crashes(base, store, lambda: index(new, store), monkeypatch):
        assert list(verify(store)) == []
        assert content(store) in whole


def dies():
    raise Crash


def test_a_first_run_that_died_leaves_nothing_or_what_the_next_can_use(tmp_path, old, monkeypatch):
    store, whole = tmp_path / "index", wanted(old)
    for _ in crashes(tmp_path / "none", store, lambda: index(old, store), monkeypatch):
        if (store / "CURRENT").exists():
            assert content(store) == whole
        shards = list((store / "shards").glob("*"))
        encoder = FakeEncoder()
        index(old, store, encoder)
        assert encoder.encoded <= 6 + 1 - 4 * bool(shards)  # 1 for the canary, and a finished shard held 4 or 2
        assert content(store) == whole


def test_a_first_run_that_died_while_it_cleaned_up_is_no_hindrance(tmp_path, old, monkeypatch):
    store = tmp_path / "index"

    def fail():
        with contextlib.suppress(EmptyCatalog):
            index(Shop(), store)

    for _ in crashes(tmp_path / "none", store, fail, monkeypatch):
        assert index(old, store).items == 6


def test_a_store_is_whole_wherever_the_collection_of_garbage_died(tmp_path, old, new, monkeypatch):
    base, store = tmp_path / "base", tmp_path / "index"
    index(old, base)
    index(new, base)
    index(new, base, FakeEncoder(turn=1))

    before, after = wanted(new, FakeEncoder(turn=1)), wanted(old)
    for _ in crashes(base, store, lambda: garbage_collect(store), monkeypatch):
        assert content(store) == before
        assert list(verify(store)) == []
        index(old, store)  # uses what is left of the older shards
        assert content(store) == after
        assert list(verify(store)) == []


class Disk:
    """Notices what is published before it is on the disk."""

    def __init__(self, monkeypatch):
        self.flushed: set[tuple[int, int]] = set()
        self.dirty: set[Path] = set()  # folders whose new names are not on the disk
        self.published: list[Path] = []
        real_fsync, real_replace, real_rename = os.fsync, os.replace, os.rename

        def fsync(descriptor):
            real_fsync(descriptor)
            self.flushed.add(identity(os.fstat(descriptor)))
            self.dirty = {folder for folder in self.dirty if identity(folder.stat()) not in self.flushed}

        def moved(real):
            def call(source, target, **kwargs):
                self.check(Path(source), Path(target))
                real(source, target, **kwargs)
                if Path(source).is_relative_to(Path(target).parent.parent / "tmp"):
                    self.flushed.discard(identity(Path(target).parent.stat()))
                    self.dirty.add(Path(target).parent)

            return call

        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(os, "replace", moved(real_replace))
        monkeypatch.setattr(os, "rename", moved(real_rename))

    def check(self, source, target):
        if "tmp" in target.parts[-3:]:
            return  # on its way out
        for path in [source, *(source.iterdir() if source.is_dir() else [])]:
            assert identity(path.stat()) in self.flushed, f"{path} was published before it was on the disk"
        if target.name == "CURRENT":
            assert self.dirty == set(), "CURRENT names what is not on the disk"
        self.published.append(target)


def identity(status: os.stat_result):
    # a file that is written again after it was flushed has another size or time
    changed = () if stat.S_ISDIR(status.st_mode) else (status.st_size, status.st_mtime_ns)
    return status.st_dev, status.st_ino, *changed


def test_nothing_is_published_before_it_is_on_the_disk(tmp_path, old, new, monkeypatch):
    disk = Disk(monkeypatch)
    for shop in (old, new):
        index(shop, tmp_path / "index")
    names = [path.relative_to(tmp_path / "index").parts[0] for path in disk.published]
    once = ["items", "skipped", "attributes", "indexes", "generations", "CURRENT"]
    assert names == ["shards", "shards", *once, "shards", *once]
    assert disk.dirty == set()


def test_a_new_folder_is_itself_on_the_disk(tmp_path, old, monkeypatch):
    disk = Disk(monkeypatch)
    index(old, tmp_path / "index")
    assert identity(tmp_path.stat()) in disk.flushed


def test_new_folders_above_the_store_are_on_the_disk_too(tmp_path, old, monkeypatch):
    disk = Disk(monkeypatch)
    index(old, tmp_path / "a" / "b" / "index")
    for folder in (tmp_path, tmp_path / "a", tmp_path / "a" / "b"):
        assert identity(folder.stat()) in disk.flushed


def test_the_names_of_the_folders_are_on_the_disk_before_anything_lies_in_them(tmp_path, old, monkeypatch):
    disk = Disk(monkeypatch)
    root, fsync, check = tmp_path / "index", os.fsync, disk.check
    on_the_disk: set[str] = set()
    root.mkdir()

    def noted(descriptor):
        fsync(descriptor)
        if identity(os.fstat(descriptor)) == identity(root.stat()):
            on_the_disk.update(path.name for path in root.iterdir())

    def checked(source, target):
        assert target.relative_to(root).parts[0] in {"CURRENT", "tmp"} | on_the_disk
        check(source, target)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(disk, "check", checked)
    index(old, root)
    assert {"generations", "items", "shards", "CURRENT"} <= on_the_disk


def test_a_reader_that_is_overtaken_opens_the_next_generation(tmp_path, old, new, monkeypatch):
    index(old, tmp_path)
    current = (tmp_path / "CURRENT").read_bytes()
    index(new, tmp_path)
    garbage_collect(tmp_path)
    newest = (tmp_path / "CURRENT").read_bytes()
    (tmp_path / "CURRENT").write_bytes(current)
    read = opening.read_current

    def overtaken(read_from):
        found = read(read_from)
        read_from.current.write_bytes(newest)
        return found

    monkeypatch.setattr(opening, "read_current", overtaken)
    assert Store.open(tmp_path).generation == 2
