"""A folder of images in a bucket as a catalog."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from itertools import groupby

from vision_recs.catalog.bucket_path import BucketPath
from vision_recs.catalog.findings import Findings, LeaveOut, ignore
from vision_recs.catalog.folder import EXTENSIONS, is_hidden, others_note, split_extension
from vision_recs.catalog.image_files import ImageFiles
from vision_recs.catalog.places import unreadable
from vision_recs.errors import CatalogError
from vision_recs.remote.images import RemoteImages
from vision_recs.remote.object_store import ObjectError
from vision_recs.types import Item, normal_form


class BucketFolder:
    """Every image below a folder in a bucket, with the ids and in the order of `FolderCatalog`.

    The folder is listed once, 1,000 objects a request, which tells the signatures of the images, too. It is listed
    completely before the first item, so that a bucket that is away removes none. The memory does not grow with it.
    """

    image_attributes: tuple[str, ...] = ()

    def __init__(self, place: BucketPath, remote: RemoteImages, *, item_per_folder: bool = False) -> None:
        """Use the folder at *place*, whose images *remote* reads; with *item_per_folder* as in `FolderCatalog`."""
        self.location = self.root = str(place)
        self.images = ImageFiles(self.root, remote=remote)
        self._place = place
        self._item_per_folder = item_per_folder
        self.notes: tuple[str, ...] = ()
        """What there is to say of the folder; known once an item was yielded."""

    def __iter__(self) -> Iterator[Item]:
        """Yield each item; raises CatalogError where the bucket cannot be listed, or has no image there."""
        return self.read_items(ignore)

    def read_items(self, leave_out: LeaveOut) -> Iterator[Item]:
        """Yield each item, and call *leave_out* for whatever is not in them; raises CatalogError as `__iter__`."""
        findings = Findings(self.location, leave_out)
        try:
            with closing(sqlite3.connect("")) as database:
                database.execute("PRAGMA journal_mode = OFF")
                database.execute("CREATE TABLE images (place TEXT, item TEXT, key TEXT)")
                database.executemany("INSERT INTO images VALUES (?, ?, ?)", self._rows(findings))
                rows = database.execute("SELECT item, key FROM images ORDER BY place, key")
                empty = True
                for item, images in groupby(rows, key=lambda row: str(row[0])):
                    empty = False
                    yield Item(item, tuple(key for _, key in images))
        except ObjectError as error:
            raise unreadable(error, self.location) from error
        except sqlite3.Error as error:
            why = f"the temporary list of images failed ({error}); let SQLITE_TMPDIR name a folder with room"
            raise CatalogError(why, path=self.location) from error
        if empty:
            raise CatalogError(f"no image in this folder or below it ({' '.join(EXTENSIONS)})", path=self.location)

    def _rows(self, findings: Findings) -> Iterator[tuple[str, str, str]]:
        """Yield the place in the order, the item and the key of each image."""
        others: Counter[str] = Counter()
        for status in self._place.every():
            key = status.key
            stem, extension = split_extension(key)
            if any(map(is_hidden, key.split("/"))) or not (status.size or extension):  # folders are empty objects
                continue
            if extension not in EXTENSIONS:
                others[extension] += 1
            elif self._item_per_folder and "/" not in key:
                why = "it lies in no folder below this one, so it belongs to no item; move it into a folder"
                findings.leave_out("no-id", why, place=key)
            else:
                item = normal_form(key.rpartition("/")[0] if self._item_per_folder else stem)
                yield item.replace("/", "\1"), item, key
        self.notes = others_note(others)
