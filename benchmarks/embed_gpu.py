"""How fast visrec embeds on a GPU, against an open_clip loop with the usual DataLoader and against what is allowed.

python benchmarks/embed_gpu.py                          all models on the GPU; a few minutes, the same on any machine
python benchmarks/embed_gpu.py --device cpu --models tiny --images 32 --output FILE      a smoke run

The weights are random, from a seed: that changes no rate. For each model, in images a second:

end_to_end    the whole call `vision_recs.embed(CATALOG, NEW_STORE)` with the encoder loaded
loop          torch's DataLoader with a worker for each core, the transform of the library, half precision; nothing is
              written
decode        from the same files to the same pixels, with a thread for each core, while nothing else runs
encode        the encoder alone, from pixels in memory
model         the network alone, on a batch that lies on the device

`of_allowed` is end_to_end over the smaller one of model and decode, which is the goal of 0.8; `least_cosine` is between
vectors of the device and of float32 on the CPU. The results go to embed_gpu.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from embedding.images import first_files, make_images, write_catalog
from machine import provenance

if TYPE_CHECKING:
    from torch import nn

RESULTS = Path(__file__).parent / "embed_gpu.json"
SIZE = 500
CHECKED = 16
CORES = int(provenance()["cores"])  # type: ignore[call-overload] # a number there


@dataclass(frozen=True, slots=True)
class Model:
    """A model by visrec's *name*; *make* builds the network whose random weights are loaded."""

    name: str
    batch: int
    make: Callable[[], nn.Module]
    loop: Callable[[Path], tuple[nn.Module, Callable[..., Any]]]


def _clip(name: str) -> Model:
    def make() -> nn.Module:
        import open_clip

        return open_clip.create_model(name)

    def loop(weights: Path) -> tuple[nn.Module, Callable[..., Any]]:
        import open_clip

        model, _, transform = open_clip.create_model_and_transforms(name, pretrained=str(weights))
        return model.visual, transform

    return Model(f"clip:{name}/openai", 256, make, loop)


def _resnet50() -> Model:
    def make() -> nn.Module:
        from torchvision.models import resnet50

        return resnet50()

    def loop(weights: Path) -> tuple[nn.Module, Callable[..., Any]]:
        import torch
        from torchvision.models import ResNet50_Weights, resnet50

        module = resnet50()
        module.load_state_dict(torch.load(weights, weights_only=True))
        module.fc = torch.nn.Identity()
        return module, ResNet50_Weights.DEFAULT.transforms()

    return Model("resnet50", 256, make, loop)


def _tiny() -> Model:
    def make() -> nn.Module:
        import timm

        return timm.create_model("test_convnext")

    def loop(weights: Path) -> tuple[nn.Module, Callable[..., Any]]:
        import timm
        import torch
        from timm.data import create_transform, resolve_model_data_config

        module = timm.create_model("test_convnext", num_classes=0)
        module.load_state_dict(torch.load(weights, weights_only=True), strict=False)
        return module, create_transform(**resolve_model_data_config(module), is_training=False)

    return Model("timm:test_convnext", 16, make, loop)


MODELS = {"vit-b-32": _clip("ViT-B-32"), "vit-l-14": _clip("ViT-L-14"), "resnet50": _resnet50(), "tiny": _tiny()}


def main() -> None:
    """Measure what the command line names, write the results and print them."""
    arguments = _parse()
    device = _device(arguments.device)
    with tempfile.TemporaryDirectory(prefix="visrec-gpu-") as folder:
        work = Path(folder)
        make_images(work / "images", size=SIZE, count=arguments.images)
        catalog = write_catalog(work / "images", arguments.images)
        models = {name: _measure(MODELS[name], catalog, device, arguments) for name in arguments.models}
    measured = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": _name(device),
        "images": arguments.images,
        "rounds": arguments.rounds,
        "models": models,
        **provenance("torch", "torchvision", "timm", "open_clip_torch", "pillow", "simplejpeg", "numpy"),
    }
    arguments.output.write_text(json.dumps(measured, indent=1) + "\n", "utf-8")
    print(json.dumps({"device": measured["device"], "models": models}, indent=1))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["vit-b-32", "vit-l-14", "resnet50"])
    parser.add_argument("--images", type=int, default=8_192, metavar="N")
    parser.add_argument("--rounds", type=int, default=2, help="the best one of each counts")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="FILE")
    return parser.parse_args()


def _device(named: str) -> str:
    import torch

    if named != "auto":
        return named
    if not torch.cuda.is_available():
        raise SystemExit("there is no GPU that torch can use; --device cpu measures without one")
    return "cuda"


def _name(device: str) -> str:
    import torch

    return torch.cuda.get_device_name() if device.startswith("cuda") else device


