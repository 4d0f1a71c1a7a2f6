"""Mending what a run derives from items files: lists of skipped images, attribute columns."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from vision_recs.errors import StoreDamaged
from vision_recs.store.atomic_files import atomic_move_file, digest_problem
from vision_recs.store.attributes.format import AttributeColumns
from vision_recs.store.items import Items
from vision_recs.store.layout import ItemsEntry, Layout

log = logging.getLogger(__name__)


def write_skipped(items: Path, target: Path) -> None:
    """Write the list of the skipped images in the items file *items* to the file *target*."""
    with closing(Items(items)) as opened, target.open("w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in opened.skipped_lines())


def repair_derived(layout: Layout, entries: Iterable[ItemsEntry]) -> None:
    """Write lists of skipped images again that were altered, and remove altered attribute columns; log warnings.

    Columns that are gone are written when the run comes to them. The items files of *entries* are not altered.
    """
    for entry in entries:
        path = layout.skipped(entry.generation)
        problem = digest_problem(path, entry.skipped_digest)
        if problem is not None:
            log.warning("%s; it is written again", problem)
            made = layout.tmp / path.name
            write_skipped(layout.items(entry.generation), made)
            atomic_move_file(made, path)
        problem = _columns_problem(layout.attributes(entry.generation), entry.digest)
        if problem is not None:
            log.warning("%s; it is written again", problem.partition(";")[0])
            layout.attributes(entry.generation).unlink(missing_ok=True)


def _columns_problem(path: Path, items_digest: str) -> str | None:
    try:
        return next(AttributeColumns(path, items_digest=items_digest).problems(), None)
    except FileNotFoundError:
        return None
    except StoreDamaged as error:
        return str(error)
