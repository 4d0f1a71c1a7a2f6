"""Write the fixture of the present format, once for each format that is released, and print what was written:

PYTHONPATH=.:tests/support python tests/formats/make_fixture.py tests/formats/v1

The stores are made in one folder of the machine (or in another one, the second argument), at one time, with a clock
that counts how often it is read: the same versions of the libraries write the same bytes.
"""

import itertools
import shutil
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

import numpy as np

MADE = "2026-01-01T00:00:00+00:00"
PLACE = Path("/tmp/visrec-fixture")  # the manifest holds the way from the store to the catalog
SMALL, LARGE, MANY = 36, 70, 200


def frozen_clock():
    """Return what takes the place of `time.perf_counter`: a millisecond passes from call to call."""
    ticks = itertools.count()
    return lambda: next(ticks) / 1000


def frozen_date():
    """Return what takes the place of `datetime` where a generation is dated."""
    date = mock.Mock()
    date.now.return_value = datetime.fromisoformat(MADE).astimezone(UTC)
    return date


def flat_color(*color):
    return png([[color] * 8] * 8)


def small_shop():
    """Return seven items: of two images, of a shared image, of attributes of each type, with images to be skipped."""
    shop = Shop()
    shop.files = {
        "red.png": flat_color(220, 20, 20),
        "rose.png": flat_color(220, 120, 120),
        "green.png": flat_color(20, 200, 40),
        "blue.png": flat_color(30, 40, 210),
        "gray.png": flat_color(90, 90, 90),
        "black.png": BLACK,
        "text.png": NO_IMAGE,
    }
    views = ({"view": "front", "angle": 15}, {"view": "side", "angle": 90})
    shop.put("mug-red", "red.png", "rose.png", image_attributes=views, name="Mug", price=9.5, stock=True)
    shop.put("mug-blue", "blue.png", name="Mug", price=9.5, stock=False)
    shop.put("vase", "green.png", name="Vase, grün", price=20, stock=True, code=2**60 + 1)
    shop.put("vase-2", "green.png", name="Vase", price=None, stock=True)
    shop.put("lamp", "black.png", "rose.png", "lost.png", name="Lamp", price="on request", tags=["new", "sale"])
    shop.put("clock", "gray.png", name="Clock", price=31, stock=None)
    shop.put("broken", "text.png", name="Broken")
    return shop


def random_shop(first, stop):
    """Return a shop of the items number *first* to before *stop*, which show random pixels."""
    shop = Shop()
    for number in range(first, stop):
        shop.put(f"item{number:03}", number, price=number, even=number % 2 == 0)
    return shop


def make_flat(store):
    """Two generations: an item is gone from the second one, and a price has changed."""
    index(small_shop(), store, shard_size=3)
    changed = small_shop()
    del changed.items["clock"]
    changed.items["mug-blue"].attributes["price"] = 8
    index(changed, store, shard_size=3)


def make_approximate(store, index_type):
    """The second generation of an index that was updated: some of its vectors are gone, some are new."""
    for shop in (random_shop(0, LARGE), random_shop(4, LARGE + 6)):
        options = IndexOptions(index_type=index_type, shard_size=LARGE, workers=1)
        run_index(shop, store, encoder=FakeEncoder(), options=options)
    garbage_collect(store)


def make_lagging(store):
    """The second generation uses the index of the first one, but for a vector that came and one that went."""
    for shop in (random_shop(0, MANY), random_shop(1, MANY + 1)):
        index(shop, store, shard_size=MANY)
    garbage_collect(store)


def make_tuned(store):
    """A generation whose vectors are read through a projection to five columns."""
    index(random_shop(0, SMALL), store, shard_size=SMALL)
    matrix = np.round(np.random.default_rng(5).standard_normal((12, 5)), 3).astype(np.float32)
    mean = np.linspace(0.1, 0.3, 12).round(3).astype(np.float32)
    fingerprint = FakeEncoder().spec.fingerprint
    provenance = {"visrec": "fixture", "created": MADE, "encoder": "fake", "space": fingerprint, "generation": "1"}
    provenance |= {"learned_from": "pairs", "where": "", "hyperparameters": "{}", "steps": "0"}
    retune(store, Projection(mean, matrix, provenance))
    garbage_collect(store)


def make(target, place):
    """Write everything into the folder *target*, which is made anew, by way of the folder *place*."""
    makers = {
        "flat": make_flat,
        "hnsw": lambda store: make_approximate(store, "hnsw"),
        "ivf-pq": lambda store: make_approximate(store, "ivf-pq"),
        "lagging": make_lagging,
        "tuned": make_tuned,
    }
    shutil.rmtree(place, ignore_errors=True)
    with (
        mock.patch("vision_recs.jobs.indexing.datetime", frozen_date()),
        mock.patch("vision_recs.jobs.indexing.secrets", mock.Mock(token_hex=lambda _: "0123456789abcdef")),
        mock.patch("vision_recs.jobs.publish.datetime", frozen_date()),
    ):
        for name, maker in makers.items():
            maker(place / name)
            (place / name / "LOCK").unlink()
    (place / "neighbors").mkdir()
    for name, nested in (("rows.parquet", False), ("rows.csv", False), ("rows.jsonl", False), ("nested.jsonl", True)):
        write_neighbors(place / "flat", place / "neighbors" / name, NeighborsOptions(k=2, nested=nested))
    export(place / "flat", place / "vectors")
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(place, target)
    shutil.rmtree(place)


time.perf_counter, time.thread_time = frozen_clock(), frozen_clock()
from fake_shop import BLACK, NO_IMAGE, FakeEncoder, Shop, index, png  # noqa: E402 - they take the clock as it is then

from vision_recs.batch.neighbors import NeighborsOptions, write_neighbors  # noqa: E402
from vision_recs.jobs import IndexOptions, export, retune  # noqa: E402
from vision_recs.jobs import index as run_index  # noqa: E402
from vision_recs.store import Projection, garbage_collect  # noqa: E402

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    make(folder, Path(sys.argv[2]) if sys.argv[2:] else PLACE)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [f"{file.stat().st_size:8,} {file.relative_to(folder)}\n" for file in files]
    sys.stdout.writelines([*lines, f"{sum(file.stat().st_size for file in files):8,} in {len(files)} files\n"])
