"""From a path or an address to a catalog: a folder of images, or a table."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from vision_recs.catalog.bucket_folder import BucketFolder
from vision_recs.catalog.bucket_path import BucketPath
from vision_recs.catalog.columns import CatalogOptions
from vision_recs.catalog.folder import FolderCatalog
from vision_recs.catalog.places import Folder, Place, extension_of, unreadable
from vision_recs.catalog.sources import EXTENSIONS, is_table_folder
from vision_recs.catalog.table import TableCatalog
from vision_recs.catalog.web_file import WebFile
from vision_recs.errors import CatalogError, machine_remedy
from vision_recs.remote.addresses import is_address, is_bucket_address
from vision_recs.remote.buckets import BucketImages
from vision_recs.remote.images import RemoteImages
from vision_recs.remote.object_store import ObjectError

AnyCatalog: TypeAlias = FolderCatalog | BucketFolder | TableCatalog


def open_catalog(path: str | os.PathLike[str], options: CatalogOptions | None = None) -> AnyCatalog:
    """Return the catalog at *path*: a folder of images, a table, or an export of a shop system.

    A table is a file (.csv, .tsv, .txt, .jsonl, .ndjson, .parquet, .xml, .tar; each also with .gz) or a folder of its
    parts. What *path* names may lie in a bucket: `s3://bucket/photos`, also gs:// and az://; a file, also on a web
    server. Raises CatalogError where *path* does not exist or is neither, where an option belongs to the other kind,
    and where a table lacks a column. An error further down in a table is raised while iterating.
    """
    options = options or CatalogOptions()
    if options.images is not None and not is_address(options.images):
        options = replace(options, images=str(Path(options.images).absolute()))
    remote = RemoteImages(options.remote)
    location = os.fspath(path)
    if not is_address(location):
        return _opened(Path(path).absolute(), options, remote)
    if not is_bucket_address(location):
        return _opened(WebFile(location, options.remote, EXTENSIONS), options, remote)
    try:
        return _opened(_place_in_bucket(location, remote.buckets()), options, remote)
    except ObjectError as error:
        raise unreadable(error, location) from error


def _opened(place: Place, options: CatalogOptions, remote: RemoteImages) -> AnyCatalog:
    location = str(place)
    if not isinstance(place, WebFile) and _is_folder(place):
        if not options.item_per_folder and is_table_folder(place):
            return TableCatalog(place, options, remote)
        if options.id_column or options.image_column or options.image_attributes or options.format or options.images:
            raise CatalogError("a folder of images has no columns; give a table, or name no column", path=location)
        if isinstance(place, BucketPath):
            return BucketFolder(place, remote, item_per_folder=options.item_per_folder)
        return FolderCatalog(location, item_per_folder=options.item_per_folder, images_below=options.images_below)
    if extension_of(place.name) not in EXTENSIONS:
        kinds = ", ".join(EXTENSIONS)
        raise CatalogError(f"this is no catalog; give a folder of images or a table ({kinds})", path=location)
    if options.item_per_folder:
        raise CatalogError("items per folder are for folders; leave out --item-per-folder", path=location)
    return TableCatalog(place, options, remote)


def _place_in_bucket(address: str, buckets: BucketImages) -> BucketPath:
    """Return the file or folder at *address*; raises ObjectError, CatalogError."""
    place = BucketPath.of(address, buckets)
    if not address.endswith("/") and extension_of(place.name) in EXTENSIONS and place.is_file():
        return replace(place, folder=False)
    if not place.is_dir():
        raise CatalogError("there is no such file or folder; check the address", path=address)
    return replace(place, folder=True)


def _is_folder(place: Folder) -> bool:
    if isinstance(place, BucketPath):
        return place.is_dir()
    try:
        return stat.S_ISDIR(place.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise CatalogError("there is no such file or folder; check the path", path=str(place)) from error
    except OSError as error:
        remedy = machine_remedy(error) or "check the disk"
        raise CatalogError(f"it cannot be read ({error.strerror}); {remedy}", path=str(place)) from error
