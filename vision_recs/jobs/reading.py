"""Where images are read: files by the threads that decode, addresses by threads of their own, which mostly wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from vision_recs.catalog.image_files import ImageFiles
from vision_recs.jobs.progress import ShouldStop
from vision_recs.remote.addresses import is_address
from vision_recs.types import ImageSource

_AHEAD = 4  # images for each thread: one that comes late holds up those behind it


class ReadingPool(Executor):
    """Runs a function of a staged image on the threads of *local*, or of *remote* where the image is at an address."""

    def __init__(self, local: Executor, remote: Executor, *, all_remote: bool) -> None:
        """Use both pools, which somebody else shuts down; *all_remote* where paths lie below an address, too."""
        self._local = local
        self._remote = remote
        self._all_remote = all_remote

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:  # noqa: ANN401
        """Call *function* with *args*, of which the first one is the image."""
        is_remote = self._all_remote or is_address(args[0].image)
        return (self._remote if is_remote else self._local).submit(function, *args, **kwargs)


@contextmanager
def reading_pool(
    source: ImageSource, local: Executor, window: int, should_stop: ShouldStop, *, has_addresses: bool
) -> Iterator[tuple[Executor, int]]:
    """Yield what images are read by, and how many of them ahead, which is *window* unless one of them *has_addresses*.

    What waits for its turn at a host gives up where *should_stop* returns True.
    """
    remote = source.remote if isinstance(source, ImageFiles) else None
    all_remote = isinstance(source, ImageFiles) and source.is_remote
    if remote is None or not (all_remote or has_addresses):
        yield local, window
        return
    threads = remote.options.threads
    remote.should_stop = should_stop
    with remote.sharing(), ThreadPoolExecutor(threads, thread_name_prefix="visrec-fetch") as fetching:
        yield ReadingPool(local, fetching, all_remote=all_remote), max(window, _AHEAD * threads)
