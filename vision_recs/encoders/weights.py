"""Where published weights lie: the libraries' own caches first, then one attempt to fetch them."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from vision_recs.encoders.checkpoints import first_sentence
from vision_recs.errors import WeightsNotFound


def from_hub(repository: str, files: Sequence[str], *, encoder: str, revision: str | None = None) -> Path:
    """Return the first of *files* that huggingface.co/*repository* has, from its cache where it is there.

    *revision* is a commit; None is the newest. Raises WeightsNotFound where none can be had.
    """
    from huggingface_hub import try_to_load_from_cache

    for file in files:
        # Not hf_hub_download(local_files_only=True), which asks the server for a list of agents to report.
        cached = try_to_load_from_cache(repository, file, revision=revision)
        if isinstance(cached, str):
            return Path(cached)
    return _download_from_hub(repository, files, encoder=encoder, revision=revision)


def _download_from_hub(repository: str, files: Sequence[str], *, encoder: str, revision: str | None) -> Path:
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError

    place = f"{files[0]} of huggingface.co/{repository} in {constants.HF_HUB_CACHE}"
    for file in files:
        try:
            # Asked once: hf_hub_download alone repeats the question for 23 seconds on a machine that is offline.
            get_hf_file_metadata(hf_hub_url(repository, file, revision=revision))
            with quiet():
                return Path(hf_hub_download(repository, file, revision=revision))
        except EntryNotFoundError as error:
            missing: Exception = error
        except Exception as error:  # the border to a downloader whose HTTP library changes with its version
            raise _not_found(encoder, place, error) from error
    raise _not_found(encoder, place, missing) from missing


def from_url(url: str, *, encoder: str) -> Path:
    """Return the file of *url* in the folder of torch.hub, downloaded where it is not there yet.

    A checksum in the file's name ("resnet50-11ad3fa6.pth") is verified. Raises WeightsNotFound.
    """
    import torch

    file = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    if file.is_file():
        return file
    checksum = re.search(r"-([a-f0-9]{8,})\.", file.name)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(file), checksum and checksum[1], progress=False)
    except (OSError, RuntimeError) as error:
        raise _not_found(encoder, str(file), error) from error
    return file


def _not_found(encoder: str, place: str, error: Exception) -> WeightsNotFound:
    return WeightsNotFound(
        f"the weights of {encoder} are not on this machine and could not be fetched ({first_sentence(error)}): "
        f"looked for {place}; go online once, or pass --weights FILE"
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries from printing, warning and logging to the root logger while a model is loaded.

    open_clip logs through `logging.warning`, which would also install a handler in a program that has none.
    """
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    root, handler = logging.getLogger(), logging.NullHandler()
    bars = not are_progress_bars_disabled()
    root.addHandler(handler)
    root.addFilter(_not_from_open_clip)
    if bars:
        disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if bars:
            enable_progress_bars()
        root.removeFilter(_not_from_open_clip)
        root.removeHandler(handler)


def _not_from_open_clip(record: logging.LogRecord) -> bool:
    return "open_clip" not in Path(record.pathname).parts
