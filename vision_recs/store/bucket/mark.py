"""Which folders are copies of stores in buckets; of a store in no bucket, this is all that is asked."""

from __future__ import annotations

import json
from pathlib import Path

from vision_recs.errors import read_error
from vision_recs.remote.addresses import is_bucket_address

MARK = ".bucket"
"""The file of a copy that says of which address it is one."""


def address_of(root: Path) -> str | None:
    """Return the address of which the folder *root* is a copy, None where it is a store of its own."""
    try:
        return str(json.loads((root / MARK).read_text("utf-8"))["address"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise read_error(root / MARK, error, f"remove {root}, which is a copy of a bucket") from error


def folder_of(store: str | Path, *, pulled: bool = True) -> Path:
    """Return the folder of *store*: for an address in a bucket, its copy in the cache, *pulled* as far as can be."""
    if not is_bucket_address(str(store)):
        return Path(store)
    from vision_recs.store.bucket.copies import copy_of, refresh

    folder = copy_of(str(store))
    if pulled:
        refresh(folder)
    return folder
