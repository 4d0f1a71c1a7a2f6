"""Runs an image backbone with PyTorch, on one device or on several: the reference for every other runtime."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np

from vision_recs._torch import Tensor, nn, torch
from vision_recs.encoders.backbone import ImageBackbone
from vision_recs.encoders.loading import Precision
from vision_recs.encoders.looking import Regions, split
from vision_recs.errors import DeviceUnavailable
from vision_recs.types import EncoderSpec, Pixels, Vectors

_DTYPES: Final = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


class TorchEncoder:
    """An Encoder that computes with eager PyTorch: in float32 on a CPU, in half precision on a GPU.

    `encode` may be called from several threads at once: it changes nothing that they share. They share the cores,
    though, so that one thread with a batch is as fast.
    """

    def __init__(
        self,
        spec: EncoderSpec,
        backbone: ImageBackbone,
        device: str,
        *,
        precision: Precision = "auto",
        fallback: str | None = None,
    ) -> None:
        """Move *backbone* to *device*: "auto", "cpu", "cuda", "cuda:N" or "mps"; raises DeviceUnavailable.

        *precision* is that of the products: "f32", "bf16", "f16", or "auto", which is f16 on CUDA and f32 elsewhere.
        *fallback* says why PyTorch takes the place of a faster runtime, where it does.
        """
        self.fallback = fallback
        self._spec = spec
        self._device = find_device(device)
        chosen = ("f16" if self._device.type == "cuda" else "f32") if precision == "auto" else precision
        self._precision, self._dtype = chosen, _DTYPES[chosen]
        self._layout = _layout(backbone.module, self._device)
        self._module: nn.Module = backbone.module.to(self._device).to(memory_format=self._layout)
        self._mean = torch.tensor(backbone.preprocess.mean, device=self._device).view(1, 3, 1, 1)
        self._std = torch.tensor(backbone.preprocess.std, device=self._device).view(1, 3, 1, 1)

    @property
    def spec(self) -> EncoderSpec:
        """What decides the vectors."""
        return self._spec

    @property
    def device(self) -> str:
        """Where the vectors are computed: "cpu", "cuda:0" or "mps"."""
        return str(self._device)

    @property
    def runtime(self) -> str:
        """What computes the vectors, and how precisely."""
        return f"torch {self._precision}"

    @property
    def batch_size(self) -> int:
        """How many images are best given at a time: a GPU wants many, the cache of a CPU few."""
        return 256 if self._device.type == "cuda" else 32

    def encode(self, pixels: Pixels) -> Vectors:
        """Return the vectors that `look` returns."""
        return self.look(pixels)[0]

    def look(self, pixels: Pixels) -> tuple[Vectors, Regions]:
        """Return one unit vector an image, or a row of zeros for an image whose vector is zero, and its regions.

        *pixels* are (n, height, width, 3), as `vision_recs.images.prepare` makes them. All n are computed at once, so
        that memory grows with n. Raises ValueError for another size or another type.
        """
        size = (*self._spec.preprocess.size, 3)
        if pixels.dtype != np.uint8 or pixels.shape[1:] != size:
            raise ValueError(f"pixels are uint8 (n, {', '.join(map(str, size))}), not {pixels.dtype} {pixels.shape}")
        if not len(pixels):
            return split(np.zeros((0, self._spec.dim), np.float32), self._spec.dim)
        half = self._dtype is not torch.float32
        with torch.inference_mode(), torch.autocast(self._device.type, self._dtype, enabled=half):
            features = [self._module(self._normalized(part)) for part in self._on_device(pixels)]
            return split(torch.cat(features).float().cpu().numpy(), self._spec.dim)

    def _on_device(self, pixels: Pixels) -> Iterator[Tensor]:
        """Yield *pixels* on the device: whole, or on CUDA in halves, so that one is copied while one is computed.

        Nothing here waits for the GPU: copies from pinned memory and kernels are queued, and the caller fetches the
        features once, at the end.
        """
        # A copy: torch warns of arrays that may not be written, and the caller's pixels stay as they are.
        batch = torch.tensor(np.ascontiguousarray(pixels))
        if self._device.type != "cuda":
            yield batch.to(self._device)
            return
        copying: torch.cuda.Stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call] # torch's own gap
        computing = torch.cuda.current_stream(self._device)
        for part in batch.pin_memory().chunk(2):
            with torch.cuda.stream(copying):
                copied = part.to(self._device, non_blocking=True)
            computing.wait_stream(copying)
            copied.record_stream(computing)
            yield copied

    def _normalized(self, batch: Tensor) -> Tensor:
        unit = batch.permute(0, 3, 1, 2).to(torch.float32, memory_format=self._layout) / 255
        return (unit - self._mean) / self._std


class ParallelEncoder:
    """An Encoder that gives each of several equal encoders, on devices of their own, an equal part of each batch."""

    def __init__(self, encoders: Sequence[TorchEncoder]) -> None:
        """Share the work among *encoders*, at least one, which all have the same spec."""
        self._encoders = tuple(encoders)
        self._pool = ThreadPoolExecutor(len(self._encoders), thread_name_prefix="visrec-device")

    @property
    def spec(self) -> EncoderSpec:
        """What decides the vectors."""
        return self._encoders[0].spec

    @property
    def device(self) -> str:
        """Where the vectors are computed: "cuda:0,cuda:1"."""
        return ",".join(encoder.device for encoder in self._encoders)

    @property
    def runtime(self) -> str:
        """What computes the vectors, and how precisely."""
        return self._encoders[0].runtime

    @property
    def batch_size(self) -> int:
        """How many images are best given at a time."""
        return sum(encoder.batch_size for encoder in self._encoders)

    def encode(self, pixels: Pixels) -> Vectors:
        """Return the vectors that `look` returns."""
        return self.look(pixels)[0]

    def look(self, pixels: Pixels) -> tuple[Vectors, Regions]:
        """Return one unit vector an image, in order, or zeros for an image whose vector is zero, and its regions."""
        parts = np.array_split(pixels, len(self._encoders))
        running = [self._pool.submit(each.look, part) for each, part in zip(self._encoders, parts, strict=True)]
        vectors, regions = zip(*(each.result() for each in running), strict=True)
        return np.concatenate(vectors), np.concatenate(regions)


def _layout(module: nn.Module, device: torch.device) -> torch.memory_format:
    """Return in which order the images for *module* should lie in memory: channels last on CUDA, for its tensor cores.

    Measured on a CPU of two cores in float32, it is 1.3 to 1.5 times as fast for networks of convolutions and batch
    normalization (EfficientNet-Lite0, ResNet-50), and no gain for ConvNeXt and vision transformers.
    """
    if device.type == "cuda" or any(isinstance(each, nn.BatchNorm2d) for each in module.modules()):
        return torch.channels_last
    return torch.contiguous_format


def find_device(name: str) -> torch.device:
    """Return the device called *name*; "auto" is CUDA, else MPS, else the CPU. Raises DeviceUnavailable."""
    cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    mps = torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda:0" if cuda else "mps" if mps else "cpu")
    if name == "cpu" or (name == "mps" and mps):
        return torch.device(name)
    if name == "mps":
        raise DeviceUnavailable("MPS is not available on this machine or in this PyTorch; use auto or cpu")
    if match := re.fullmatch(r"cuda(?::(\d+))?", name):
        index = int(match[1] or 0)
        if index < cuda:
            return torch.device("cuda", index)
        raise DeviceUnavailable(f"the device {name} does not exist, PyTorch sees {cuda} CUDA devices; use auto or cpu")
    raise DeviceUnavailable(f"{name!r} is not a device; use auto, cpu, cuda, cuda:1 or mps")
