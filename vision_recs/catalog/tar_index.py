"""What is in a tar: read from it, and for one in a bucket kept on this machine, since that takes reading all of it."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from vision_recs.cache_dir import cache_dir
from vision_recs.catalog.bucket_path import BucketPath
from vision_recs.catalog.places import Place, open_parts
from vision_recs.errors import first_line
from vision_recs.scratch import scratch_folder

_DESCRIBING = (".json", ".txt", ".cls")
_MOST_TEXT = 1 << 24  # bytes of a file that describes an image


class TarMember(NamedTuple):
    """A file in a tar; *text* is what it holds where that describes an image, else empty."""

    name: str
    offset: int
    size: int
    text: str


def tar_members(place: Place, version: str) -> Iterator[TarMember]:
    """Yield each file in the tar at *place* of that *version*; raises OSError where it is damaged."""
    if not isinstance(place, BucketPath):
        yield from _read(place, version)
        return
    path = cache_dir() / "tars" / f"{hashlib.sha256(str(place).encode()).hexdigest()[:32]}.jsonl"
    with suppress(OSError), path.open(encoding="utf-8") as file:
        if json.loads(file.readline()) == [str(place), version]:
            yield from (TarMember(*json.loads(line)) for line in file)
            return
    yield from _kept(_read(place, version), path, [str(place), version])


def _read(place: Place, version: str) -> Iterator[TarMember]:
    try:
        with open_parts(place, version) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                if member.isfile():
                    yield TarMember(member.name, member.offset_data, member.size, _text(file, member))
                tar.members = []  # type: ignore[attr-defined] # or every member would be kept
    except tarfile.TarError as error:
        raise OSError(0, f"not a tar archive, or damaged: {first_line(error)}") from error


def _text(file: BinaryIO, member: tarfile.TarInfo) -> str:
    if not member.name.lower().endswith(_DESCRIBING) or member.size > _MOST_TEXT:
        return ""
    file.seek(member.offset_data)
    return file.read(member.size).decode("utf-8", "replace").strip()


def _kept(members: Iterator[TarMember], path: Path, head: list[str]) -> Iterator[TarMember]:
    """Yield *members*, and keep them in *path* when the last one was taken."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(path.parent) as folder:
        with (folder / path.name).open("w", encoding="utf-8") as file:
            file.write(json.dumps(head) + "\n")
            for member in members:
                file.write(json.dumps(member) + "\n")
                yield member
        (folder / path.name).replace(path)
