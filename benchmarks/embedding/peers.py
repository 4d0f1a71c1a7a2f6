"""Other embedders, each with its own loader and its own loop: `-m embedding.peers NAME MODEL WORK`.

They run in an environment of their own (`--peer-python`): this module imports nothing of visrec but the network of
EfficientNet-Lite0. All of them get local weights; none may connect to a server.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from time import perf_counter

from embedding.models import load_torch, make_weights

PEERS = {
    "sentence-transformers": ("clip",),
    "fastembed": ("lite0", "resnet50", "clip"),
    "clip-retrieval": ("clip",),
}
"""The peers, and the models that each of them can be given."""

_VERSIONS = {
    "sentence-transformers": ("sentence-transformers", "transformers", "torch"),
    "fastembed": ("fastembed", "onnxruntime"),
    "clip-retrieval": ("clip-retrieval", "open_clip_torch", "torch"),
}
Embed = Callable[[list[str]], int]


def load_sentence_transformers(_key: str, work: Path) -> Embed:
    """Return its `encode` of opened images, with a CLIP of transformers: ViT-B/32, the same network, random."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Transformer
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    from PIL import Image  # isort: skip

    folder = work / "sentence-transformers-clip"
    if not folder.exists():
        torch.manual_seed(0)
        made = folder.with_suffix(".making")
        CLIPModel(CLIPConfig(vision_config={"hidden_act": "gelu"})).save_pretrained(made)
        CLIPImageProcessor().save_pretrained(made)
        made.rename(folder)
    model = SentenceTransformer(modules=[Transformer(str(folder))], device="cpu")
    return lambda files: len(model.encode([Image.open(file) for file in files], batch_size=32))


def load_fastembed(key: str, work: Path) -> Embed:
    """Return its `embed` of paths, with the network as an ONNX file under one of the names that it accepts."""
    from fastembed import ImageEmbedding

    folder = work / f"fastembed-{key}"
    if not folder.exists():
        made = folder.with_suffix(".making")
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir()
        _export(key, make_weights(key, work), made / "model.onnx")
        (made / "preprocessor_config.json").write_text(json.dumps(_processor(key)), "utf-8")
        made.rename(folder)
    name = "Qdrant/clip-ViT-B-32-vision" if key == "clip" else "Qdrant/resnet50-onnx"
    model = ImageEmbedding(name, specific_model_path=str(folder))
    return lambda files: len(list(model.embed(files)))


def _export(key: str, weights: Path | None, file: Path) -> None:
    import torch

    module, _ = load_torch(key, weights)
    shapes = ({0: torch.export.Dim("batch", min=1, max=1024)},)
    example = torch.zeros(2, 3, 224, 224)
    torch.onnx.export(module, (example,), file, dynamo=True, dynamic_shapes=shapes, external_data=False)


def _processor(key: str) -> dict[str, object]:
    """Return the preprocessing of the model *key* as transformers would describe it."""
    shorter, filter_, mean, std = {
        "lite0": (256, 3, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        "resnet50": (232, 2, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        "clip": (224, 3, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    }[key]
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": shorter},
        "resample": filter_,
        "do_center_crop": True,
        "crop_size": {"height": 224, "width": 224},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": mean,
        "image_std": std,
    }


def load_clip_retrieval(key: str, work: Path) -> Embed:
    """Return its reader of files and its mapper, with the batch and the workers that its program starts with."""
    from all_clip import load_clip
    from clip_retrieval.clip_inference.mapper import ClipMapper
    from clip_retrieval.clip_inference.reader import FilesReader

    name = f"open_clip:ViT-B-32/{make_weights(key, work)}"
    _, transform, tokenizer = load_clip(name, use_jit=False, device="cpu", warmup_batch_size=1)
    mapper = ClipMapper(
        enable_image=True,
        enable_text=False,
        enable_metadata=False,
        use_mclip=False,
        clip_model=name,
        use_jit=False,
        mclip_model="",
    )

    def embed(files: list[str]) -> int:
        wanted = {Path(file).name for file in files}
        reader = FilesReader(
            lambda keys: [key for key in keys if key in wanted],
            transform,
            tokenizer,
            str(Path(files[0]).parent),
            batch_size=256,
            num_prepro_workers=4,
            enable_text=False,
        )
        return sum(len(mapper(batch)["image_embs"]) for batch in reader)

    return embed


_LOADERS = {
    "sentence-transformers": load_sentence_transformers,
    "fastembed": load_fastembed,
    "clip-retrieval": load_clip_retrieval,
}


def _load(name: str, key: str, work: Path) -> tuple[object, Mapping[str, Callable[..., object]]]:
    embed = _LOADERS[name](key, work)

    def timed(where: str, count: int) -> dict[str, object]:
        files = [str(file) for file in sorted(Path(where).glob("*.jpg"))[:count]]
        started = perf_counter()
        done = embed(files)
        seconds = perf_counter() - started
        if done != count:
            raise ValueError(f"{done} images of {count} were embedded")
        return {"seconds": seconds}

    return {"versions": {package: version(package) for package in _VERSIONS[name]}}, {"embed": timed}


if __name__ == "__main__":
    from embedding.workers import serve

    serve(lambda: _load(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
