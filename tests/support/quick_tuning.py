"""Indexes of tests are tuned with fewer queries than those of shops, in a third of the time."""

from collections.abc import Iterator

import pytest

QUERIES = 64


@pytest.fixture(scope="module", autouse=True)
def quick_tuning() -> Iterator[None]:
    """Tune the indexes that the tests of this module build in their own process with a quarter of the queries."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_QUERIES", "_FILTERED_QUERIES"):
            patch.setattr(f"vision_recs.indexes.autotune.{name}", QUERIES)
        yield
