"""A process whose forks index a state of a shop, or collect garbage.

An order is the folder of a store, and the number of the state in `states` to index, or None to collect garbage.
"""

import dataclasses
import random
import sys

from fake_shop import BLACK, NO_IMAGE, TRUNCATED, FakeEncoder, Shop, image, index, shop_of
from forks import Forks, carry_out_orders

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
        self._forks = Forks(__file__, str(count))

    def __enter__(self):
        self._forks.__enter__()
        return self

    def __exit__(self, *error):
        self._forks.__exit__(*error)

    def run(self, store, state, *, kill_after_s=None):
        """Run a command, and kill it after a time if it has not ended; return its exit status and how long it took."""
        ended = self._forks.run([str(store), state], kill_after_s=kill_after_s)
        return ended.status, ended.seconds


def main():
    every = states(int(sys.argv[1]))

    def carry_out(order):
        store, state = order
        if state is None:
            garbage_collect(store)
        else:
            shop, turn = every[state]
            index(shop, store, FakeEncoder(turn=turn), shard_size=SHARD_SIZE)

    carry_out_orders(carry_out)


if __name__ == "__main__":
    main()
