"""SIGKILL at each call that changes something, or amid it; and a power cut there, which loses what was not flushed."""

import pytest
from fault_scenarios import SCENARIOS, copied, order, some
from parts import part_of

from vision_recs.store import Store

CHANGING = [scenario for scenario in SCENARIOS if scenario.name not in {"verify", "similar", "info", "evaluate"}]
KILLS_IN_CI, CUTS_IN_CI = 4, 1  # of a scenario


@pytest.fixture(params=CHANGING, ids=[scenario.name for scenario in CHANGING])
def scenario(request):
    return request.param


def test_graphs_grow_beside_the_large_one_and_become_part_of_it(process, places, tmp_path):
    place = copied(places / "grown delta graph", tmp_path / "place")
    assert process.run(order(("update", "more.jsonl"), place)) == 0
    stores = [each / "store" for each in (places / "delta graph", places / "grown delta graph", place)]
    assert [in_delta(store) for store in stores] == [6, 7, 0]
    first, second = (place / f"store/indexes/hnsw-{generation:06}/graph.links.npy" for generation in (1, 3))
    assert first.samefile(second)


def in_delta(store):
    with Store.open(store) as opened:
        return opened.manifest.in_index_delta


def test_some_kills_are_survived(trials, scenario):
    undisturbed = trials.undisturbed(scenario)
    assert trials.complaints(scenario, some(undisturbed.kills(), KILLS_IN_CI, scenario), undisturbed) == []


@pytest.mark.nightly
@pytest.mark.timeout(20_000)
def test_every_kill_is_survived(trials, scenario):
    undisturbed = trials.undisturbed(scenario)
    assert trials.complaints(scenario, part_of(undisturbed.kills()), undisturbed) == []


def test_some_power_cuts_are_survived(trials, scenario):
    undisturbed = trials.undisturbed(scenario)
    *cuts, at_the_end = undisturbed.power_losses()
    points = [*some(cuts, CUTS_IN_CI, scenario), at_the_end]
    assert trials.complaints_of_power_loss(scenario, points, undisturbed) == []


@pytest.mark.nightly
@pytest.mark.timeout(20_000)
def test_every_power_cut_is_survived(trials, scenario):
    undisturbed = trials.undisturbed(scenario)
    assert trials.complaints_of_power_loss(scenario, part_of(undisturbed.power_losses()), undisturbed) == []
