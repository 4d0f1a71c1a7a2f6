"""Small images are enlarged, where native code once read beyond its buffer and ended the program without a word."""

import subprocess
import sys

import pytest

# In a process of its own: what is tested is that it ends well. The last line says which geometry ended it.
SIX_SIZES = """
from io import BytesIO
import numpy as np
from PIL import Image
from vision_recs.images import load

for width, height in (217, 214), (115, 53), (150, 86), (206, 118), (218, 125), (122, 70):
    file = BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "PNG")
    for config in configs:
        print(width, height, config, flush=True)
        assert load(file.getvalue(), config).shape == (*config.size, 3)
"""
RANDOM_GEOMETRIES = """
import numpy as np
from vision_recs.images.geometry import place
from vision_recs.images.preprocess import resample

random = np.random.default_rng(0)
for _ in range(count):
    width, height = map(int, random.integers(1, 300, 2))
    config = configs[random.integers(len(configs))]
    placement = place((width, height), config)
    print(width, height, config, flush=True)
    pixels = np.zeros((height, width, 3), np.uint8)
    part = resample(pixels, placement.box((width, height)), placement.size, config.interpolation)
    assert part.shape == (*placement.size[::-1], 3)
"""
CONFIGS = """
from itertools import product
from vision_recs.types import PreprocessConfig

configs = [
    PreprocessConfig((size, size), resize_mode, resize, interpolation, (0.0,) * 3, (1.0,) * 3)
    for resize_mode, (size, resize), interpolation in product(
        ("crop", "stretch", "pad"), ((224, 256), (224, 224), (256, 292), (288, 320)), ("bicubic", "bilinear")
    )
]
"""


@pytest.mark.parametrize(
    "geometries",
    [
        pytest.param(SIX_SIZES, id="six-sizes"),
        pytest.param(f"count = 2_000\n{RANDOM_GEOMETRIES}", id="2000-geometries"),
        pytest.param(f"count = 20_000\n{RANDOM_GEOMETRIES}", id="20000-geometries", marks=pytest.mark.nightly),
    ],
)
def test_no_small_image_ends_the_program(geometries):
    done = subprocess.run([sys.executable, "-c", CONFIGS + geometries], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.returncode, done.stderr, done.stdout.splitlines()[-1:])
