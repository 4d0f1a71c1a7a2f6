"""The worker of visrec and its stages, and that of the usual loop: `-m embedding.contestants visrec|loop MODEL WORK`.

Loading a model is not timed for anyone, nor is starting a process; everything else is.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedding.images import first_files
from embedding.models import MODELS, load_torch, make_weights
from embedding.workers import serve

_LOOP_BATCH = 32
_ENCODE_BATCH = 256
Decode = Callable[[bytes, Any], NDArray[np.uint8]]


class Visrec:
    """visrec end to end, and each of its stages with the whole machine to itself."""

    def __init__(self, key: str, work: Path) -> None:
        """Load the encoder, from a warm cache if it was loaded before."""
        import vision_recs

        self._work = work
        self._encoder = vision_recs.load_encoder(MODELS[key].name, weights=make_weights(key, work), device="cpu")
        self._pixels: tuple[tuple[str, int], NDArray[np.uint8]] | None = None

    @property
    def runtime(self) -> str:
        """What computes the vectors."""
        return self._encoder.runtime

    def embed(self, where: str, count: int) -> dict[str, object]:
        """Time the whole call of `vision_recs.embed` into a new store; *count* images must come out."""
        import vision_recs

        store = tempfile.mkdtemp(dir=self._work, prefix="store-")
        started = perf_counter()
        report = vision_recs.embed(where, store, encoder=self._encoder)
        seconds = perf_counter() - started
        shutil.rmtree(store)
        if report.embedded != count:
            raise ValueError(f"{report.embedded} images of {count} were embedded")
        return {
            "seconds": seconds,
            "reported": report.images_per_second,
            "skipped": report.skipped,
            "stages": dict(report.stages),
            "bottleneck": report.bottleneck,
        }

    def prepare(self, where: str, count: int) -> dict[str, object]:
        """Time read, digest, decode and resize by our own path, on every core, and nothing else."""
        return self._prepare(where, count, decode_fast)

    def prepare_fully(self, where: str, count: int) -> dict[str, object]:
        """Time the same where Pillow decodes every pixel of an image."""
        return self._prepare(where, count, decode_fully)

    def _prepare(self, where: str, count: int, decode: Decode) -> dict[str, object]:
        config = self._encoder.spec.preprocess

        def work(files: list[Path]) -> None:
            for file in files:
                data = file.read_bytes()
                hashlib.sha256(data).digest()
                decode(data, config)

        files = first_files(Path(where), count)
        threads = os.cpu_count() or 1
        started = perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, [files[start::threads] for start in range(threads)]))
        return {"seconds": perf_counter() - started}

    def encode(self, where: str, count: int) -> dict[str, object]:
        """Time the encoder alone, on pixels that were prepared before."""
        if self._pixels is None or self._pixels[0] != (where, count):
            config = self._encoder.spec.preprocess
            files = first_files(Path(where), count)
            self._pixels = (where, count), np.stack([decode_fast(file.read_bytes(), config) for file in files])
        pixels = self._pixels[1]
        started = perf_counter()
        for first in range(0, count, _ENCODE_BATCH):
            self._encoder.encode(pixels[first : first + _ENCODE_BATCH])
        return {"seconds": perf_counter() - started}


def decode_fast(data: bytes, config: Any) -> NDArray[np.uint8]:  # noqa: ANN401 - visrec is imported late
    """Return the pixels that visrec embeds."""
    from vision_recs import images

    return images.load(data, config)


def decode_fully(data: bytes, config: Any) -> NDArray[np.uint8]:  # noqa: ANN401 - as above
    """Return the pixels by way of the whole image: Pillow's decoder, then Pillow's resize."""
    from PIL import Image

    from vision_recs import images

    return images.prepare(Image.open(BytesIO(data)).convert("RGB"), config)


class Loop:
    """What most programs do: Pillow, the library's own transform, PyTorch in float32 with its default threads."""

    def __init__(self, key: str, work: Path) -> None:
        """Load the module and its transform."""
        self._module, self._transform = load_torch(key, make_weights(key, work))

    def embed(self, where: str, count: int) -> dict[str, object]:
        """Time the loop; its vectors stay in memory."""
        import torch
        from PIL import Image

        files = first_files(Path(where), count)
        vectors = []
        started = perf_counter()
        with torch.inference_mode():
            for first in range(0, count, _LOOP_BATCH):
                batch = [self._transform(Image.open(file).convert("RGB")) for file in files[first:][:_LOOP_BATCH]]
                features = self._module(torch.stack(batch))
                vectors.append(torch.nn.functional.normalize(features).numpy())
        return {"seconds": perf_counter() - started}


def _load(kind: str, key: str, work: Path) -> tuple[object, Mapping[str, Callable[..., object]]]:
    if kind == "loop":
        return {}, {"embed": Loop(key, work).embed}
    visrec = Visrec(key, work)
    tasks = {
        "embed": visrec.embed,
        "prepare": visrec.prepare,
        "prepare_fully": visrec.prepare_fully,
        "encode": visrec.encode,
    }
    return {"runtime": visrec.runtime}, tasks


if __name__ == "__main__":
    serve(lambda: _load(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
