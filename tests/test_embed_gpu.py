"""The script that waits for a GPU runs: on the CPU, with a network of a few thousand weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "embed_gpu.py"


def test_the_benchmark_of_gpus_measures_and_compares(tmp_path):
    options = ["--device", "cpu", "--models", "tiny", "--images", "8", "--rounds", "1"]
    done = subprocess.run(
        [sys.executable, SCRIPT, *options, "--output", tmp_path / "result.json"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    measured = json.loads((tmp_path / "result.json").read_text("utf-8"))
    tiny = measured["models"]["tiny"]
    rates = {name: tiny[name] for name in ("decode", "encode", "model", "end_to_end", "loop")}
    assert all(rate > 0 for rate in rates.values())
    allowed = min(tiny["model"], tiny["decode"])
    assert abs(tiny["of_allowed"] - tiny["end_to_end"] / allowed) < 0.05  # of rates that are rounded
    assert tiny["least_cosine"] > 0.999
    assert measured["images"] == 8
    assert "cpu" in measured["device"]
