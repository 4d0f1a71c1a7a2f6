"""A million realistic vectors: embeddings of crops of real images, and vectors grown between them.

Random vectors are no test of an index: their local intrinsic dimension is that of the space, and embeddings have a far
lower one. `crops` embeds random crops of real images with the default encoder. `grow` makes as many vectors as are
asked for: each is one of the crops, moved within the affine hull of its nearest neighbors, as far as these lie away.
`local_dimension` measures what came of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray
from PIL import Image

import vision_recs
from vision_recs import images
from vision_recs.types import Vectors
from vision_recs.vectors import normalize_or_raise

SAMPLES = Path(__file__).parents[2] / "sample_images"
"""The images that vectors are grown from where no others are named."""

_CROPS = 20  # of each image
_BLOCK = 20_000
_SUFFIXES = {".jpg", ".jpeg", ".png"}
_SHORTEST = 48  # pixels: smaller crops show nothing


def seeds(work: Path, folders: list[Path], dim: int) -> Vectors:
    """Return the vectors of crops of all images in *folders*, reduced to *dim*; they are kept in *work*."""
    file = work / "crops.npy"
    if not file.exists():
        np.save(file, crops(folders, each=_CROPS))
    return reduce(np.load(file), dim)


def crops(folders: list[Path], *, each: int, seed: int = 0) -> Vectors:
    """Return the vectors of *each* random crops of every image in *folders*, (n, dim), in the order of the files."""
    files = sorted(file for folder in folders for file in folder.rglob("*") if file.suffix.lower() in _SUFFIXES)
    encoder = vision_recs.load_encoder("efficientnet-lite0")
    config = encoder.spec.preprocess

    def cut(numbered: tuple[int, Path]) -> NDArray[np.uint8]:
        number, file = numbered
        image = Image.open(file).convert("RGB")
        random = np.random.default_rng([seed, number])
        return np.stack([images.prepare(image.crop(_box(image.size, random)), config) for _ in range(each)])

    with ThreadPoolExecutor(2) as pool:
        return np.concatenate([encoder.encode(pixels) for pixels in pool.map(cut, enumerate(files))])


def _box(size: tuple[int, int], random: np.random.Generator) -> tuple[int, int, int, int]:
    """Return a crop of between a tenth and all of the image's area, up to 4 : 3 in shape, anywhere in it."""
    area = random.uniform(0.1, 1.0)
    shape = np.exp(random.uniform(-1, 1) * np.log(4 / 3) / 2)
    width = int(np.clip(size[0] * np.sqrt(area) * shape, min(_SHORTEST, size[0]), size[0]))
    height = int(np.clip(size[1] * np.sqrt(area) / shape, min(_SHORTEST, size[1]), size[1]))
    left, top = random.integers(0, size[0] - width + 1), random.integers(0, size[1] - height + 1)
    return int(left), int(top), int(left) + width, int(top) + height


def reduce(vectors: Vectors, dim: int) -> Vectors:
    """Return *vectors* on their *dim* principal components, scaled to unit length again."""
    if dim == vectors.shape[1]:
        return vectors
    matrix = faiss.PCAMatrix(vectors.shape[1], dim)
    matrix.train(vectors)
    return normalize_or_raise(matrix.apply(vectors))


def grow(seeds: Vectors, count: int, *, neighbors: int, spread: float, seed: int = 0) -> Iterator[Vectors]:
    """Yield *count* unit vectors in blocks: each seed moved along the way to its nearest *neighbors*.

    A vector is x + spread / sqrt(m) * sum_j g_j (x_j - x), with g_j standard normal and x_j the m neighbors of x: a
    draw from the Gaussian that they span around x. *neighbors* decides in how many directions that is.
    """
    index = faiss.IndexFlatIP(seeds.shape[1])
    index.add(seeds)
    _, near = index.search(seeds, neighbors + 1)
    random = np.random.default_rng(seed)
    for start in range(0, count, _BLOCK):
        size = min(_BLOCK, count - start)
        chosen = random.integers(0, len(seeds), size)
        steps = random.standard_normal((size, neighbors), dtype=np.float32) * (spread / np.sqrt(neighbors))
        grown = seeds[chosen] * (1 - steps.sum(axis=1))[:, None]
        for column in range(neighbors):
            grown += steps[:, column, None] * seeds[near[chosen, column + 1]]
        yield normalize_or_raise(grown)


def local_dimension(distances: NDArray[np.floating]) -> float:
    """Return the local intrinsic dimension from *distances* (n, k) to the k nearest neighbors, ascending.

    The maximum-likelihood estimate of Levina and Bickel (2004), inverses averaged as MacKay and Ghahramani propose.
    """
    ratios = np.log(distances[:, -1:] / np.maximum(distances[:, :-1], 1e-9))
    return float(1 / np.mean(ratios.mean(axis=1)))
