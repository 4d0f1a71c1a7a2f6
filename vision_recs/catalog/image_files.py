"""The default source of images: files below a folder, and what lies at addresses."""

from __future__ import annotations

import os
import posixpath
import stat
import time
import unicodedata
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from vision_recs.catalog.bucket_path import BucketPath
from vision_recs.catalog.members import MAX_IMAGE_BYTES, Members, container_of
from vision_recs.catalog.places import version_of
from vision_recs.errors import CatalogError, ImageError, first_line, is_shortage, machine_remedy
from vision_recs.remote.addresses import is_address, is_bucket_address, joined
from vision_recs.remote.buckets import BucketImages
from vision_recs.remote.images import RemoteImages
from vision_recs.remote.object_store import ObjectError, is_below
from vision_recs.types import ImageData, ImageSource, Unchanged

IMAGE_FOLDERS: Final = ("images", "image", "img", "media", "photos", "pictures", "pub/media/catalog/product")
"""Folders beside a table, in which the images of a shop system are looked for."""

_RACY_NS = 2_000_000_000


class ImageFiles:
    """Image files, named relative to one folder; an `ImageSource`.

    A reference is a relative path, an absolute path, a file:// URL, or the member of a tar or Parquet file (see
    `members`). Where there is no such file, the one that is meant is looked for: with slashes for backslashes, in
    the other normal forms of Unicode, without `?v=17` behind the name. What a shop system calls `/m/u/mug.jpg` or
    `https://shop.example/m/u/mug.jpg` is looked for below the folder, and in folders such as `images` in it, by its
    path, then by its name. What is at an address, and not there, is fetched.
    """

    def __init__(
        self,
        root: str,
        *,
        below: str | None = None,
        remote: RemoteImages | None = None,
        own_bucket: bool = False,
    ) -> None:
        """Resolve references against *root*, an absolute path or an address; where it is empty, there are no files.

        With *below*, only files in that folder and the folders in it are read, wherever the links on the way lead.
        *remote* fetches what is at addresses; without it, that is nowhere. With *own_bucket*, of buckets, which are
        read with credentials, only what is below the address *below*, or else below *root*, is read.
        """
        self._own_bucket = own_bucket
        self.remote = remote
        self._address = root if is_address(root) else None
        self._root = Path(root) if root and self._address is None else None
        self._below = below if below is None or is_bucket_address(below) else os.path.realpath(below)
        self._members = Members()

    def __reduce__(self) -> tuple[partial[ImageFiles], tuple[str]]:
        """Return how the same source is made in another process, without open files and connections."""
        make = partial(ImageFiles, below=self._below, remote=self.remote, own_bucket=self._own_bucket)
        return make, (self._address or str(self._root or ""),)

    def below(self, folder: str) -> ImageFiles:
        """Return the same source, but only for the files below *folder*."""
        return self._with(below=folder, own_bucket=self._own_bucket)

    def in_own_bucket(self) -> ImageFiles:
        """Return the same source for references of somebody who may not choose what is read from buckets."""
        return self._with(below=self._below, own_bucket=True)

    def _with(self, *, below: str | None, own_bucket: bool) -> ImageFiles:
        root = self._address or str(self._root or "")
        other = ImageFiles(root, below=below, remote=self.remote, own_bucket=own_bucket)
        other._members = self._members
        return other

    def may_read(self, reference: str) -> bool:
        """Return whether the file that *reference* means, if there is one, is below the folder that was named."""
        try:
            self._path(reference)
        except ImageError as error:
            return error.reason != "outside"
        except (OSError, ValueError):  # there is no such file
            return True
        return True

    def hurried(self) -> ImageFiles:
        """Return the same source for somebody who waits: an image at an address is fetched at once, or not at all."""
        remote = self.remote and RemoteImages(self.remote.options.hurried())
        return ImageFiles(self._address or str(self._root or ""), below=self._below, remote=remote)

    def without_network(self) -> ImageFiles:
        """Return the same source, but for what has to be fetched, which is missing."""
        return ImageFiles(self._address or str(self._root or ""), below=self._below)

    @property
    def is_remote(self) -> bool:
        """Whether the folder of the images is an address itself."""
        return self._address is not None

    def fetched_by(self, reference: str) -> tuple[RemoteImages, str] | None:
        """Return what fetches *reference*, and from which address; None where it is looked for on this machine."""
        if self.remote is None or (self._address is None and not is_address(reference)) or _is_file_url(reference):
            return None
        if self._root is not None and self._file_of(reference) is not None:
            return None
        return self.remote, joined(self._address or "", reference)

    def _fetched(self, reference: str) -> tuple[RemoteImages, str] | None:
        """Return what `fetched_by` does; raises ImageError for an object in a bucket that may not be read."""
        fetched = self.fetched_by(reference)
        if fetched is not None and self._own_bucket and is_bucket_address(fetched[1]):
            own = next((each for each in (self._below, self._address) if each and is_bucket_address(each)), None)
            if own is None or not is_below(fetched[1], own):
                where = own or "the folder of the catalog"
                remedy = "put the image there, or name another --images-below"
                raise ImageError("outside", f"{fetched[1]} is not below {where}; {remedy}")
        return fetched

    def read(self, reference: str, *, known: str | None = None) -> ImageData | Unchanged:
        """Return the image *reference*, or Unchanged if its signature is still *known*.

        The signature is made of size, mtime and ctime of the file. It is None where the file changed less than 2
        seconds ago: another change within the same tick of the file system's clock would leave all three as they are.

        Raises ImageError (missing, outside, unreadable, empty or too-large, or what `RemoteImages` raises), and
        CatalogError where the process has no more memory or open files.
        """
        fetched = self._fetched(reference)
        if fetched is not None:
            container = _in_bucket(fetched[1])
            if container is not None:
                return self._read_member(fetched[0].buckets(), *container, known)
            return fetched[0].read(fetched[1], known=known)
        path = Path(reference)
        try:
            path, member = self._path(reference)
            status = path.stat()
            signature = _signature(status)
            if known is not None and signature == known:
                return Unchanged()
            if member is None:
                data = _read_regular(path, status)
            else:
                data = self._members.read(path, str(status.st_mtime_ns), member)
        except (FileNotFoundError, NotADirectoryError, ValueError) as error:
            raise ImageError("missing", f"there is no file {str(path)!r}; check the path in the catalog") from error
        except OSError as error:
            if is_shortage(error):  # the image is not to be skipped for it
                why = f"cannot be read ({error.strerror}); {machine_remedy(error)}, then run again"
                raise CatalogError(why, path=str(path)) from error
            raise ImageError(
                "unreadable", f"{str(path)!r} cannot be read ({error.strerror}); check the file"
            ) from error
        if not data:
            raise ImageError("empty", f"{str(path)!r} has no bytes; copy the image again")
        return ImageData(data, signature)

    def _read_member(
        self, buckets: BucketImages, container: str, member: str, known: str | None
    ) -> ImageData | Unchanged:
        """Return the image *member* of the file *container* in a bucket, whose signature is that of the file."""
        try:
            place = BucketPath.of(container, buckets)
            signature = version_of(place)
            if signature == known:
                return Unchanged()
            data = self._members.read(place, signature, member)
        except ObjectError as error:
            raise ImageError(error.reason, f"{error}; {error.remedy}") from error
        except OSError as error:
            raise ImageError(
                "unreadable", f"{container} cannot be read ({first_line(error)}); check the file"
            ) from error
        if not data:
            raise ImageError("empty", f"{container}#{member} has no bytes; write the file again")
        return ImageData(data, signature)

    def signatures(self, references: Sequence[str]) -> list[str | None]:
        """Return the signature of each of *references* as `read` does, None for one that cannot be had."""
        found: list[str | None] = [None] * len(references)
        fetched: dict[int, str] = {}
        is_quick = self._below is None and self._root is not None
        root = f"{self._root}/"
        for number, reference in enumerate(references):  # a few calls for each would take as long as to ask the system
            try:
                if is_quick and "://" not in reference:
                    try:
                        status = os.stat(root + reference if reference[:1] != "/" else reference)  # noqa: PTH116
                    except OSError:
                        status = self._path(reference)[0].stat()
                    found[number] = _signature(status)
                    continue
                remote = self._fetched(reference)
                if remote is None:
                    found[number] = _signature(self._path(reference)[0].stat())
                else:
                    container = _in_bucket(remote[1])
                    fetched[number] = container[0] if container else remote[1]
            except (OSError, ValueError, ImageError):
                continue
        if fetched and self.remote is not None:
            for number, signature in zip(fetched, self.remote.signatures([*fetched.values()]), strict=True):
                found[number] = signature
        return found

    def _path(self, reference: str) -> tuple[Path, str | None]:
        """Return the file that *reference* means, and the member of it, if it names one; raises ImageError."""
        path, member = self._found(reference)
        if self._below is not None and not Path(os.path.realpath(path)).is_relative_to(self._below):
            raise ImageError(
                "outside",
                f"{reference!r} is not below {self._below}; put the image there, or name another --images-below",
            )
        return path, member

    def _found(self, reference: str) -> tuple[Path, str | None]:
        if self._root is None:
            raise ImageError(
                "missing", f"the catalog does not say how {reference!r} is read; open the store with images=..."
            )
        if _is_file_url(reference):
            return Path(unquote(urlsplit(reference).path)), None
        path = self._root / reference
        if not is_address(reference):
            if path.exists():
                return path, None
            found = container_of(reference)
            if found is not None:
                return self._root / found[0], found[1]
        file = self._file_of(reference)
        if file is not None:
            return file, None
        if is_address(reference):
            raise ImageError(
                "remote",
                f"{reference} is not on this machine, and images are not fetched; copy the images into a folder, with "
                "their names, and give it with --images",
            )
        return path, None

    def _file_of(self, reference: str) -> Path | None:
        """Return the file in another place that is meant by *reference*, if there is one."""
        assert self._root is not None
        for other in _other_places(reference):
            file = self._root / other
            if os.path.isfile(file):  # noqa: PTH113 - which raises nothing, also where a name is too long
                return file
        return None


