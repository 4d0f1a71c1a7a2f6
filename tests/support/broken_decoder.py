"""A decoder that crashes, hangs or fills the memory when it meets certain images, in every process that a test starts.

The variable BROKEN_DECODER holds what it does (segfault, spin, eat, or wait for a file of that name) and the digests of
the images, a line each.
"""

import ctypes
import hashlib
import os
import time
from pathlib import Path

from PIL import ImageFile

HERE = Path(__file__).parent
VARIABLE = "BROKEN_DECODER"


def environment(act, *images):
    """Return variables by which *act* happens to a process that decodes one of *images*, which are bytes."""
    paths = HERE / "broken_site", HERE / "offline", HERE
    digests = [hashlib.sha256(image).hexdigest() for image in images]
    return {"PYTHONPATH": os.pathsep.join(map(str, paths)), VARIABLE: "\n".join([str(act), *digests])}


def install():
    """Break the decoders of this process, as the variable says."""
    act, *digests = os.environ[VARIABLE].splitlines()
    original = ImageFile.ImageFile.__init__

    def broken(self, file, filename=None):
        if hashlib.sha256(file.getvalue()).hexdigest() in digests:
            ACTS[act]() if act in ACTS else wait_for(Path(act))
        original(self, file, filename)

    ImageFile.ImageFile.__init__ = broken


def segfault():
    ctypes.string_at(0)


def spin():
    while True:
        pass


def eat():
    taken = []
    while True:
        taken.append(bytes(1 << 28))


def wait_for(file):
    while not file.exists():
        time.sleep(0.01)


ACTS = {"segfault": segfault, "spin": spin, "eat": eat}
