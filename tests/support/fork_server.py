"""A fork server: each command runs in a fork of one process, so that none has to import anything, and may be killed.

A command is a line of JSON: the folder of a store, and the number of the state in `states` to index, or null to collect
garbage. The reply is a line with the id of the process, and one with its exit status when it has ended.
"""

import contextlib
import dataclasses
import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from fake_shop import BLACK, NO_IMAGE, TRUNCATED, FakeEncoder, Shop, image, index, shop_of

from vision_recs.store import garbage_collect

SHARD_SIZE = 5


def states(count):
    """Return *count* shops of some 40 images, each a changed version of the one before, and its encoder's turn."""
    shop, turn, draw = shop_of(40), 0, random.Random(0)
    every = []
    for number in range(count):
        every.append((Shop(dict(shop.items), dict(shop.files)), turn))
        for item in draw.sample(sorted(shop.items), 4):
            del shop.items[item]
        for item in draw.sample(sorted(shop.items), 3):
            shop.items[item] = dataclasses.replace(shop.items[item], attributes={"price": number})
        for name in draw.sample(sorted(shop.files), 3):
            shop.files[name] = image(draw.randrange(10**9))
        for name in draw.sample(sorted(shop.files), 3):
            shop.files[name] = draw.choice([BLACK, NO_IMAGE, TRUNCATED])
        for extra in range(9):
            shop.put(f"new{number}-{extra}", 1000 * (number + 1) + extra, 1000 * (number + 1) + draw.randrange(9))
        turn += number % 5 == 4
    return every


class ForkServer:
    """The process, as a test sees it."""

    def __init__(self, count):
        command = [sys.executable, __file__, str(count)]
        here = Path(__file__).parent
        paths = os.pathsep.join([str(here), str(here.parents[1])])
        self._process = subprocess.Popen(
            command, env={**os.environ, "PYTHONPATH": paths}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def run(self, store, state, *, kill_after_s=None):
        """Run a command, and kill it after a time if it has not ended; return its exit status and how long it took."""
        self._process.stdin.write(json.dumps([str(store), state]).encode() + b"\n")
        child = int(self._process.stdout.readline())
        started = time.perf_counter()
        if kill_after_s is not None and not select.select([self._process.stdout], [], [], kill_after_s)[0]:
            with contextlib.suppress(ProcessLookupError):  # it has ended this very moment
                os.kill(child, signal.SIGKILL)
        status = int(self._process.stdout.readline())
        return status, time.perf_counter() - started


def main():
    every = states(int(sys.argv[1]))
    for line in sys.stdin:
        store, state = json.loads(line)
        child = os.fork()
        if child == 0:
            if state is None:
                garbage_collect(store)
            else:
                shop, turn = every[state]
                index(shop, store, FakeEncoder(turn=turn), shard_size=SHARD_SIZE)
            os._exit(0)
        say(child)
        say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def say(number):
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