def _is_file_url(reference: str) -> bool:
    return reference[:7].lower() == "file://"


def _in_bucket(address: str) -> tuple[str, str] | None:
    """Return the file in a bucket and the member that *address* names, or None where it names an object."""
    return container_of(address) if is_bucket_address(address) else None


def _other_places(reference: str) -> Iterator[str]:
    """Yield the paths at which the image *reference* may lie, if it is not where it says."""
    name = reference.replace("\\", "/")
    if is_address(reference):
        try:
            name = posixpath.normpath(unquote(urlsplit(name).path))  # "/../" leads out of no server
        except ValueError:
            return
    elif "?" in name:
        name = name.partition("?")[0]
    inside = name.lstrip("/")
    names = dict.fromkeys((inside, *(unicodedata.normalize(form, inside) for form in ("NFC", "NFD"))))
    yield from names
    if name.startswith("/"):  # a path of the web server, not of this machine
        for each in names:
            yield from (f"{folder}/{each}" for folder in IMAGE_FOLDERS)
        for each in names:
            last = each.rpartition("/")[2]
            yield from (last, *(f"{folder}/{last}" for folder in IMAGE_FOLDERS))


def _signature(status: os.stat_result) -> str | None:
    # ctime alone decides: every change moves it, and no program can set it back.
    if time.time_ns() - status.st_ctime_ns < _RACY_NS:
        return None
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}"


def _read_regular(path: Path, status: os.stat_result) -> bytes:
    # Opening a pipe would wait for a writer, and a device may never end.
    if not stat.S_ISREG(status.st_mode):
        raise OSError(0, "not a regular file")
    _check_size(path, status.st_size)
    with path.open("rb") as file:
        data = file.read(status.st_size + 1)
        if len(data) > status.st_size:  # the file has grown, or its size is not known before it is read
            data += file.read(MAX_IMAGE_BYTES + 1 - len(data))
            _check_size(path, len(data))
    return data


def _check_size(path: Path, size: int) -> None:
    if size > MAX_IMAGE_BYTES:
        raise ImageError(
            "too-large", f"{str(path)!r} has {size} bytes, over the limit of {MAX_IMAGE_BYTES}; replace the file"
        )


def image_bytes(images: ImageSource, reference: str) -> bytes:
    """Return the bytes of the image *reference* in *images*; raises ImageError."""
    image = images.read(reference)
    if isinstance(image, Unchanged):
        raise TypeError(f"{type(images).__name__}.read returned Unchanged, though no signature is known")
    return image.data
