"""Embedding by many machines: blocks of the staged catalog go to workers, and the driver publishes alone.

worker    embedding one block, whoever starts it: Ray, Spark, a job of an array
places    where workers put shards and ledgers
driver    makes blocks, keeps a bounded number at work, and gives what was lost, refused or slow to others
on_ray    the machines of a Ray cluster
done      which images have an outcome in a ledger, and settling them
planning  the blocks of a catalog, for workers that somebody else starts
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vision_recs._lazy import lazy_names

if TYPE_CHECKING:
    from vision_recs.jobs.cluster.planning import Plan, plan_blocks
    from vision_recs.jobs.cluster.worker import Block, BlockReport, Work, embed_block

_HOMES = {
    "Block": "worker",
    "BlockReport": "worker",
    "Plan": "planning",
    "Work": "worker",
    "embed_block": "worker",
    "plan_blocks": "planning",
}

__all__ = ["Block", "BlockReport", "Plan", "Work", "embed_block", "plan_blocks"]

__getattr__ = lazy_names(__name__, _HOMES)
