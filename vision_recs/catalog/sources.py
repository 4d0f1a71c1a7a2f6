"""Where the rows of a table come from: one file, or a folder of them; and which export they are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from itertools import chain
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from vision_recs.catalog.bucket_path import BucketPath
from vision_recs.catalog.columns import CatalogOptions
from vision_recs.catalog.exports import EXPORTS, FORMATS, TABLE, export_named, export_of
from vision_recs.catalog.exports.google import feed_rows
from vision_recs.catalog.findings import Findings
from vision_recs.catalog.places import Folder, Place, extension_of, version_of
from vision_recs.catalog.readers import EXTENSIONS as TABLES
from vision_recs.catalog.readers import Rows, open_rows, record_rows
from vision_recs.catalog.tar_index import tar_members
from vision_recs.catalog.web_file import WebFile
from vision_recs.errors import CatalogError, first_line, machine_remedy
from vision_recs.remote.object_store import ObjectError

_FEEDS, _TAR = (".xml", ".rss", ".atom"), ".tar"
EXTENSIONS = (*TABLES, *_FEEDS, _TAR)
"""The extensions of the files that can be read; each may be followed by .gz."""

_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_PARTITION = re.compile(r"([^=/]+)=(.*)")
_NO_PARTITION = "__HIVE_DEFAULT_PARTITION__"
_MOST_SPLITS = 16
"""The folders of a bucket in which metadata is looked for."""

_IMAGE_TYPES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".jxl")


def is_table_folder(folder: Folder) -> bool:
    """Whether *folder* is read as a table: it holds metadata of Hugging Face, parts of a table, or tars of images."""
    return bool(_metadata(folder) or _parts(folder))


def open_source(place: Place, options: CatalogOptions, findings: Findings) -> Rows:
    """Return the rows at *place*, a file or a folder, in the columns of visrec; raises CatalogError."""
    if options.format not in (None, *FORMATS):
        raise CatalogError(f"there is no format {options.format!r}; name one of {', '.join(FORMATS)}", path=str(place))
    if isinstance(place, WebFile) or not place.is_dir():
        rows = _file_rows(place, findings)
    else:
        rows = _folder_rows(place, findings)
    if options.format == TABLE or options.id_column or options.image_column:
        return rows
    export = export_of(rows.columns) if options.format is None else export_named(options.format)
    if export is None:
        return rows
    if options.format is None:
        findings.note(f"read as {export.title}; if it is not, add --format {TABLE}")
    return export.rows(rows, findings)


def _file_rows(place: Place, findings: Findings) -> Rows:
    extension = extension_of(place.name)
    if extension in _FEEDS:
        return feed_rows(place)
    rows = tar_rows([place]) if extension == _TAR else open_rows(place, findings)
    if isinstance(place, WebFile) and (rows.drops or extension == _TAR):
        why = "images inside of a file are not read from a web server; put the file here, or into a bucket"
        raise CatalogError(why, path=str(place))
    return rows


def _folder_rows(folder: Folder, findings: Findings) -> Rows:
    metadata = _metadata(folder)
    if metadata:
        return _joined(folder, metadata, findings)
    parts = _parts(folder)
    is_tar = extension_of(parts[0].name) == _TAR
    return tar_rows(parts) if is_tar else _joined(folder, parts, findings)


def _metadata(folder: Folder) -> list[Folder]:
    places: list[Folder] = [folder]
    if isinstance(folder, BucketPath):  # of which one request is enough: it may hold millions of folders
        seen = (file.relative_to(folder) for file in folder.some())
        places += [folder / name for name in sorted({file.parts[0] for file in seen if len(file.parts) > 1})]
        places = places[:_MOST_SPLITS]
    else:
        places += sorted(child for child in _children(folder) if child.is_dir())
    files = (place / name for place in places for name in _METADATA)
    return [file for file in files if _is_file(file) and _names_files(file)]


def _is_file(place: Folder) -> bool:
    try:
        return place.is_file()
    except ObjectError:
        raise
    except OSError:  # in a folder that cannot be read
        return False


def _names_files(file: Place) -> bool:
    try:
        export = export_of(open_rows(file, Findings(str(file), lambda _: None)).columns)
    except CatalogError:
        return False
    return export is not None and export.name == EXPORTS[-1].name


def _parts(folder: Folder) -> list[Folder]:
    """Return the tars in *folder*, else the parts of a table in it and in its partitions, as Spark writes them.

    A folder that holds images, or folders that are no partitions, has no parts.
    """
    if isinstance(folder, BucketPath):
        return _parts_in_bucket(folder)
    children = sorted(_children(folder))
    tars: list[Folder] = [file for file in children if extension_of(file.name) == _TAR and _is_file(file)]
    if tars:
        return tars
    parts: list[Folder] = []
    for child in children:
        if child.is_dir():
            if not _PARTITION.fullmatch(child.name):
                return []
            parts += [part for part in _parts(child) if extension_of(part.name) != _TAR]
        elif child.suffix.lower() in _IMAGE_TYPES:
            return []
        elif extension_of(child.name) == ".parquet" and not child.name.startswith("_"):
            parts.append(child)
    return parts


def _parts_in_bucket(folder: BucketPath) -> list[Folder]:
    """Return what `_parts` does; a folder of images is recognized by the first of its objects."""
    some = [file.relative_to(folder) for file in folder.some()]
    is_tar = any(_is_tar(file) for file in some)
    if not is_tar and not all(map(_may_be_part, some)):
        return []
    every = [PurePosixPath(status.key) for status in folder.every()]
    tars = sorted(filter(_is_tar, every))
    if not tars and not all(map(_may_be_part, every)):
        return []
    is_part = [file for file in every if extension_of(file.name) == ".parquet" and file.name[:1] not in "._"]
    return [folder / str(file) for file in tars or sorted(is_part)]


def _is_tar(file: PurePosixPath) -> bool:
    return extension_of(file.name) == _TAR and len(file.parts) == 1 and not file.name.startswith(".")


def _may_be_part(file: PurePosixPath) -> bool:
    """Return whether *file*, relative to the folder, may lie beside the parts of a table."""
    visible = [part for part in file.parts[:-1] if not part.startswith(".")]
    return all(map(_PARTITION.fullmatch, visible)) and file.suffix.lower() not in _IMAGE_TYPES


def _children(folder: Path) -> list[Path]:
    try:
        return [child for child in folder.iterdir() if not child.name.startswith(".")]
    except OSError as error:
        raise CatalogError(
            f"the folder cannot be listed ({error.strerror}); {machine_remedy(error) or 'check the disk'}",
            path=str(folder),
        ) from error


def _joined(folder: Folder, files: Sequence[Folder], findings: Findings) -> Rows:
    """Return the rows of all *files*, numbered one after the other; images are named relative to *folder*."""
    first = open_rows(files[0], findings)

    def records() -> Iterator[tuple[int, dict[str, object]]]:
        number = 0
        for file in files:
            rows = first if file == files[0] else open_rows(file, findings)
            prefix = _below(file, folder)
            own = _partitions(prefix)
            for _, cells in rows.cells():
                number += 1
                record = {name: cell for name, cell in zip(rows.columns, cells, strict=False) if name}
                yield number, _placed(record, rows.drops, prefix, is_partition=bool(own)) | own

    columns = [name for name in first.columns if name] + list(_partitions(_below(files[0], folder)))
    return record_rows(str(folder), records(), columns=columns, textual=first.textual, unit="row")


def _below(file: Folder, folder: Folder) -> PurePosixPath:
    """Return the path from *folder* to the folder of *file*."""
    inside = str(file.parent).removeprefix(str(folder)).lstrip("/")
    return PurePosixPath(inside)


def _placed(
    record: dict[str, object], members: AbstractSet[str], folder: PurePosixPath, *, is_partition: bool
) -> dict[str, object]:
    """Return *record* with its *folder* before the *members* of its file, and before the names of files.

    Names of files are relative to the table, not to a partition.
    """
    if not folder.parts:
        return record
    placed = dict(record)
    for name in members if is_partition else {*members, "file_name", "file_names"}:
        value = record.get(name)
        if isinstance(value, str) and value and not value.startswith("["):
            placed[name] = f"{folder}/{value}"
        elif isinstance(value, list):
            placed[name] = [f"{folder}/{each}" for each in value]
    return placed


def _partitions(folder: PurePosixPath) -> dict[str, object]:
    pairs = (found for part in folder.parts if (found := _PARTITION.fullmatch(part)))
    return {pair[1]: _partition_value(unquote(pair[2])) for pair in pairs}


def _partition_value(text: str) -> object:
    if text == _NO_PARTITION:
        return None
    return int(text) if re.fullmatch("0|-?[1-9][0-9]{0,17}", text) else text


def tar_rows(tars: Sequence[Place]) -> Rows:
    """Return the samples of *tars*, as webdataset and img2dataset write them: files that differ in their extension.

    Images become the image; JSON becomes columns; text is the column `caption`.
    """
    samples = chain.from_iterable(_samples(tar, shared=len(tars) > 1) for tar in tars)
    numbered = ((number, sample) for number, sample in enumerate(samples, 1))
    return record_rows(
        str(tars[0] if len(tars) == 1 else tars[0].parent), numbered, columns=["id", "image"], unit="row"
    )


def _samples(tar: Place, *, shared: bool) -> Iterator[dict[str, object]]:
    sample: dict[str, object] = {}
    images: list[str] = []
    current = None
    try:
        for name, _, _, text in tar_members(tar, version_of(tar)):
            folder, _, base = name.rpartition("/")
            stem, _, extension = base.partition(".")
            key = f"{folder}/{stem}" if folder else stem
            if key != current and current is not None:
                yield {**sample, "id": _key(current, tar, shared=shared), "image": images}
                sample, images = {}, []
            current = key
            kind = f".{extension.rpartition('.')[2].lower()}"
            if kind in _IMAGE_TYPES:
                images.append(f"{tar.name}#{name}")
            elif text:
                sample |= _described(kind, text)
        if current is not None:
            yield {**sample, "id": _key(current, tar, shared=shared), "image": images}
    except OSError as error:
        remedy = machine_remedy(error) or "write it again"
        raise CatalogError(f"cannot be read as tar ({first_line(error)}); {remedy}", path=str(tar)) from error


def _described(kind: str, text: str) -> dict[str, object]:
    if kind != ".json":
        return {"caption" if kind == ".txt" else "class": text}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return (
        {name: each for name, each in value.items() if name not in {"id", "image"}} if isinstance(value, dict) else {}
    )


def _key(key: str, tar: Place, *, shared: bool) -> str:
    stem = tar.name.partition(".tar")[0].removesuffix(".tgz")
    return f"{stem}/{key}" if shared and not key.startswith(stem) else key
