"""Where the rows of a table come from: one file, or a folder of them; and which export they are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from urllib.parse import unquote

from vision_recs.catalog.columns import CatalogOptions
from vision_recs.catalog.exports import EXPORTS, FORMATS, TABLE, export_named, export_of
from vision_recs.catalog.exports.google import feed_rows
from vision_recs.catalog.findings import Findings
from vision_recs.catalog.members import tar_members
from vision_recs.catalog.readers import EXTENSIONS as TABLES
from vision_recs.catalog.readers import Rows, extension_of, open_rows, record_rows
from vision_recs.errors import CatalogError, first_line, machine_remedy

_FEEDS, _TAR = (".xml", ".rss", ".atom"), ".tar"
EXTENSIONS = (*TABLES, *_FEEDS, _TAR)
"""The extensions of the files that can be read; those of text may be followed by .gz."""

_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_PARTITION = re.compile(r"([^=/]+)=(.*)")
_NO_PARTITION = "__HIVE_DEFAULT_PARTITION__"
_IMAGE_TYPES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".jxl")


def is_table_folder(folder: Path) -> bool:
    """Whether *folder* is read as a table: it holds metadata of Hugging Face, parts of a table, or tars of images."""
    return bool(_metadata(folder) or _parts(folder))


def open_source(location: str, options: CatalogOptions, findings: Findings) -> Rows:
    """Return the rows at *location*, a file or a folder, in the columns of visrec; raises CatalogError."""
    if options.format not in (None, *FORMATS):
        raise CatalogError(f"there is no format {options.format!r}; name one of {', '.join(FORMATS)}", path=location)
    place = Path(location)
    rows = _folder_rows(place, findings) if place.is_dir() else _file_rows(location, findings)
    if options.format == TABLE or options.id_column or options.image_column:
        return rows
    export = export_of(rows.columns) if options.format is None else export_named(options.format)
    if export is None:
        return rows
    if options.format is None:
        findings.note(f"read as {export.title}; if it is not, add --format {TABLE}")
    return export.rows(rows, findings)


def _file_rows(path: str, findings: Findings) -> Rows:
    extension = extension_of(path)
    if path.lower().endswith(".gz") and extension in {".parquet", _TAR}:
        raise CatalogError("this kind of file has to be read here and there; unpack it with gunzip", path=path)
    if extension in _FEEDS:
        return feed_rows(path)
    return tar_rows([Path(path)]) if extension == _TAR else open_rows(path, findings)


def _folder_rows(folder: Path, findings: Findings) -> Rows:
    metadata = _metadata(folder)
    if metadata:
        return _joined(folder, metadata, findings)
    parts = _parts(folder)
    return tar_rows(parts) if parts[0].suffix == _TAR else _joined(folder, parts, findings)


def _metadata(folder: Path) -> list[Path]:
    places = (folder, *sorted(child for child in _children(folder) if child.is_dir()))
    files = (place / name for place in places for name in _METADATA)
    return [file for file in files if _is_file(file) and _names_files(file)]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # in a folder that cannot be read
        return False


def _names_files(file: Path) -> bool:
    try:
        export = export_of(open_rows(str(file), Findings(str(file), lambda _: None)).columns)
    except CatalogError:
        return False
    return export is not None and export.name == EXPORTS[-1].name


def _parts(folder: Path) -> list[Path]:
    """Return the tars in *folder*, else the parts of a table in it and in its partitions, as Spark writes them.

    A folder that holds images, or folders that are no partitions, has no parts.
    """
    children = sorted(_children(folder))
    tars = [file for file in children if file.suffix == _TAR and _is_file(file)]
    if tars:
        return tars
    parts: list[Path] = []
    for child in children:
        if child.is_dir():
            if not _PARTITION.fullmatch(child.name):
                return []
            parts += [part for part in _parts(child) if part.suffix != _TAR]
        elif child.suffix.lower() in _IMAGE_TYPES:
            return []
        elif child.suffix.lower() == ".parquet" and not child.name.startswith("_"):
            parts.append(child)
    return parts


def _children(folder: Path) -> list[Path]:
    try:
        return [child for child in folder.iterdir() if not child.name.startswith(".")]
    except OSError as error:
        raise CatalogError(
            f"the folder cannot be listed ({error.strerror}); {machine_remedy(error) or 'check the disk'}",
            path=str(folder),
        ) from error


def _joined(folder: Path, files: Sequence[Path], findings: Findings) -> Rows:
    """Return the rows of all *files*, numbered one after the other; images are named relative to *folder*."""
    opened = [(file, open_rows(str(file), findings)) for file in files[:1]]
    first = opened[0][1]

    def records() -> Iterator[tuple[int, dict[str, object]]]:
        number = 0
        for file in files:
            rows = first if file == files[0] else open_rows(str(file), findings)
            prefix = file.parent.relative_to(folder)
            own = _partitions(prefix)
            for _, cells in rows.cells:
                number += 1
                record = {name: cell for name, cell in zip(rows.columns, cells, strict=False) if name}
                yield number, _placed(record, "" if own or not prefix.parts else f"{prefix}/") | own

    columns = [name for name in first.columns if name] + list(_partitions(files[0].parent.relative_to(folder)))
    return record_rows(str(folder), records(), columns=columns, textual=first.textual, unit="row")


def _placed(record: dict[str, object], prefix: str) -> dict[str, object]:
    """Return *record* with *prefix* before the names of its files, or before the members of a Parquet file."""
    if not prefix:
        return record
    placed = dict(record)
    for name in ("file_name", "file_names"):
        value = record.get(name)
        if isinstance(value, str) and value and not value.startswith("["):
            placed[name] = prefix + value
        elif isinstance(value, list):
            placed[name] = [f"{prefix}{each}" for each in value]
    return placed


def _partitions(folder: Path) -> dict[str, object]:
    pairs = (found for part in folder.parts if (found := _PARTITION.fullmatch(part)))
    return {pair[1]: _partition_value(unquote(pair[2])) for pair in pairs}


def _partition_value(text: str) -> object:
    if text == _NO_PARTITION:
        return None
    return int(text) if re.fullmatch("0|-?[1-9][0-9]{0,17}", text) else text


def tar_rows(tars: Sequence[Path]) -> Rows:
    """Return the samples of *tars*, as webdataset and img2dataset write them: files that differ in their extension.

    Images become the image; JSON becomes columns; text is the column `caption`.
    """
    samples = chain.from_iterable(_samples(tar, shared=len(tars) > 1) for tar in tars)
    numbered = ((number, sample) for number, sample in enumerate(samples, 1))
    return record_rows(
        str(tars[0] if len(tars) == 1 else tars[0].parent), numbered, columns=["id", "image"], unit="row"
    )


def _samples(tar: Path, *, shared: bool) -> Iterator[dict[str, object]]:
    sample: dict[str, object] = {}
    images: list[str] = []
    current = None
    try:
        with tar.open("rb") as file:
            for name, offset, size in tar_members(tar):
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
                elif kind in {".json", ".txt", ".cls"}:
                    file.seek(offset)
                    sample |= _described(kind, file.read(size))
        if current is not None:
            yield {**sample, "id": _key(current, tar, shared=shared), "image": images}
    except OSError as error:
        remedy = machine_remedy(error) or "write it again"
        raise CatalogError(f"cannot be read as tar ({first_line(error)}); {remedy}", path=str(tar)) from error


def _described(kind: str, data: bytes) -> dict[str, object]:
    text = data.decode("utf-8", "replace").strip()
    if kind != ".json":
        return {"caption" if kind == ".txt" else "class": text}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return (
        {name: each for name, each in value.items() if name not in {"id", "image"}} if isinstance(value, dict) else {}
    )


def _key(key: str, tar: Path, *, shared: bool) -> str:
    return f"{tar.stem}/{key}" if shared and not key.startswith(tar.stem) else key
