"""Small images for pages."""

from __future__ import annotations

from io import BytesIO

from PIL import Image


def thumbnail(image: Image.Image, *, max_side: int, quality: int = 82) -> bytes:
    """Return *image* (mode RGB) as a JPEG whose longer side is at most *max_side* pixels, without metadata.

    A smaller image keeps its size. *quality* is libjpeg's, 1 to 95. Raises ValueError for max_side < 1.
    """
    if max_side < 1:
        raise ValueError(f"max_side is {max_side}; it must be 1 or more")
    scale = min(1.0, max_side / max(image.size))
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    small = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    small.info = {}  # Pillow would write its comment
    buffer = BytesIO()
    small.save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()
