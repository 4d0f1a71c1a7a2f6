"""Download of images from URLs in queries, without giving access to private networks (SSRF): see `remote.guard`."""

from __future__ import annotations

from typing import Final

from vision_recs.errors import ImageError, RequestError
from vision_recs.remote.options import RemoteOptions
from vision_recs.remote.web import WebImages
from vision_recs.types import ImageData

_PORTS: Final = frozenset({80, 443})
_TOO_LARGE: Final = 413
_UNUSABLE: Final = 422


def fetch_image(url: str, *, max_bytes: int, timeout_s: float) -> bytes:
    """Return the image at *url*, at most *max_bytes*.

    Raises RequestError 422 if the address is not public, if the answer is not an image by its media type, or if the
    download fails or takes longer than *timeout_s* altogether, and 413 if the image is too large.
    """
    options = RemoteOptions(
        own_images=True,  # who asks names one image, as a browser does
        connect_s=timeout_s,
        idle_s=timeout_s,
        total_s=timeout_s,
        max_bytes=max_bytes,
        tries=1,
        max_rest_s=0.0,
    )
    web = WebImages(options, ports=_PORTS)
    try:
        found = web.read(url)
    except ImageError as error:
        status = _TOO_LARGE if error.reason == "too-large" else _UNUSABLE
        raise RequestError(_for_client(error, url, timeout_s), status=status) from None
    finally:
        web.close()
    assert isinstance(found, ImageData)
    return found.data


def _for_client(error: ImageError, url: str, timeout_s: float) -> str:
    """Return what the client is told, who cannot change how the server fetches."""
    if error.reason == "timeout":
        return f"{url!r} was not downloaded within {timeout_s:g} s; try again, or send the image"
    if error.reason == "private-address":
        return f"{url!r} is not a public address; name a host that everybody can reach"
    return str(error)
