"""What becomes of images that cannot be read: they are skipped, or keep their vectors for a while."""

from __future__ import annotations

from vision_recs.errors import GONE
from vision_recs.store import Staged, Staging, Writer


def without_bytes(writer: Writer, staging: Staging, image: Staged, why: tuple[str, str], *, keep_stale: int) -> None:
    """Skip *image*, which cannot be read; one that may be read again later keeps its vector for *keep_stale* runs.

    *why* is a reason and a sentence.
    """
    reason, message = why
    if reason not in GONE and image.digest and writer.is_known(staging, image.digest):
        stays = f"{message}; its vector of an earlier run stays"
        if staging.keep(image, reason, stays, runs=keep_stale):
            return
    staging.skip(image, reason, message)
