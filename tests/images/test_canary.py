import hashlib
import subprocess
import sys

import numpy as np

from vision_recs.images import canary_image, prepare
from vision_recs.types import PreprocessConfig

DIGEST = "ca6da7581590b7be5f74f7119c1a927f8434e459fb3bed6611470e3383501f47"


def test_the_probe_image_is_the_same_everywhere_and_for_ever():
    image = canary_image()
    assert (image.mode, image.size) == ("RGB", (320, 240))
    assert hashlib.sha256(image.tobytes()).hexdigest() == DIGEST


def test_every_mistake_of_preparation_shows_on_it():
    def pixels(resize_mode="crop", how="bicubic", resize=256):
        return prepare(
            canary_image(), PreprocessConfig((224, 224), resize_mode, resize, how, (0.5,) * 3, (0.5,) * 3)
        ).astype(int)

    right = pixels()
    wrong = [pixels("stretch"), pixels("pad"), pixels(how="bilinear"), pixels(resize=224), right[:, :, ::-1]]
    wrong += [right[:, ::-1], right[::-1], np.rot90(right)]
    assert [np.abs(right - other).mean() > 1 for other in wrong] == [True] * len(wrong)


def test_importing_the_package_does_not_import_pillow():
    program = "import sys, vision_recs.images; print('PIL' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
