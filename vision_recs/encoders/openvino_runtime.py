"""Runs an image backbone with OpenVINO on the CPU: several images at a time, each on one thread.

A backbone is converted once, with its normalization as part of the graph, and kept by `model_cache`; from then on no
torch is needed.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from vision_recs.encoders.loading import Precision
from vision_recs.encoders.looking import Regions, split
from vision_recs.encoders.model_cache import CachedModel
from vision_recs.errors import DeviceUnavailable
from vision_recs.types import EncoderSpec, Pixels, Vectors

# OpenVINO sends statistics to its maker's servers when it is imported and when it converts. A shop did not agree to
# that: without this package it has nothing to send them with, and everything else works.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type] # None is how Python marks an absent module

import openvino as ov  # noqa: E402 - after the line above

if TYPE_CHECKING:
    from vision_recs.encoders.backbone import ImageBackbone

_CONVOLUTIONAL_BATCH: Final = 4
"""Images that one thread computes at a time: more do not fit its cache, fewer read the weights too often."""
_TRANSFORMER_BATCH: Final = 16
"""The same where all is matrix products of many weights and small images: a third faster than 4 at a time."""
_ALONE: Final = 1.5
"""How many times as long an image takes alone, at most, as it does in a batch."""


class OpenVinoEncoder:
    """An Encoder that computes on the CPU with OpenVINO, in bfloat16 where the processor has it, else in float32.

    It has a graph for one image, and one for a batch, which is compiled when the first batch comes: a batch costs the
    same however few images are in it.

    `encode` may be called from several threads; they take turns, since one call keeps all cores busy. The vector of an
    image does not depend on the images beside it.
    """

    def __init__(self, model: CachedModel, *, precision: Precision = "auto", threads: int | None = None) -> None:
        """Compile *model*, or take what was compiled from it before; compute with *threads*, else one for each core.

        Raises DeviceUnavailable for bf16 where there is none, ModelDamaged where a file of *model* was altered, and
        RuntimeError where OpenVINO cannot use it.
        """
        self._core, self._model = ov.Core(), model
        self._spec = model.spec
        self.reference_canary = model.canary
        self._precision = _choose_precision(self._core, precision)
        if threads is None:
            threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._threads = threads
        self._batch = _CONVOLUTIONAL_BATCH if model.is_convolutional else _TRANSFORMER_BATCH
        self._queues: dict[int, ov.AsyncInferQueue] = {}  # by the images in a batch
        self._lock = threading.Lock()
        self._queue(1)

    @property
    def spec(self) -> EncoderSpec:
        """What decides the vectors."""
        return self._spec

    @property
    def device(self) -> str:
        """Where the vectors are computed."""
        return "cpu"

    @property
    def runtime(self) -> str:
        """What computes the vectors, and how precisely."""
        return f"openvino {self._precision}"

    @property
    def batch_size(self) -> int:
        """How many images are best given at a time: enough for every thread several times over."""
        return 8 * self._batch * self._threads

    def encode(self, pixels: Pixels) -> Vectors:
        """Return the vectors that `look` returns."""
        return self.look(pixels)[0]

    def look(self, pixels: Pixels) -> tuple[Vectors, Regions]:
        """Return one unit vector an image, or a row of zeros for an image whose vector is zero, and its regions.

        *pixels* are (n, height, width, 3), as `vision_recs.images.prepare` makes them. Raises ValueError for another
        size or type.
        """
        size = (*self._spec.preprocess.size, 3)
        if pixels.dtype != np.uint8 or pixels.shape[1:] != size:
            raise ValueError(f"pixels are uint8 (n, {', '.join(map(str, size))}), not {pixels.dtype} {pixels.shape}")
        step = 1 if _ALONE * len(pixels) <= self._batch else self._batch
        with self._lock:
            queue = self._queue(step)
            columns = queue[0].model_outputs[0].shape[1]
            features = np.empty((len(pixels), columns), np.float32)
            for start in range(0, len(pixels), step):
                batch = pixels[start : start + step]
                queue.start_async({0: _full(batch, step)}, features[start : start + len(batch)])
            queue.wait_all()
            if len(pixels) > 2 * self._batch:  # a catalog is embedded, and its memory is better used for that
                self._queues.pop(1, None)
        return split(features, self._spec.dim)

    def _queue(self, batch: int) -> ov.AsyncInferQueue:
        """Return what computes *batch* images on each thread at a time."""
        queue = self._queues.get(batch)
        if queue is None:
            settings = {
                "INFERENCE_PRECISION_HINT": self._precision,
                "NUM_STREAMS": self._threads,
                "INFERENCE_NUM_THREADS": self._threads,
                "ENABLE_CPU_PINNING": "NO",  # or the threads of two processes wait for the same core
            }
            compiled = _compile(self._core, self._model, [batch, *self._spec.preprocess.size, 3], settings)
            # one request more than streams each: the next one waits ready when a stream is done
            queue = self._queues[batch] = ov.AsyncInferQueue(compiled, 2 * self._threads)
            queue.set_callback(_take)
        return queue


def _compile(core: ov.Core, model: CachedModel, shape: list[int], settings: Mapping[str, Any]) -> ov.CompiledModel:
    """Return *model*, compiled for pixels of *shape*, from its cache where it was compiled in the same way before.

    The cache of OpenVINO itself is not used: it takes a file that was altered for the model.
    """
    processor = [core.get_property("CPU", each) for each in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")]
    key = hashlib.sha256(repr((shape, sorted(settings.items()), processor)).encode()).hexdigest()[:16]
    kept = model.read_compiled(key)
    if kept is not None:
        return core.import_model(kept, "CPU", settings)
    graph = core.read_model(model.network_file())
    graph.reshape(shape)
    compiled = core.compile_model(graph, "CPU", settings)
    model.keep_compiled(key, compiled.export_model().getvalue())
    return compiled


def convert(backbone: ImageBackbone, file: Path) -> bool:
    """Save *backbone* as an OpenVINO model that takes pixels, uint8 (n, height, width, 3), in float32.

    Returns whether the network is convolutional. Raises whatever torch or OpenVINO raise for a network that they
    cannot follow.
    """
    root = logging.getLogger()
    level, handlers, filters = root.level, list(root.handlers), list(root.filters)
    try:
        graph = ov.convert_model(_exported(backbone))
    finally:  # the converter sets up the root logger for itself; it is the program's
        root.setLevel(level)
        root.handlers[:], root.filters[:] = handlers, filters
    ov.save_model(graph, file, compress_to_fp16=False)
    return _is_convolutional(graph)


def _exported(backbone: ImageBackbone) -> Any:  # noqa: ANN401 - torch.export.ExportedProgram; torch is not imported here
    from vision_recs._torch import torch

    class _FromPixels(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = backbone.module
            self.mean = 255 * torch.tensor(backbone.preprocess.mean).view(1, 3, 1, 1)
            self.std = 255 * torch.tensor(backbone.preprocess.std).view(1, 3, 1, 1)

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            features: torch.Tensor = self.backbone((pixels.permute(0, 3, 1, 2).float() - self.mean) / self.std)
            return features

    for module in backbone.module.modules():
        if getattr(module, "inplace", False):  # decomposing such operations is a third of the time of a conversion
            module.inplace = False  # type: ignore[assignment] # torch knows of tensors and modules only
    example = torch.zeros(2, *backbone.preprocess.size, 3, dtype=torch.uint8)
    batch = torch.export.Dim("batch", min=1, max=1024)
    with torch.no_grad():
        return torch.export.export(_FromPixels().eval(), (example,), dynamic_shapes=({0: batch},))


def _choose_precision(core: ov.Core, precision: Precision) -> str:
    """Return "bf16" or "f32"; "auto" is bfloat16 where the processor multiplies it (AMX or avx512_bf16)."""
    has_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "f16" or (precision == "bf16" and not has_bf16):
        raise DeviceUnavailable(f"this processor does not multiply in {precision}; use --precision f32 or auto")
    return "bf16" if has_bf16 and precision != "f32" else "f32"


def _is_convolutional(graph: ov.Model) -> bool:
    """Return whether *graph* has more convolutions than the one that cuts an image into patches for a transformer."""
    kinds = [operation.get_type_name() for operation in graph.get_ops()]
    return kinds.count("Convolution") + kinds.count("GroupConvolution") > 1


def _full(batch: Pixels, size: int) -> Pixels:
    """Return *batch* with *size* images, as the compiled model takes them; the images that are added are black."""
    if len(batch) == size:
        return np.ascontiguousarray(batch)
    full = np.zeros((size, *batch.shape[1:]), np.uint8)
    full[: len(batch)] = batch
    return full


def _take(request: ov.InferRequest, rows: NDArray[np.float32]) -> None:
    """Copy the first rows that *request* computed into *rows*."""
    rows[:] = request.get_output_tensor().data[: len(rows)]
