"""A folder of images as a catalog."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vision_recs.catalog.findings import Findings, LeaveOut, ignore
from vision_recs.catalog.image_files import ImageFiles
from vision_recs.errors import CatalogError, is_shortage, machine_remedy
from vision_recs.types import Item, normal_form

EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"),
    *(".heic", ".heif", ".jxl"),
)
"""Extensions of image files, in upper or lower case."""

_FOREIGN = {"__MACOSX", "@eaDir"}  # written by macOS archives and Synology; full of images nobody sells


@dataclass(frozen=True, slots=True)
class _Child:
    """An item with its *images*, or a folder, which may be several on the disk where their names are equal in NFC."""

    name: str
    images: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()


class FolderCatalog:
    """Every image below a folder, in the order of the parts of its path.

    The id of an item is the path relative to the folder, without extension, in the normal form NFC: `mugs/red`. Images
    that differ only in their extension are one item. With *item_per_folder*, every folder that directly holds images is
    one item, and its relative path is the id; an image directly in the root then belongs to no item.

    Hidden files and folders are skipped. Links to files are followed; links to folders are left out, because they may
    form loops, and so are file names that are not UTF-8 and folders that cannot be listed. The memory is bounded by the
    largest folders on one path.
    """

    image_attributes: tuple[str, ...] = ()

    def __init__(self, location: str, *, item_per_folder: bool = False, images_below: str | None = None) -> None:
        """Use the folder at *location*, an absolute path; it is not listed before the iteration.

        With *images_below*, links to images outside of that folder are not followed.
        """
        self.location = location
        self.root = location
        self._item_per_folder = item_per_folder
        self.images = ImageFiles(location, below=images_below)
        self.unlisted: tuple[str, ...] = ()
        """The folders that could not be listed, relative to the root: nobody knows what is in them."""
        self.notes: tuple[str, ...] = ()
        """What there is to say of the folder; known after the last item."""

    def __iter__(self) -> Iterator[Item]:
        """Yield each item; raises CatalogError for a folder that cannot be listed itself, or without any image."""
        return self.read_items(ignore)

    def read_items(self, leave_out: LeaveOut) -> Iterator[Item]:
        """Yield each item, and call *leave_out* for whatever is not in them; raises CatalogError as `__iter__`."""
        findings = Findings(self.location, leave_out)
        self.unlisted, self.notes = (), ()
        others: Counter[str] = Counter()
        empty = True
        pending = [_Child("", folders=("",))]
        while pending:
            child = pending.pop()
            if child.images:
                empty = False
                yield Item(child.name, child.images)
            else:
                # Reversed, since the last is taken first; an item goes before the folder of the same name.
                children = self._children(child, findings, others)
                pending += sorted(children, key=lambda child: (child.name, not child.images), reverse=True)
        if empty and not self.unlisted:
            raise CatalogError(f"no image in this folder or below it ({' '.join(EXTENSIONS)})", path=self.location)
        self.notes = others_note(others)

    def _children(self, parent: _Child, findings: Findings, others: Counter[str]) -> list[_Child]:
        """Return the items and the folders that lie directly in the folders of *parent*; count the *others*."""
        images: dict[str, list[str]] = {}
        folders: dict[str, list[str]] = {}
        for folder in parent.folders:
            for path, is_folder in self._listing(folder, findings):
                stem, extension = split_extension(path)
                if is_folder:
                    folders.setdefault(normal_form(path), []).append(path)
                elif extension not in EXTENSIONS:
                    others[extension] += 1
                elif self._item_per_folder and not folder:
                    why = "it lies in no folder below this one, so it belongs to no item; move it into a folder"
                    findings.leave_out("no-id", why, place=path)
                else:
                    images.setdefault(parent.name if self._item_per_folder else normal_form(stem), []).append(path)
        return [
            *(_Child(name, images=tuple(sorted(paths))) for name, paths in images.items()),
            *(_Child(name, folders=tuple(sorted(paths))) for name, paths in folders.items()),
        ]

    def _listing(self, folder: str, findings: Findings) -> Iterator[tuple[str, bool]]:
        """Yield the path of each child of *folder* relative to the root, and whether it is a folder."""
        path = Path(self.location, folder)
        try:
            with os.scandir(str(path)) as entries:
                found = [
                    (entry.name, entry.is_dir(follow_symlinks=False), _is_link_to_folder(entry)) for entry in entries
                ]
        except OSError as error:
            if is_shortage(error) or not folder:
                remedy = machine_remedy(error) or "check the disk"
                raise CatalogError(
                    f"the folder cannot be listed ({error.strerror}); {remedy}", path=str(path)
                ) from error
            self.unlisted += (folder,)
            why = f"the folder cannot be listed ({error.strerror}); the items that were in it stay"
            findings.leave_out("unreadable-folder", why, place=folder)
            return
        for name, is_folder, is_link in found:
            relative = f"{folder}/{name}" if folder else name
            if is_hidden(name):
                continue
            if not _is_utf8(name):
                shown = os.fsencode(relative).decode("utf-8", "backslashreplace")
                findings.leave_out("not-utf-8", "the name is not UTF-8; rename it", place=shown)
            elif is_link:
                why = "a link to a folder is not followed; put the folder itself here"
                findings.leave_out("link", why, place=relative)
            else:
                yield relative, is_folder


def is_hidden(name: str) -> bool:
    """Whether a file or folder of that *name* holds nothing that is sold."""
    return name.startswith(".") or name in _FOREIGN


def others_note(others: Counter[str]) -> tuple[str, ...]:
    """Return what there is to say of files that are no images, which are counted by extension in *others*."""
    if not others:
        return ()
    ranked = sorted(others.items(), key=lambda pair: (-pair[1], pair[0] or "~"))[:8]
    kinds = ", ".join(f"{count:,} {extension or 'without extension'}" for extension, count in ranked)
    return (f"left out {others.total():,} files that are no images by their extension ({kinds})",)


def split_extension(path: str) -> tuple[str, str]:
    """Return *path* without its extension, and the extension; both without `?v=17` behind the name."""
    folder, slash, name = path.rpartition("/")
    stem, dot, extension = name.partition("?")[0].rpartition(".")
    return (folder + slash + stem, dot + extension.lower()) if stem else (path, "")


def _is_link_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_symlink() and entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
