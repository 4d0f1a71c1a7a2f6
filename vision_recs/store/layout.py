"""Where everything in a store lies; the folder listing is the diagram.

CURRENT                        the published generation and the digest of its manifest: the only file that is replaced
generations/000007.json        the manifest of a generation: encoder, shards, deletions, digests, probe vector
items/000007.sqlite            items, attributes and rows of that generation
columns/000007.bin             its attributes by column, for filters; derived, may be deleted at any time
shards/<hash>/vectors.npy      vectors, little-endian float16, readable by `numpy.load(mmap_mode="r")`
shards/<hash>/rows.parquet     what was embedded: id, image, digest, the vector's row or why there is none
projections/<digest>.safetensors  what `visrec tune` learnt: a linear map that is applied to vectors as they are read
indexes/<type>-000007/         an index, derived; may be deleted at any time
skipped/000007.jsonl           what did not get in, and why
tmp/  LOCK                     work in progress, and the lock of the one writer
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

VECTORS_FILE = "vectors.npy"
ROWS_FILE = "rows.parquet"


class Layout(NamedTuple):
    """The paths of the store in the folder *root*."""

    root: Path

    @property
    def current(self) -> Path:
        """The file that names the published generation."""
        return self.root / "CURRENT"

    @property
    def lock(self) -> Path:
        """The file that the one writer locks."""
        return self.root / "LOCK"

    @property
    def tmp(self) -> Path:
        """The folder of work in progress, on the same file system."""
        return self.root / "tmp"

    @property
    def generations(self) -> Path:
        """The folder of manifests."""
        return self.root / "generations"

    @property
    def shards(self) -> Path:
        """The folder of shards."""
        return self.root / "shards"

    @property
    def indexes(self) -> Path:
        """The folder of derived indexes."""
        return self.root / "indexes"

    @property
    def projections(self) -> Path:
        """The folder of learnt projections."""
        return self.root / "projections"

    def manifest(self, generation: int) -> Path:
        """Return the manifest of *generation*."""
        return self.generations / f"{generation:06d}.json"

    def items(self, generation: int) -> Path:
        """Return the items of *generation*."""
        return self.root / "items" / f"{generation:06d}.sqlite"

    def columns(self, generation: int) -> Path:
        """Return the attributes of *generation* by column."""
        return self.root / "columns" / f"{generation:06d}.bin"

    def skipped(self, generation: int) -> Path:
        """Return the list of what *generation* left out."""
        return self.root / "skipped" / f"{generation:06d}.jsonl"

    def shard(self, name: str) -> Path:
        """Return the folder of the shard *name*."""
        return self.shards / name

    def projection(self, digest: str) -> Path:
        """Return the projection of that *digest*."""
        return self.projections / f"{digest}.safetensors"

    def index_dir(self, index_type: str, generation: int) -> Path:
        """Return the folder of the index of *index_type* over *generation*."""
        return self.indexes / f"{index_type}-{generation:06d}"

    def make_folders(self) -> None:
        """Create the folders that are not there yet."""
        for folder in (self.generations, self.shards, self.indexes, self.projections, self.tmp):
            folder.mkdir(parents=True, exist_ok=True)
        self.items(0).parent.mkdir(exist_ok=True)
        self.columns(0).parent.mkdir(exist_ok=True)
        self.skipped(0).parent.mkdir(exist_ok=True)


def size(layout: Layout) -> int:
    """Return how many bytes the files of the store take, all generations together."""
    return sum(path.stat().st_size for path in layout.root.rglob("*") if path.is_file())
