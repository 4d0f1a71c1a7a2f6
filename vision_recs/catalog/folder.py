"""A folder of pictures as a catalogue."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from vision_recs.catalog.files import PictureFiles
from vision_recs.errors import CatalogError
from vision_recs.types import Item

EXTENSIONS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
"""What makes a file a picture, in any case."""

_FOREIGN = {"__MACOSX", "@eaDir"}  # written by macOS archives and Synology; full of pictures nobody sells


class FolderCatalog:
    """Every picture below a folder, in the order of the parts of its path.

    The id of an item is the path relative to the folder, without extension: `mugs/red`. Pictures that differ only in
    their extension are one item. With *item_per_folder* every folder that directly holds pictures is one item, and
    its relative path the id; a picture directly in the root then belongs to no item and is a CatalogError.

    Hidden files and folders are left out. Links to files are followed, links to folders are not, so that no loop
    can arise. A file name that is not UTF-8 is a CatalogError. Memory is bounded by the largest folders on one path.
    """

    picture_columns: tuple[str, ...] = ()

    def __init__(self, location: str, *, item_per_folder: bool = False) -> None:
        """Take the folder at *location*, an absolute path; nothing is listed before the iteration."""
        self.location = location
        self.root = location
        self._item_per_folder = item_per_folder
        self._files = PictureFiles(location)

    def __iter__(self) -> Iterator[Item]:
        """Yield each item; raises CatalogError for a folder that cannot be listed, or without any picture."""
        empty = True
        pending: list[tuple[str, list[str]]] = [("", [])]
        while pending:
            name, pictures = pending.pop()
            if pictures:
                empty = False
                yield self._item(name, pictures)
            else:
                # Reversed, since the last is taken first; an item goes before the folder of the same name.
                pending += sorted(self._children(name), key=lambda child: (child[0], not child[1]), reverse=True)
        if empty:
            raise CatalogError(f"no picture in this folder or below it ({' '.join(EXTENSIONS)})", path=self.location)

    def read(self, reference: str) -> bytes:
        """Return the bytes of a picture; raises ImageError: missing, unreadable or empty."""
        return self._files.read(reference)

    def signature(self, reference: str) -> str | None:
        """Return a token that changes when the file may have; see PictureFiles.signature."""
        return self._files.signature(reference)

    def _item(self, name: str, pictures: list[str]) -> Item:
        if not name:
            raise CatalogError(
                f"{pictures[0]!r} lies in no folder below this one, so it belongs to no item; "
                "move it into a folder, or leave out --item-per-folder",
                path=self.location,
            )
        for picture in pictures:
            _require_utf8(picture, self.location)
        return Item(name, tuple(pictures))

    def _children(self, folder: str) -> list[tuple[str, list[str]]]:
        """Return the items (with pictures) and folders (without) that lie directly in *folder*."""
        prefix = f"{folder}/" if folder else ""
        items: dict[str, list[str]] = {}
        children: list[tuple[str, list[str]]] = []
        for name, is_folder in self._listing(folder):
            stem, dot, extension = name.rpartition(".")
            if is_folder:
                children.append((prefix + name, []))
            elif dot + extension.lower() in EXTENSIONS:
                items.setdefault(folder if self._item_per_folder else prefix + stem, []).append(prefix + name)
        children.extend((item, sorted(pictures)) for item, pictures in items.items())
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
                f"the folder cannot be listed ({error.strerror}); check its permissions", path=path
            ) from error


def _require_utf8(name: str, location: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise CatalogError(
            f"the file name {os.fsencode(name)!r} is not UTF-8; rename the file", path=location
        ) from error
