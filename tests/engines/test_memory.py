"""What publishing takes of the memory: not the catalog."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
DIM = 512
STORE = f"""
import sys
import numpy as np
from nearest.shop import write_shop
from vision_recs.vectors import normalize_or_raise

random, count = np.random.default_rng(0), int(sys.argv[2])
blocks = [normalize_or_raise(random.standard_normal((10_000, {DIM}))) for _ in range(count // 10_000)]
write_shop(sys.argv[1], blocks, config=None, numbers=range(count)).close()
"""
PUBLISH = """
import json, sys
from engines import published

print(json.dumps(published(sys.argv[1], sys.argv[2])))
"""


def run(code, *arguments):
    """Return what the program *code* prints, which imports from the benchmarks."""
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r}){code}", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def anonymous(folder, count):
    """Return the most anonymous memory, in MB, of a first publication of *count* images to LanceDB."""
    run(STORE, folder / "store", count)
    report = json.loads(run(PUBLISH, f"lance:{folder / 'engine'}", folder / "store"))
    assert report["inserted"] == count
    assert {"publishing", "making the index", "verifying records", "verifying answers"} < set(report["anonymous_mb"])
    return max(report["anonymous_mb"].values())


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_the_memory_of_publishing_grows_by_less_than_the_vectors(tmp_path):
    """LanceDB reads ahead where it may, and glibc keeps what threads have freed: they took twice the vectors."""
    pytest.importorskip("lancedb")
    few, many = 30_000, 90_000
    sizes = []
    for count in (few, many):
        (folder := tmp_path / str(count)).mkdir()
        sizes.append(anonymous(folder, count) << 20)
    vectors = 2 * DIM  # bytes each, as float16
    assert sizes[1] - sizes[0] < (many - few) * vectors, sizes
