"""Objects in buckets of S3, Google Cloud Storage and Azure: read, read in part, listed; by obstore."""

from __future__ import annotations

import os
import posixpath
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from vision_recs.remote.options import RemoteOptions

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

SCHEMES: Final = ("s3", "gs", "az")
"""What an address in a bucket begins with, before ://."""

PAGE: Final = 1_000
"""The objects that one request lists at most."""

_ADDRESS: Final = re.compile(r"(s3|gs|az)://([^/]*)/*(.*)", re.IGNORECASE | re.DOTALL)
_VARIABLES: Final = {"s3": "AWS", "gs": "GOOGLE", "az": "AZURE"}
_OF_THE_CLIENT: Final = ("allow_http", "proxy_url", "proxy_ca_certificate", "proxy_excludes")
_CREDENTIALS: Final = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_SKIP_SIGNATURE=true for a public bucket",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, or GOOGLE_SKIP_SIGNATURE=true for a public bucket",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or AZURE_SKIP_SIGNATURE=true for a public one",
}
_REST_S: Final = 30.0
_OF_THE_BUCKET: Final = {"refused", "timeout", "http-401", "http-429", "http-5xx"}
"""Reasons that hold for every object of a bucket, and would cost time with each."""
_METADATA_SERVICES: Final = ("169.254.169.254", "169.254.170.2", "metadata.google.internal", "TokenRequest")


class ObjectError(OSError):
    """An object that cannot be read.

    *reason* is one of `errors.REASONS`. The message says what happened, and *remedy* what helps.
    """

    def __init__(self, reason: str, message: str, remedy: str) -> None:
        """Keep the *reason* and the *remedy* beside the *message*."""
        super().__init__(message)
        self.reason = reason
        self.remedy = remedy


class ObjectStatus(NamedTuple):
    """An object without its bytes; *signature* changes whenever they do."""

    key: str
    size: int
    signature: str


