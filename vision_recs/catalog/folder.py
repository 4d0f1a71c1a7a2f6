"""A folder of images as a catalog."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from vision_recs.catalog.image_files import ImageFiles
from vision_recs.errors import CatalogError, machine_remedy
from vision_recs.types import Item

EXTENSIONS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
"""Extensions of image files, in upper or lower case."""

_FOREIGN = {"__MACOSX", "@eaDir"}  # written by macOS archives and Synology; full of images nobody sells


class FolderCatalog:
    """Every image below a folder, in the order of the parts of its path.

    The id of an item is the path relative to the folder, without extension: `mugs/red`. Images that differ only in
    their extension are one item. With *item_per_folder*, every folder that directly holds images is one item, and its
    relative path is the id; an image directly in the root then belongs to no item and is a CatalogError.

    Hidden files and folders are skipped. Links to files are followed; links to folders are not, because they may form
    loops. A file name that is not UTF-8 is a CatalogError. The memory is bounded by the largest folders on one path.
    """

    image_attributes: tuple[str, ...] = ()

    def __init__(self, location: str, *, item_per_folder: bool = False) -> None:
        """Use the folder at *location*, an absolute path; it is not listed before the iteration."""
        self.location = location
        self.root = location
        self._item_per_folder = item_per_folder
        self.images = ImageFiles(location)

    def __iter__(self) -> Iterator[Item]:
        """Yield each item; raises CatalogError for a folder that cannot be listed, or without any image."""
        empty = True
        pending: list[tuple[str, list[str]]] = [("", [])]
        while pending:
            name, images = pending.pop()
            if images:
                empty = False
                yield self._item(name, images)
            else:
                # Reversed, since the last is taken first; an item goes before the folder of the same name.
                pending += sorted(self._children(name), key=lambda child: (child[0], not child[1]), reverse=True)
        if empty:
            raise CatalogError(f"no image in this folder or below it ({' '.join(EXTENSIONS)})", path=self.location)

    def _item(self, name: str, images: list[str]) -> Item:
        if not name:
            raise CatalogError(
                f"{images[0]!r} lies in no folder below this one, so it belongs to no item; "
                "move it into a folder, or leave out --item-per-folder",
                path=self.location,
            )
        for image in images:
            _require_utf8(image, self.location)
        return Item(name, tuple(images))

    def _children(self, folder: str) -> list[tuple[str, list[str]]]:
        """Return the items (with images) and folders (without) that lie directly in *folder*."""
        prefix = f"{folder}/" if folder else ""
        items: dict[str, list[str]] = {}
        children: list[tuple[str, list[str]]] = []
        for name, is_folder in self._listing(folder):
            stem, dot, extension = name.rpartition(".")
            if is_folder:
                children.append((prefix + name, []))
            elif dot + extension.lower() in EXTENSIONS:
                items.setdefault(folder if self._item_per_folder else prefix + stem, []).append(prefix + name)
        children.extend((item, sorted(images)) for item, images in items.items())
        return children

    def _listing(self, folder: str) -> list[tuple[str, bool]]:
        path = str(Path(self.location, folder))
        try:
            with os.scandir(path) as entries:
                return [
                    (entry.name, entry.is_dir(follow_symlinks=False))
                    for entry in entries
                    if not entry.name.startswith(".") and entry.name not in _FOREIGN
                ]
        except OSError as error:
            raise CatalogError(
                f"the folder cannot be listed ({error.strerror}); {machine_remedy(error) or 'check the disk'}",
                path=path,
            ) from error


def _require_utf8(name: str, location: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise CatalogError(
            f"the file name {os.fsencode(name)!r} is not UTF-8; rename the file", path=location
        ) from error
