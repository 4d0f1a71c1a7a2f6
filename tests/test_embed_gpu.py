"""The script that waits for a GPU runs: on the CPU, with a network of a few thousand weights."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "embed_gpu.py"


def test_the_benchmark_of_gpus_measures_and_compares(tmp_path, monkeypatch):
    """It runs in the process of the tests: to import what it needs takes ten times as long as to run it."""
    options = ["--device", "cpu", "--models", "tiny", "--images", "8", "--rounds", "1"]
    monkeypatch.syspath_prepend(SCRIPT.parent)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *options, "--output", str(tmp_path / "result.json")])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    measured = json.loads((tmp_path / "result.json").read_text("utf-8"))
    tiny = measured["models"]["tiny"]
    rates = {name: tiny[name] for name in ("decode", "encode", "model", "end_to_end", "loop")}
    assert all(rate > 0 for rate in rates.values())
    allowed = min(tiny["model"], tiny["decode"])
    assert abs(tiny["of_allowed"] - tiny["end_to_end"] / allowed) < 0.05  # of rates that are rounded
    assert tiny["least_cosine"] > 0.999
    assert measured["images"] == 8
    assert "cpu" in measured["device"]