def split_address(address: str) -> tuple[str, str]:
    """Return the bucket, as `s3://name`, and the key in *address*; raises ObjectError for one without a bucket.

    A key leads out of no bucket: `a/../b` is `b`.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None or not found[2]:
        raise ObjectError("remote", f"{address} names no bucket", "write s3://bucket/key")
    key = found[3]
    if "." in key.split("/") or ".." in key.split("/"):
        key = posixpath.normpath(f"/{key}").lstrip("/")
    return f"{found[1].lower()}://{found[2]}", key


def is_below(address: str, folder: str) -> bool:
    """Whether *address* is below the address *folder*, both in buckets; raises ObjectError."""
    bucket, key = split_address(address)
    own, prefix = split_address(folder)
    return bucket == own and f"{key}/".startswith(f"{prefix.strip('/')}/" if prefix else "")


class Bucket:
    """The objects of one bucket; safe to use from several threads.

    Credentials, region and endpoint are those of the environment, as obstore reads it: AWS_ACCESS_KEY_ID,
    AWS_ENDPOINT_URL, GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT_NAME and so on. An endpoint without
    encryption needs AWS_ALLOW_HTTP=true. What may pass is tried again; after that, the bucket is left alone for half a
    minute, in which every call fails at once.
    """

    def __init__(self, address: str, options: RemoteOptions | None = None) -> None:
        """Use the bucket at *address*, as `s3://name`, with the patience of *options*; nothing is read yet."""
        self.address = address
        self._options = options or RemoteOptions()
        self._scheme = address.partition(":")[0]
        self._lock = threading.Lock()
        self._opened: ObjectStore | None = None
        self._away: tuple[float, ObjectError] | None = None

    def get(self, key: str, *, known: str | None = None, limit: int) -> tuple[bytes, str] | None:
        """Return the bytes of the object *key* and its signature, or None if that is still *known*.

        Raises ObjectError, also for an object of more than *limit* bytes.
        """
        with self.asking(key) as store:
            from obstore.exceptions import NotModifiedError

            kind, _, etag = (known or "").partition(":")
            try:
                result = store.get(key, options={"if_none_match": f'"{etag}"'} if kind == "etag" else {})
            except NotModifiedError:
                return None
            status = _status(result.meta)
            if status.signature == known:
                return None
            if status.size > limit:
                what = f"{self.address}/{key} has {status.size:,} bytes"
                raise ObjectError("too-large", what, f"the limit is {limit:,}")
            return bytes(result.bytes()), status.signature

    def get_part(self, key: str, start: int, length: int, *, signature: str) -> bytes:
        """Return the bytes from *start* of the object *key*; raises ObjectError, also where *signature* is not its own.

        There are fewer than *length* at the end of the object.
        """
        with self.asking(key) as store:
            result = store.get(key, options={"range": (start, start + length)})
            if _status(result.meta).signature != signature:
                raise ObjectError("broken-off", f"{self.address}/{key} was changed while it was read", "run again")
            return bytes(result.bytes())

    def status(self, key: str) -> ObjectStatus:
        """Return what is known of the object *key* without its bytes; raises ObjectError."""
        with self.asking(key) as store:
            return _status(store.head(key))

    def pages(self, prefix: str) -> Iterator[list[ObjectStatus]]:
        """Yield the objects below the folder *prefix*, also those in folders in it: a page for each request.

        Their order is that of the bucket. Raises ObjectError.
        """
        with self.asking(prefix) as store:
            pages = iter(store.list(prefix or None, chunk_size=PAGE))
        while True:
            with self.asking(prefix):
                page = next(pages, None)
            if page is None:
                return
            yield [_status(meta) for meta in page]

    def children(self, prefix: str) -> tuple[list[str], list[str]]:
        """Return the keys of the folders and of the objects directly in the folder *prefix*; raises ObjectError."""
        with self.asking(prefix) as store:
            found = store.list_with_delimiter(prefix or None)
            return list(found["common_prefixes"]), [meta["path"] for meta in found["objects"]]

    @contextmanager
    def asking(self, key: str) -> Iterator[ObjectStore]:
        """Yield the store of obstore; raise ObjectError in place of what it raises about *key*.

        It is raised at once where the bucket was away just now.
        """
        if self._away is not None and time.monotonic() < self._away[0]:
            raise self._away[1]
        _require_own_runtime()
        try:
            yield self._store()
        except ObjectError:
            raise
        except Exception as error:
            found = _explained(error, self.address, key, self._scheme)
            if found.reason in _OF_THE_BUCKET:
                self._away = time.monotonic() + _REST_S, found
            raise found from error

    def _store(self) -> ObjectStore:
        with self._lock:
            if self._opened is None:
                self._opened = _opened(self.address, self._scheme, self._options)
            return self._opened


class ObjectParts:
    """The bytes of an object; safe to use from several threads."""

    def __init__(self, bucket: Bucket, status: ObjectStatus) -> None:
        """Read the object of that *status*: where another one has taken its place, every part raises ObjectError."""
        self._bucket = bucket
        self._status = status
        self.size = status.size

    def part(self, start: int, length: int) -> bytes:
        """Return *length* bytes from *start*, fewer at the end; raises ObjectError."""
        return self._bucket.get_part(self._status.key, start, length, signature=self._status.signature)


_used_by: int | None = None


def _require_own_runtime() -> None:
    """Raise ObjectError in a process that was forked from one that has read from buckets: it would wait for ever."""
    global _used_by  # noqa: PLW0603 - as the threads of obstore, which are of the process
    _used_by = _used_by or os.getpid()
    if _used_by != os.getpid():
        raise ObjectError("refused", "this process was forked from one that reads buckets", "start it by spawn")


def _opened(address: str, scheme: str, options: RemoteOptions) -> ObjectStore:
    try:
        from obstore.store import from_url
    except ImportError as error:
        raise ObjectError("remote", f"{scheme}:// is read by obstore", "pip install 'visrec[cloud]'") from error

    client: ClientConfig = {
        "timeout": timedelta(seconds=options.total_s),
        "connect_timeout": timedelta(seconds=options.connect_s),
        "user_agent": options.user_agent,
    }
    for option in _OF_THE_CLIENT:  # options that are given here hide those of the environment
        value = os.environ.get(f"{_VARIABLES[scheme]}_{option.upper()}")
        if value:
            client[option] = value
    retries: RetryConfig = {
        "max_retries": 2 * (options.tries - 1),
        "retry_timeout": timedelta(seconds=options.total_s),
        "backoff": {"init_backoff": timedelta(seconds=options.backoff_s)},
    }
    return from_url(address, client_options=client, retry_config=retries)


def _status(meta: ObjectMeta) -> ObjectStatus:
    etag = (meta["e_tag"] or "").removeprefix("W/").strip('"')
    changed = f"modified:{meta['last_modified'].timestamp()}-{meta['size']}"
    signature = f"etag:{etag}" if etag else f"version:{meta['version']}" if meta["version"] else changed
    return ObjectStatus(meta["path"], meta["size"], signature)


def _explained(error: Exception, bucket: str, key: str, scheme: str) -> ObjectError:
    """Return what *error* of obstore means for a person: the first of these rows whose condition holds."""
    text = str(error)
    code = (re.findall(r"<Code>(\w+)</Code>", text) or [""])[0]
    http = (re.findall(r"status code: (\d+)", text) or [""])[0]
    where = f"{bucket}/{key}" if key else bucket
    variable, credentials = _VARIABLES[scheme], _CREDENTIALS[scheme]
    is_elsewhere = "Redirect" in text or "AuthorizationHeaderMalformed" in text
    why = f"HTTP {http} {code}".strip() if http else text.partition("\n")[0].rpartition(" - ")[2].strip()[:100]
    is_late = "TimedOut" in text
    rows = (
        (
            "MissingAccount" in text or any(service in text for service in _METADATA_SERVICES),
            ("http-401", f"there are no credentials for {bucket}", f"set {credentials}"),
        ),
        (
            code in {"NoSuchBucket", "ContainerNotFound"},
            ("refused", f"there is no bucket {bucket}", "check the address"),
        ),
        (
            isinstance(error, FileNotFoundError) or http == "404",
            ("http-404", f"there is no object {where}", "check the address"),
        ),
        (http in {"401", "403"}, ("http-403", f"{where} may not be read ({code or http})", f"check {credentials}")),
        (
            "BadScheme" in text,
            ("refused", f"the endpoint of {bucket} is not encrypted", f"set {variable}_ALLOW_HTTP=true if it may be"),
        ),
        (is_elsewhere, ("refused", f"{bucket} is in another region", f"set {variable}_REGION")),
        (
            isinstance(error, ValueError),
            ("http-404", f"{where} has a name that obstore does not read", "rename the object"),
        ),
        (http in {"412", "416"}, ("broken-off", f"{where} was changed while it was read", "run again")),
    )
    found = next((found for holds, found in rows if holds), None)
    if found is None:
        reason = "timeout" if is_late else "http-429" if "SlowDown" in text else "http-5xx" if http else "refused"
        why = "it does not answer in time" if is_late else why
        found = reason, f"{bucket} cannot be reached ({why})", f"check the network and {variable}_ENDPOINT_URL"
    return ObjectError(*found)