def _measure(model: Model, catalog: Path, device: str, arguments: argparse.Namespace) -> dict[str, object]:
    """Return the rates of *model*: the best round of each contestant, who take turns."""
    import torch

    import vision_recs

    torch.manual_seed(0)
    weights = catalog.parent / f"{model.name.replace('/', '-').replace(':', '-')}.pt"
    torch.save(model.make().state_dict(), weights)
    encoder = vision_recs.load_encoder(model.name, weights=weights, device=device, runtime="torch")
    files = first_files(catalog.parent, arguments.images)
    pixels = _pixels(files[: model.batch], encoder)
    loop, transform = model.loop(weights)
    contestants: dict[str, Callable[[], tuple[int, float]]] = {
        "decode": lambda: _timed(lambda: _decode(files, encoder)),
        "encode": lambda: _timed(lambda: _encode(pixels, encoder, arguments.images)),
        "model": lambda: _timed(lambda: _network(encoder, pixels, arguments.images)),
        "end_to_end": lambda: _timed(lambda: _embed(catalog, encoder)),
        "loop": lambda: _timed(lambda: _loop(files, loop, transform, (device, model.batch))),
    }
    _encode(pixels, encoder, len(pixels))  # the first batch chooses kernels
    rates: dict[str, float] = {}
    for _ in range(arguments.rounds):
        for name, run in contestants.items():
            count, seconds = run()
            rates[name] = max(rates.get(name, 0.0), count / seconds)
    reference = vision_recs.load_encoder(model.name, weights=weights, device="cpu", precision="f32", runtime="torch")
    cosines = np.sum(encoder.encode(pixels[:CHECKED]) * reference.encode(pixels[:CHECKED]), axis=1)
    return {
        **{name: round(rate, 1) for name, rate in rates.items()},
        "of_allowed": round(rates["end_to_end"] / min(rates["model"], rates["decode"]), 3),
        "against_loop": round(rates["end_to_end"] / rates["loop"], 2),
        "runtime": getattr(encoder, "runtime", ""),
        "least_cosine": round(float(cosines.min()), 6),
    }


def _timed(run: Callable[[], int]) -> tuple[int, float]:
    started = perf_counter()
    count = run()
    return count, perf_counter() - started


def _pixels(files: list[Path], encoder: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:  # noqa: ANN401 - an encoder
    from vision_recs import images

    return np.stack([images.load(file.read_bytes(), encoder.spec.preprocess) for file in files])


def _decode(files: list[Path], encoder: Any) -> int:  # noqa: ANN401 - an encoder
    from vision_recs import images

    with ThreadPoolExecutor(CORES) as pool:
        for _ in pool.map(lambda file: images.load(file.read_bytes(), encoder.spec.preprocess), files, chunksize=16):
            pass
    return len(files)


def _encode(pixels: np.ndarray[Any, Any], encoder: Any, count: int) -> int:  # noqa: ANN401 - an encoder
    done = 0
    while done < count:
        done += len(encoder.encode(pixels))
    return done


def _network(encoder: Any, pixels: np.ndarray[Any, Any], count: int) -> int:  # noqa: ANN401 - an encoder
    """Run the network of *encoder* as it does, without copies from and to the device."""
    import torch

    module, normalized = encoder._module, encoder._normalized  # noqa: SLF001 - the network, which has no other door
    batch = torch.tensor(pixels, device=encoder.device)
    half = encoder._dtype is not torch.float32  # noqa: SLF001 - as above
    done = 0
    with torch.inference_mode(), torch.autocast(batch.device.type, encoder._dtype, enabled=half):  # noqa: SLF001
        while done < count:
            module(normalized(batch))
            done += len(batch)
    if batch.device.type == "cuda":
        torch.cuda.synchronize()
    return done


def _embed(catalog: Path, encoder: Any) -> int:  # noqa: ANN401 - an encoder
    import vision_recs

    with tempfile.TemporaryDirectory(dir=catalog.parent) as folder:
        return vision_recs.embed(catalog, Path(folder) / "store", encoder=encoder).embedded


class _Files:
    """A data set of torch: image files, opened and transformed."""

    def __init__(self, files: list[Path], transform: Callable[..., Any]) -> None:
        self._files, self._transform = files, transform

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, number: int) -> object:
        from PIL import Image

        with Image.open(self._files[number]) as image:
            return self._transform(image.convert("RGB"))


def _loop(files: list[Path], module: nn.Module, transform: Callable[..., Any], how: tuple[str, int]) -> int:
    """Embed *files* as the readme of open_clip and the documentation of torch do."""
    import torch
    from torch.utils.data import DataLoader

    device, size = how
    is_cuda = device.startswith("cuda")
    network = module.eval().to(device)
    loader: DataLoader[Any] = DataLoader(
        _Files(files, transform),  # type: ignore[arg-type] # it has all that a data set needs
        batch_size=size,
        num_workers=CORES if is_cuda else 0,
        pin_memory=is_cuda,
    )
    vectors = list(_vectors(loader, network, device))
    return sum(map(len, vectors)) if torch.isfinite(vectors[0]).all() else 0


def _vectors(loader: Any, network: nn.Module, device: str) -> Iterator[Any]:  # noqa: ANN401 - a loader of torch
    import torch

    with torch.inference_mode(), torch.autocast(device.partition(":")[0], enabled=device.startswith("cuda")):
        for batch in loader:
            features = network(batch.to(device, non_blocking=True)).float()
            yield torch.nn.functional.normalize(features, dim=-1).cpu()


if __name__ == "__main__":
    main()
