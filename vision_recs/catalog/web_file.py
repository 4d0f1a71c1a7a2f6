"""A file of a catalog on a web server."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import PurePosixPath
from typing import BinaryIO, cast
from urllib.parse import unquote, urlsplit

from vision_recs.catalog.parted_file import Parts, opened
from vision_recs.errors import CatalogError, ImageError
from vision_recs.remote.object_store import ObjectStatus
from vision_recs.remote.options import RemoteOptions

_MAX_BYTES = 1 << 34
_MOST_S = 3_600.0  # of the download; bytes have to come as often as the options say
_EXTENSIONS = {
    "text/csv": ".csv",
    "application/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "text/plain": ".txt",
    "application/xml": ".xml",
    "text/xml": ".xml",
    "application/rss+xml": ".xml",
    "application/atom+xml": ".xml",
    "application/jsonl": ".jsonl",
    "application/x-ndjson": ".jsonl",
    "application/vnd.apache.parquet": ".parquet",
}
"""What a file is by its media type, where its address does not end like a table."""


class WebFile:
    """A file on a web server, with what catalogs need of `pathlib.Path`; it is fetched once, into a temporary file."""

    def __init__(self, address: str, options: RemoteOptions, known: tuple[str, ...]) -> None:
        """Fetch the file at *address*, as *options* say; raises CatalogError.

        Where the name in the address has none of the *known* extensions, nor the one to which it leads, the media type
        tells it.
        """
        self._address = address
        from vision_recs.remote.web import WebImages

        patient = replace(options, max_bytes=_MAX_BYTES, total_s=_MOST_S)
        with tempfile.TemporaryFile() as copy:
            try:
                found = WebImages(patient).download(address, cast("BinaryIO", copy))
            except ImageError as error:
                raise CatalogError(str(error), path=address) from error
            copy.flush()
            self._parts = Parts(cast("BinaryIO", copy))
        self._url = found.url
        names = [PurePosixPath(unquote(urlsplit(url).path)).name for url in (address, found.url)]
        usable = (name for name in names if name.lower().removesuffix(".gz").endswith(known))
        self.name = next(usable, names[0] + _EXTENSIONS.get(found.media_type, ""))
        """The last part of the path, with the extension of what it is."""

    def __str__(self) -> str:
        """Return the address."""
        return self._address

    @property
    def stem(self) -> str:
        """The name without its extension."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """The extension, with its dot."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> str:
        """The address of the folder to which images are relative: that of the file itself, behind all redirects."""
        return urlsplit(self._url)._replace(query="", fragment="").geturl().rpartition("/")[0]

    def is_dir(self) -> bool:
        """Return False: nobody can list what a web server has."""
        return False

    def is_file(self) -> bool:
        """Return True."""
        return True

    def status(self) -> ObjectStatus:
        """Return the size; the file does not change."""
        return ObjectStatus(self.name, self._parts.size, "")

    def parts(self, version: str) -> Parts:
        """Return the bytes; there is one *version* only."""
        del version
        return self._parts

    def open(self) -> BinaryIO:
        """Open the file, to be read here and there."""
        return opened(self._parts)
