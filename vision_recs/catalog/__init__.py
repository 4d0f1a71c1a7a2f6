"""A folder of images or a table becomes a catalog of items.

opening         from a path or an address to a catalog
table, folder   the two kinds of catalog; `bucket_folder` is a folder in a bucket
places          where files of a catalog lie: `bucket_path` is one in a bucket, `web_file` one on a web server;
                `parted_file` reads them here and there
tar_index       what is in a tar, kept for one in a bucket
sources         where the rows of a table come from: a file or a folder of them; exports are recognized
exports         the exports of shop systems become rows with the columns that visrec knows
readers         CSV, JSON Lines and Parquet (`parquet`) become rows of cells; `text_files` finds out the encoding
columns         the options; which columns hold ids and images, and what their cells mean
cell_types      cells become attributes; `amounts` reads prices, `observations` sees what a person should know
value_types     which types the values of an attribute have, and what to say where these are several
row_store       rows set aside, and read back item by item
grouping        the rows of an item become the item
changes         items to add, to change or to remove, for `visrec update`
findings        what is left out, and what is worth a sentence
image_files     the bytes of images that lie in files, or inside of them (`members`)
judgments       tables of pairs of items that are similar
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vision_recs._lazy import lazy_names

if TYPE_CHECKING:
    from vision_recs.catalog.bucket_folder import BucketFolder
    from vision_recs.catalog.columns import CatalogOptions
    from vision_recs.catalog.folder import FolderCatalog
    from vision_recs.catalog.opening import open_catalog
    from vision_recs.catalog.table import TableCatalog

_HOMES = {
    "BucketFolder": "bucket_folder",
    "CatalogOptions": "columns",
    "FolderCatalog": "folder",
    "TableCatalog": "table",
    "open_catalog": "opening",
}

__all__ = ["BucketFolder", "CatalogOptions", "FolderCatalog", "TableCatalog", "open_catalog"]

__getattr__ = lazy_names(__name__, _HOMES)
