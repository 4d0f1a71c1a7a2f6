"""The folder of an engine: its files, and the checksummed `index.json` that says what they are made from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vision_recs.checksummed_json import dump_checksummed, load_checksummed
from vision_recs.errors import SpaceMismatch, StoreDamaged, UnknownFormat
from vision_recs.types import VectorSource

LABEL = "index.json"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class FileEntry:
    """The size of a file in bytes and the SHA-256 of what it holds, in hexadecimal."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Label:
    """What `index.json` says: the engine, the space and generation it was built from, and its other files by name.

    *facts* are for the engine itself: how it is searched, what was wanted, what it turned out to be.
    """

    name: str
    fingerprint: str
    generation: int
    vectors: int
    dim: int
    files: Mapping[str, FileEntry]
    facts: Mapping[str, Any] = field(default_factory=dict)


def write_label(
    directory: Path, source: VectorSource, *, name: str, vectors: int, facts: Mapping[str, Any] | None = None
) -> None:
    """Describe every file that lies in *directory* as made by engine *name* from *vectors* vectors of *source*."""
    label = Label(
        name=name,
        fingerprint=source.fingerprint,
        generation=source.generation,
        vectors=vectors,
        dim=source.dim,
        files={
            path.name: FileEntry(path.stat().st_size, _sha256(path))
            for path in directory.iterdir()
            if path.name != LABEL
        },
        facts=dict(facts or {}),
    )
    (directory / LABEL).write_bytes(dump_checksummed({"format": FORMAT, **asdict(label)}))


def open_label(directory: Path, source: VectorSource, *, name: str) -> Label:
    """Return the label of *directory*, which must be of engine *name* and made from *source*.

    Raises SpaceMismatch for another space, StoreDamaged for another engine or generation, or for a file that is
    missing or of another size. What the files hold is not read.
    """
    label = read_label(directory)
    if label.name != name:
        raise StoreDamaged(f"{directory} holds the engine {label.name!r}, not {name!r}; rebuild it with `visrec index`")
    if (label.fingerprint, label.dim) != (source.fingerprint, source.dim):
        raise SpaceMismatch(
            f"{directory} holds vectors of the space {label.fingerprint} ({label.dim} columns), the store those of "
            f"{source.fingerprint} ({source.dim} columns); rebuild it with `visrec index`"
        )
    if label.generation != source.generation:
        raise StoreDamaged(
            f"{directory} was built from generation {label.generation}, the store is at {source.generation}; "
            "rebuild it with `visrec index`"
        )
    for problem in _wrong_sizes(directory, label):
        raise StoreDamaged(f"{problem}; rebuild it with `visrec index`")
    return label


def verify(directory: Path) -> list[str]:
    """Return what is wrong with the files of the engine in *directory*, a sentence each; none where all is well.

    Every byte is read: a single one that changed since the engine was built is noticed.
    """
    try:
        label = read_label(directory)
    except (StoreDamaged, UnknownFormat) as error:
        return [str(error)]
    problems = list(_wrong_sizes(directory, label))
    problems += _strangers(directory, label)
    if not problems:
        problems += _altered(directory, label)
    return problems


def read_label(directory: Path) -> Label:
    """Return what `index.json` of *directory* says; raises StoreDamaged or UnknownFormat."""
    path = directory / LABEL
    try:
        value = load_checksummed(path.read_bytes())
    except OSError as error:
        raise StoreDamaged(f"{path} cannot be read ({error.strerror}); rebuild it with `visrec index`") from error
    except StoreDamaged as error:
        raise StoreDamaged(f"{path}: {error}") from error
    if value.pop("format", None) != FORMAT:
        raise UnknownFormat(f"{path} was written by a newer visrec; upgrade visrec, or rebuild it with `visrec index`")
    return _label(value)


def _label(value: Mapping[str, Any]) -> Label:
    return Label(**{**value, "files": {name: FileEntry(**entry) for name, entry in value["files"].items()}})


def _wrong_sizes(directory: Path, label: Label) -> Iterator[str]:
    for name, entry in label.files.items():
        path = directory / name
        if not path.is_file():
            yield f"{path} is missing"
        elif path.stat().st_size != entry.size:
            yield f"{path} has {path.stat().st_size} bytes, not {entry.size}"


def _strangers(directory: Path, label: Label) -> Iterator[str]:
    for name in sorted(path.name for path in directory.iterdir()):
        if name not in label.files and name != LABEL:
            yield f"{directory / name} is no file of the engine {label.name!r}"


def _altered(directory: Path, label: Label) -> Iterator[str]:
    for name, entry in label.files.items():
        if _sha256(directory / name) != entry.sha256:
            yield f"{directory / name} was altered after it was written"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
