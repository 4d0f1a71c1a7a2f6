"""A process whose forks index a shop of twelve items, while a decoder is broken; see `broken_decoder`.

An order has the *store* to index, *variables* for the environment, and a file, *said*, for the number of images that
were embedded; it may have the *turn* of the encoder, the number of *workers*, and *again* to try skipped images again.
"""

import os
from functools import partial
from pathlib import Path

import broken_decoder
from fake_shop import FakeEncoder, shop_of
from forks import carry_out_orders

from vision_recs import images, index
from vision_recs.jobs import IndexOptions


def carry_out(order):
    os.environ.update(order["variables"])
    if broken_decoder.VARIABLE in order["variables"]:
        broken_decoder.install()
    options = IndexOptions(
        shard_size=4, batch_size=4, workers=order.get("workers", 2), retry_skipped=order.get("again", False)
    )
    report = index(shop_of(12), order["store"], encoder=FakeEncoder(turn=order.get("turn", 0)), options=options)
    Path(order["said"]).write_text(str(report.embedded))


def main():
    images.DecoderProcess = partial(images.DecoderProcess, max_seconds=1)
    carry_out_orders(carry_out)


if __name__ == "__main__":
    main()
