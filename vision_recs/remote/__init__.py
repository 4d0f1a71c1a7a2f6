"""Images and files that are not on this machine.

addresses     which references are addresses
options       how images are fetched
images        the source of images at addresses, by scheme
web           images from web servers, politely and safely
answers       what the answer of a web server means
hosts         how much is asked of one host, and when: pace, pauses, patience
robots        what the robots.txt of a host allows
connection    connections to web servers: kept open, pinned to an address, with deadlines
guard         which addresses are public, and what a name resolves to
buckets       images in buckets of S3, Google Cloud Storage and Azure
listings      the signatures of many objects of a bucket, by as few requests as can be
object_store  objects in buckets: read, read in part, listed; by obstore
remote_folder  a folder in a bucket that is written to
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vision_recs._lazy import lazy_names

if TYPE_CHECKING:
    from vision_recs.remote.options import RemoteOptions

_HOMES = {"RemoteOptions": "options"}

__all__ = ["RemoteOptions"]

__getattr__ = lazy_names(__name__, _HOMES)
