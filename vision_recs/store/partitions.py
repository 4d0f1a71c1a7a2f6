"""Several stores that have the items of a catalog together: which item is in which, and the list of them in a file.

SHOP/
    STORES               the list: the folder of one store a line, relative to the file
    partition-0-of-4/    a store
    ...

A list may have any name; it may begin with comments (#). Where `visrec index --partitions` wrote it, the item with the
id i is in the partition whose number is the first four bytes of the SHA-256 of i in UTF-8, as a number (big-endian),
modulo the number of partitions.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from vision_recs.errors import StoreError, StoreNotFound, read_error
from vision_recs.remote.addresses import is_bucket_address
from vision_recs.scratch import scratch_folder
from vision_recs.small_files import text_of
from vision_recs.store.atomic_files import atomic_write, disk_errors, make_durable_folder
from vision_recs.store.bucket.mark import folder_of

LIST = "STORES"
"""The name of the list in the folder of a catalog that is split."""

MOST = 4096
"""Partitions of a catalog."""

Stores: TypeAlias = str | Path | Sequence[str | Path]
"""The folder of a store, or its address in a bucket; a list of stores, or its folder; or several of these."""

_BYTES = 4
_WRITTEN = re.compile(r"(\d{1,4})/(\d{1,4})")
_FOLDER = re.compile(r"partition-(\d+)-of-(\d+)")


@dataclass(frozen=True, slots=True)
class Partition:
    """One of *count* parts of a catalog: the one with this *number*, from 0."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Partition:
        """Return the partition that *text* names, as 0/4 names the first of four; raises ValueError."""
        found = _WRITTEN.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is not a partition; write 0/4 for the first of four")
        number, count = map(int, found.groups())
        if not 1 <= count <= MOST:
            raise ValueError(f"a catalog has 1 to {MOST} partitions, not {count}")
        if number >= count:
            raise ValueError(
                f"there is no partition {text}; the partitions of {count} are 0/{count} to {count - 1}/{count}"
            )
        return cls(number, count)

    @classmethod
    def all_of(cls, count: int) -> list[Partition]:
        """Return all partitions of *count*; raises ValueError for a count that cannot be."""
        return [cls.parse(f"{number}/{count}") for number in range(max(1, count))]

    @property
    def folder(self) -> str:
        """The name of the folder of its store."""
        return f"partition-{self.number}-of-{self.count}"

    def __str__(self) -> str:
        """Return it in words."""
        return f"partition {self.number} of {self.count}"

    def has(self, item: str) -> bool:
        """Whether the item with the id *item* belongs to the partition."""
        return number_of(item, self.count) == self.number


def number_of(item: str, count: int) -> int:
    """Return the number of the partition, of *count*, to which the item with the id *item* belongs."""
    digest = hashlib.sha256(item.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:_BYTES], "big") % count


def is_several(stores: Stores) -> bool:
    """Whether *stores* name a list of stores, or several stores; this looks at the folder and reads nothing."""
    if not isinstance(stores, str | Path):
        return len(stores) != 1 or is_several(stores[0])
    return _list_of(Path(stores)) is not None


def store_folders(stores: Stores) -> list[Path]:
    """Return the folder of each store that *stores* name; raises StoreError where a list cannot be read or is empty."""
    places = [stores] if isinstance(stores, str | Path) else stores
    folders = [folder for place in places for folder in _folders_at(place)]
    if not folders:
        raise StoreError("no store is named; give a folder, or a list of folders")
    twice = next((folder for number, folder in enumerate(folders) if folder in folders[:number]), None)
    if twice is not None:
        raise StoreError(f"{twice} is named twice; name each store once")
    return folders


def split_of(folder: Path) -> int | None:
    """Return into how many partitions a catalog is split in *folder*; None where it is not, raises StoreError."""
    if not (folder / LIST).is_file():
        return None
    found = [_FOLDER.fullmatch(each.name) for each in _folders(folder)]
    counts = {int(each[2]) for each in found if each is not None}
    if None in found or len(counts) != 1 or len(found) != max(counts):
        raise StoreError(
            f"{folder / LIST} does not list the partitions of one catalog; update each of its stores by itself"
        )
    return counts.pop()


def write_list(folder: Path, count: int) -> None:
    """Write the list of *count* partitions into *folder*, durably and at once; raises StoreError for another list."""
    partitions = Partition.all_of(count)
    known = split_of(folder)
    if known == count:
        return
    if known is not None:
        raise StoreError(
            f"{folder} has {known} partitions, not {count}; leave out the number, or index into another folder"
        )
    lines = ["# the stores of one catalog, split by the ids of its items; visrec --store takes this folder"]
    lines += [partition.folder for partition in partitions]
    with disk_errors(folder):
        make_durable_folder(folder)
        with scratch_folder(folder) as tmp:  # others may write the same list
            atomic_write("\n".join([*lines, ""]).encode(), folder / LIST, tmp)


def no_store(folder: Path) -> StoreNotFound:
    """Return the error that there is no store in *folder*; it says which command makes one there."""
    return StoreNotFound(f"there is no store in {folder}; make one with `{making(folder)}`")


def making(folder: Path) -> str:
    """Return the command that makes the store in *folder*, which may be that of a partition of a catalog."""
    partition = listed_partition(folder)
    if partition is None:
        return "visrec index CATALOG"
    split = shlex.quote(str((folder if folder.name else folder.absolute()).parent))
    return f"visrec index CATALOG --store {split} --partition {partition.number}/{partition.count}"


def listed_partition(folder: Path) -> Partition | None:
    """Return the partition whose folder *folder* is: its name, and the list in the folder above, say so."""
    place = folder if folder.name else folder.absolute()
    found = _FOLDER.fullmatch(place.name)
    if found is None or not (place.parent / LIST).is_file():
        return None
    with suppress(StoreError, ValueError):
        if split_of(place.parent) == int(found[2]):
            return Partition.parse(f"{found[1]}/{found[2]}")
    return None


def _list_of(path: Path) -> Path | None:
    """Return the list of stores at *path*: a file, or that in a folder; None where it is the folder of a store."""
    if path.is_file():
        return path
    return path / LIST if (path / LIST).is_file() else None


def _folders_at(place: str | Path) -> Iterator[Path]:
    if is_bucket_address(str(place)):
        yield folder_of(place)
    else:
        yield from _folders(Path(place))


def _folders(place: Path) -> Iterator[Path]:
    listed = _list_of(place)
    if listed is None:
        yield place
        return
    try:
        lines = text_of(listed).splitlines()
    except OSError as error:
        raise read_error(listed, error) from error
    except UnicodeDecodeError:
        raise StoreError(f"{listed} is not a list of stores; it has the folder of one store a line") from None
    folders = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not folders:
        raise StoreNotFound(f"{listed} lists no store; write the folder of one store on each line")
    yield from (listed.parent / folder for folder in folders)
