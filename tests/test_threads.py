"""The threads of a process: by its cores, and by what the cgroups give that it is in."""

import os

import pytest

from vision_recs import threads


@pytest.fixture
def group(tmp_path, monkeypatch):
    """Let this process be in the group shop/web, and run on eight cores; return a function that writes its files.

    Each time that it asks, it is ten seconds later.
    """
    (tmp_path / "own").write_text("0::/shop/web\n4:cpu,cpuacct:/old\n2:memory:/shop\n", "utf-8")
    clock = iter(range(0, 1000, threads._KEPT))
    monkeypatch.setattr(threads, "monotonic", lambda: next(clock))
    threads._quota.cache_clear()
    monkeypatch.setattr(threads, "_OWN_GROUP", tmp_path / "own")
    monkeypatch.setattr(threads, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)

    def write(name, text):
        file = tmp_path / "groups" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")

    yield write
    threads._quota.cache_clear()


def test_without_a_quota_every_core_counts(group):
    assert threads.available_threads() == 8
    group("shop/web/cpu.max", "max 100000\n")
    assert threads.available_threads() == 8


def test_the_smallest_quota_of_the_groups_around_counts_rounded_up(group):
    group("shop/web/cpu.max", "600000 100000\n")
    group("shop/cpu.max", "250000 100000\n")
    assert threads.available_threads() == 3
    group("cpu.max", "1000 100000\n")
    assert threads.available_threads() == 1


def test_the_older_way_of_cgroups_counts_too(group):
    group("cpu/old/cpu.cfs_quota_us", "200000\n")
    group("cpu/old/cpu.cfs_period_us", "100000\n")
    assert threads.available_threads() == 2
    group("cpu/old/cpu.cfs_quota_us", "-1\n")
    assert threads.available_threads() == 8


def test_what_cannot_be_read_sets_no_bound(group):
    group("shop/web/cpu.max", "some\n")
    group("shop/cpu.max", "5 0\n")
    assert threads.available_threads() == 8


def test_a_quota_is_read_once_in_ten_seconds(group, monkeypatch):
    group("cpu.max", "200000 100000\n")
    for now, found in [(70, 2), (79, 2), (80, 3)]:
        monkeypatch.setattr(threads, "monotonic", lambda now=now: now)
        assert threads.available_threads() == found
        group("cpu.max", "300000 100000\n")
