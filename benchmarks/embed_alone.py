"""Benchmark: what one image costs alone, as one that a shopper uploads, beside its share of a batch.

python benchmarks/embed_alone.py --work DIR [--rounds N] [--output FILE]

Each encoder computes one image, and a batch of as many as its runtime takes at a time, in turn, on one thread, and the
time is that of the processor. So "alone" is 1 where an image costs the same, whatever waits beside it. Also measured is
what a few images together cost each: those that arrive at a server while others are computed. The weights of CLIP are
random, from a seed, which changes no rate. Needs `pip install visrec[clip]` for CLIP.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from embedding.models import MODELS, make_weights
from machine import provenance

from vision_recs.encoders import load_encoder
from vision_recs.types import Encoder, Pixels

_KEYS = ("lite0", "clip")
_TOGETHER = (1, 2, 4, 8)


def main() -> None:
    """Measure each encoder, print what was found, and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="the weights are kept here")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    found = {key: _measured(key, arguments.work, arguments.rounds) for key in _KEYS}
    for each in found.values():
        print(
            f"{each['title']}, {each['runtime']}: one image {each['alone_ms']} ms, its share of a batch of "
            f"{each['batch']} {each['share_ms']} ms; {each['ratio']} times as much ({each['within_rounds']})"
        )
    packages = ("openvino", "torch", "open_clip_torch", "numpy")
    results = {"encoders": found, "when": datetime.now(UTC).isoformat(timespec="seconds"), **provenance(*packages)}
    arguments.output.write_text(json.dumps(results, indent=1) + "\n")


def _measured(key: str, work: Path, rounds: int) -> dict[str, Any]:
    """Return the milliseconds of one image of the model *key*, alone and beside others.

    One encoder answers, and another one embeds a catalog, which keeps no graph for one image.
    """
    answering, embedding = (
        load_encoder(MODELS[key].name, weights=make_weights(key, work), device="cpu", threads=1) for _ in range(2)
    )
    batch = getattr(embedding, "batch_size", 32)
    height, width = embedding.spec.preprocess.size
    pixels = np.random.default_rng(0).integers(0, 256, (batch, height, width, 3), np.uint8)
    encoders = dict.fromkeys(_TOGETHER, answering) | {batch: embedding}
    for size, encoder in encoders.items():  # compiles, and warms up
        encoder.encode(pixels[:size])
    times: dict[int, list[float]] = {size: [] for size in encoders}
    for _ in range(rounds):
        for size, encoder in encoders.items():
            times[size].append(_milliseconds(encoder, pixels[:size], max(1, 8 // size)) / size)
    return _summary(key, embedding, times)


def _summary(key: str, encoder: Encoder, times: dict[int, list[float]]) -> dict[str, Any]:
    batch = max(times)
    ratios = sorted(alone / share for alone, share in zip(times[1], times[batch], strict=True))
    return {
        "title": MODELS[key].title,
        "runtime": getattr(encoder, "runtime", ""),
        "batch": batch,
        "alone_ms": round(median(times[1]), 2),
        "share_ms": round(median(times[batch]), 2),
        "ratio": round(median(ratios), 3),
        "within_rounds": [round(ratios[0], 3), round(ratios[-1], 3)],
        "together_ms_each": {size: round(median(each), 2) for size, each in times.items()},
    }


def _milliseconds(encoder: Encoder, pixels: Pixels, repeats: int) -> float:
    """Return the processor time of one call."""
    began = time.process_time()
    for _ in range(repeats):
        encoder.encode(pixels)
    return 1e3 * (time.process_time() - began) / repeats


if __name__ == "__main__":
    main()
