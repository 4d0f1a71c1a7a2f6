"""Long tests in parts: all parts together are the whole."""

import pytest
from parts import part_of, part_of_time, seed


def test_without_a_part_everything_is_tried(monkeypatch):
    for unset in (None, ""):
        monkeypatch.delenv("VISREC_PART", raising=False)
        if unset is not None:
            monkeypatch.setenv("VISREC_PART", unset)
        assert part_of(range(5)) == [0, 1, 2, 3, 4]
        assert part_of_time(60) == 60


def test_every_trial_is_in_one_part(monkeypatch):
    found = []
    for part in (1, 2, 3):
        monkeypatch.setenv("VISREC_PART", f"{part}/3")
        found += part_of(iter(range(10)))
        assert part_of_time(60) == 20
    assert sorted(found) == list(range(10))


@pytest.mark.parametrize("text", ["0/3", "4/3"])
def test_a_part_that_there_is_not_is_refused(monkeypatch, text):
    monkeypatch.setenv("VISREC_PART", text)
    with pytest.raises(ValueError, match="write it as 3/10"):
        part_of(range(3))


def test_a_seed_may_be_named(monkeypatch):
    monkeypatch.setenv("VISREC_SEED", "7")
    assert seed() == 7
    monkeypatch.setenv("VISREC_SEED", "")
    assert seed() != seed()
