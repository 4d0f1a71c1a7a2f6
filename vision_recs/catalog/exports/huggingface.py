"""Image folders of Hugging Face: `metadata.csv`, `.jsonl` or `.parquet` with the column `file_name` or `file_names`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import PurePosixPath

from vision_recs.catalog.columns import image_references
from vision_recs.catalog.exports.base import Export, Record, Translated, others
from vision_recs.catalog.findings import Findings

_FILES = ("filename", "filenames", "imagefilename", "imagefilenames")


def _recognizes(names: AbstractSet[str]) -> bool:
    return bool(names & set(_FILES)) and "image" not in names


def _translate(records: Iterator[tuple[int, Record]], titles: Mapping[str, str], findings: Findings) -> Translated:
    del findings
    for line, record in records:
        files = [reference for name in _FILES for reference in image_references(record.get(name))]
        first = str(PurePosixPath(files[0]).with_suffix("")) if files else None
        item = {"id": record.get("id") or first, "image": files, **others(record, titles, {*_FILES, "id"})}
        yield line, item


EXPORT = Export("huggingface", "an image folder of Hugging Face", _recognizes, _translate)
