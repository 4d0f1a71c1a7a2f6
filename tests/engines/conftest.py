from importlib.util import find_spec
from pathlib import Path

import pytest
from engine_uris import KINDS, asking_at_once, empty_engines

HERE = Path(__file__).parent


DAILY = {
    "test_a_delta_writes_exactly_its_difference",
    "test_a_rollback_goes_to_the_generation_before_and_publishing_comes_back",
    "test_an_engine_leaves_the_items_that_a_filter_leaves_here",
    "test_answers_are_those_of_the_store",
    "test_drift_is_repaired",
    "test_killed_after_every_batch_it_goes_on_to_equal_content",
    "test_readers_see_one_generation_only_wherever_a_run_ends[milvus-making the index]",
}
"""What Milvus in a file is asked each time; a collection takes a second to make, so the rest waits for the night."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        is_daily = item.name in DAILY or item.originalname in DAILY
        if "[milvus" in item.nodeid and item.path.parent == HERE and not is_daily:
            item.add_marker(pytest.mark.nightly)


@pytest.fixture(scope="session", autouse=True)
def quick_milvus():
    if find_spec("milvus_lite") is None:
        yield
        return
    with asking_at_once():
        yield


@pytest.fixture(params=KINDS)
def new_uri(request, tmp_path):
    """What returns the URI of an empty engine, of each kind."""
    with empty_engines(request.param, tmp_path) as new:
        yield new


@pytest.fixture
def uri(new_uri):
    """The URI of an empty engine, of each kind."""
    return new_uri()
