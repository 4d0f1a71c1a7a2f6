"""Image folders of Hugging Face: `metadata.csv`, `.jsonl` or `.parquet` with the column `file_name` or `file_names`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import PurePosixPath

from vision_recs.catalog.columns import CellError, image_references
from vision_recs.catalog.exports.base import Cells, Export, Part, either
from vision_recs.catalog.findings import Findings

_FILES = ("filename", "filenames", "imagefilename", "imagefilenames")
_PLAIN = re.compile(r"[\w-][\w.-]*(?:/[\w-][\w.-]*)*")


def _recognizes(names: AbstractSet[str]) -> bool:
    return bool(names & set(_FILES)) and "image" not in names


def _translate(parts: Iterator[Part], titles: Mapping[str, str], findings: Findings) -> Iterator[Part]:
    del findings
    used = {*_FILES, "id"}
    for part in parts:
        files = _files(part)
        columns = {titles.get(name, name): cells for name, cells in part.columns.items() if name not in used}
        columns |= {"id": either(part.cells("id"), list(map(_stem, files))), "image": files}
        yield Part(part.lines, columns)


def _files(part: Part) -> Cells:
    found = [part.columns[name] for name in _FILES if name in part.columns]
    return part.cells(*_FILES) if len(found) <= 1 else [_together(cells) for cells in zip(*found, strict=True)]


def _together(cells: Sequence[object]) -> list[object]:
    try:
        return [reference for cell in cells for reference in image_references(cell)]
    except CellError:  # which is told when the images are looked at
        return list(cells)


def _stem(cell: object) -> str | None:
    """Return the path of the first file of *cell* without its extension."""
    if isinstance(cell, str) and _PLAIN.fullmatch(cell):  # as most are, at a fifth of the time
        stem, dot, extension = cell.rpartition(".")
        return stem if dot and extension and "/" not in extension else cell
    try:
        first = next(iter(image_references(cell)), None)
    except CellError:
        return str(cell)
    path = PurePosixPath(first or "")
    return str(path.with_suffix("")) if path.name else first


EXPORT = Export("huggingface", "an image folder of Hugging Face", _recognizes, _translate)
