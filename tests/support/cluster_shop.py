"""A shop and an encoder for the workers of a cluster: what each process does is noted in files of one folder."""

from __future__ import annotations

import os
import pickle
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from fake_shop import BulkShop, FakeEncoder

from vision_recs.jobs.cluster.driver import Finished

PATIENCE_S = 120


def note(file: Path, text: str) -> None:
    with file.open("a", encoding="utf-8") as opened:  # short lines of several processes do not mix
        opened.write(f"{text}\n")


def noted(file: Path) -> list[str]:
    return file.read_text("utf-8").splitlines() if file.exists() else []


@dataclass
class WatchedShop(BulkShop):
    """Its images are read by other processes; *root* is a folder in which each of them notes what it reads."""

    def read(self, reference, *, known=None):
        found = super().read(reference, known=known)
        note(Path(self.root) / "reads", f"{os.getpid()} {reference}")
        return found


class WatchedEncoder(FakeEncoder):
    """Notes who encodes how much in *folder*; takes *seconds* for each batch, and waits while `hold` is there.

    Where the file `other-weights` names its process group, it gives other vectors.
    """

    def __init__(self, folder, *, seconds=0.0, turn=0):
        super().__init__(turn=turn)
        self.folder = Path(folder)
        self.seconds = seconds

    def encode(self, pixels):
        if len(pixels) > 1:  # the canary is one
            note(self.folder / "begun", f"{os.getpid()} {len(pixels)}")
            note(self.folder / "devices", os.environ.get("CUDA_VISIBLE_DEVICES", "none"))
            time.sleep(self.seconds)
            self.wait()
            note(self.folder / "encoded", f"{os.getpid()} {len(pixels)}")
        note(self.folder / "weights", "other" if self.is_other() else "same")
        vectors = super().encode(pixels)
        return vectors[:, ::-1].copy() if self.is_other() else vectors

    def wait(self):
        """Be the one that is held, if somebody is to be: the first process that comes."""
        hold = self.folder / "hold"
        try:
            hold.rename(self.folder / f"held-{os.getpid()}")
        except FileNotFoundError:
            return
        while not (self.folder / "release").exists():
            time.sleep(0.02)

    def is_other(self):
        return os.environ.get("VISREC_TEST_WEIGHTS") == "other"


class WaitingEncoder(WatchedEncoder):
    """Waits until *what* stands in the file *name*: else all may be done before a process of its machine has begun."""

    def __init__(self, folder, name, what, *, seconds=0.0):
        super().__init__(folder, seconds=seconds)
        self.awaited = name, what

    def wait(self):
        name, what = self.awaited
        until = time.monotonic() + PATIENCE_S
        while what not in noted(self.folder / name) and time.monotonic() < until:
            time.sleep(0.02)


def shop_of(folder, count):
    """Return a shop of *count* items with an image each, that notes its reads in *folder*."""
    shop = WatchedShop(root=str(folder))
    for number in range(count):
        shop.put(f"item-{number:03d}", number)
    return shop


class LocalPool:
    """A pool in this process: *fates* say what becomes of the next tasks in place of being done."""

    slots = 2

    def __init__(self, work, fates):
        self.work, self.fates = work, deque(fates)
        self.tasks, self.hung, self.submitted, self.cancelled = {}, set(), [], []

    def room(self):
        return self.slots - len(self.tasks)

    def idle(self):
        return len(self.tasks) < self.slots

    def submit(self, block, *, apart, avoid):
        number = len(self.submitted)
        self.submitted.append((block.name, apart, tuple(avoid)))
        self.tasks[number] = block, apart
        return number

    def wait(self, _seconds):
        number = next((each for each in self.tasks if each not in self.hung), None)
        if number is None:
            time.sleep(0.005)
            return []
        fate = self.fates.popleft() if self.fates else None
        if fate == "hangs":
            self.hung.add(number)
            return []
        block, apart = self.tasks.pop(number)
        outcome = self.work.embed(pickle.loads(pickle.dumps(block)), apart=apart) if fate is None else fate
        return [Finished(number, outcome, "here")]

    def cancel(self, task):
        self.cancelled.append(task)
        self.tasks.pop(task, None)

    def usable(self, avoid):
        return len(avoid) < 2

    def close(self):
        self.tasks.clear()
