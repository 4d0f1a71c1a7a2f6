"""The files of a generation, and where they lie in a bucket.

In the bucket every file but CURRENT and LOCK is immutable, and named by its content: shards lie under their own names
(`shards/<name>/vectors.npy`), all else under its SHA-256 (`files/<digest>`). A listing (`listings/<digest>.json`) says
which path of a store has which content; it is to a bucket what a manifest is to a folder, and has the fence of its
writer.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from vision_recs.errors import StoreDamaged, UnknownFormat
from vision_recs.file_formats import dump_checksummed, is_newer, load_checksummed
from vision_recs.remote.remote_folder import RemoteFolder
from vision_recs.store.bucket.lease import FORMAT, read_head
from vision_recs.store.layout import SHARD_FILE, Layout, Manifest
from vision_recs.store.shards import read_shard_info

_PATH = re.compile(
    r"(generations|items|attributes|skipped|projections|models)/[\w.-]+|(shards|indexes)/[\w.-]+/[\w.-]+"
)
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Content(NamedTuple):
    """What a file holds: the SHA-256 of its bytes, and how many they are."""

    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Listing:
    """The *files* of *generation* by their paths, as the writer with that *fence* published them."""

    fence: int = 0
    generation: int = 0
    files: Mapping[str, Content] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Return the checksummed JSON text."""
        files = [(path, *content) for path, content in sorted(self.files.items())]
        value = {"format": FORMAT, "fence": self.fence, "generation": self.generation, "files": files}
        return dump_checksummed(value)

    @classmethod
    def from_bytes(cls, data: bytes, *, where: str) -> Listing:
        """Return the listing that `to_bytes` wrote, which lies *where*; raises StoreDamaged, UnknownFormat."""
        value = load_checksummed(data)
        if is_newer(value.get("format"), FORMAT):
            raise UnknownFormat(f"{where} was written by a newer visrec; upgrade visrec")
        try:
            files = {path: Content(digest, size) for path, digest, size in value["files"]}
            for path, content in files.items():
                if not _PATH.fullmatch(path) or ".." in path or not _DIGEST.fullmatch(content.digest):
                    raise StoreDamaged(f"{where} names {path!r}, which is no file of a store")
            return cls(int(value["fence"]), int(value["generation"]), files)
        except (LookupError, TypeError, ValueError) as error:
            raise StoreDamaged(f"{where} does not list the files of a store; restore it from a backup") from error

    def keys(self) -> dict[str, str]:
        """Return where in the bucket each file lies, by its path in a store."""
        return {path: key_of(path, content) for path, content in self.files.items()}


def key_of(path: str, content: Content) -> str:
    """Return where in the bucket the file lies that has the path *path* in a store."""
    return path if path.startswith("shards/") else f"files/{content.digest}"


def listing_key(data: bytes) -> tuple[str, str]:
    """Return the SHA-256 of the listing *data*, and where it lies."""
    digest = hashlib.sha256(data).hexdigest()
    return digest, f"listings/{digest}.json"


def published(remote: RemoteFolder) -> Listing:
    """Return the listing of the published generation; raises StoreDamaged, and ObjectError where the bucket is away."""
    head, _ = read_head(remote)
    key = f"listings/{head.listing}.json"
    found = remote.read(key) if head.listing else None
    if found is None:
        raise StoreDamaged(f"{remote.address}/{key} is missing; restore it from a backup")
    return Listing.from_bytes(found[0], where=f"{remote.address}/{key}")


def files_of(layout: Layout, manifest: Manifest, content_of: Callable[[Path], Content]) -> dict[str, Content]:
    """Return the files that the generation of *manifest* needs; *content_of* says what one holds.

    Of vectors, it is what their shard says. Raises StoreDamaged for a shard that is not there.
    """
    found: dict[str, Content] = {}
    for shard in manifest.shards:
        folder = layout.shard(shard.name)
        digests = read_shard_info(folder).files
        for path in sorted(folder.iterdir()):
            is_said = path.name != SHARD_FILE
            found[_path(layout, path)] = (
                Content(digests[path.name], path.stat().st_size) if is_said else content_of(path)
            )
    return found | {_path(layout, path): content_of(path) for path in _other_files(layout, manifest)}


def _other_files(layout: Layout, manifest: Manifest) -> list[Path]:
    files = [layout.manifest(manifest.generation)]
    for entry in manifest.items_files:
        files += [layout.items(entry.generation), layout.skipped(entry.generation)]
        if layout.attributes(entry.generation).exists():  # derived: it may have been deleted
            files.append(layout.attributes(entry.generation))
    if manifest.projection is not None:
        files.append(layout.projection(manifest.projection.digest))
    if manifest.model is not None:
        files.append(layout.model(manifest.model))
    index = layout.index_of(manifest)
    return files + (sorted(index.iterdir()) if index is not None and index.is_dir() else [])


def _path(layout: Layout, path: Path) -> str:
    return path.relative_to(layout.root).as_posix()
