"""Each call to the kernel that a command makes fails once, or the disk is full from it on.

Whatever fails: the command ends, with one sentence or as if nothing had been; the store is whole; the same command, run
again, ends the work, and nothing of the first run is left lying about.
"""

import pytest
from fault_points import share_of
from fault_scenarios import SCENARIOS, some
from parts import part_of

IN_CI = 3  # points of a scenario


@pytest.fixture(params=SCENARIOS, ids=[scenario.name for scenario in SCENARIOS])
def scenario(request):
    return request.param


def test_a_share_of_all_failing_calls_is_survived(trials, scenario):
    undisturbed = trials.undisturbed(scenario)
    points = some(share_of(undisturbed.faults()), IN_CI, scenario)
    assert trials.complaints(scenario, points, undisturbed) == []


@pytest.mark.nightly
@pytest.mark.timeout(20_000)
def test_every_failing_call_is_survived(trials, scenario):
    undisturbed = trials.undisturbed(scenario)
    assert trials.complaints(scenario, part_of(undisturbed.faults()), undisturbed) == []
