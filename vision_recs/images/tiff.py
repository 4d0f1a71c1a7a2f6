"""Layouts of TIFF that Pillow would decode wrongly without a word: they are refused, and all others decode right."""

from __future__ import annotations

from typing import Any, Final

from PIL.ImageFile import ImageFile

from vision_recs.errors import ImageError

_BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _PLANES = 258, 259, 262, 266, 284
_EXTRA, _SAMPLE_FORMAT, _SUBSAMPLING = 338, 339, 530

_ZERO_IS_WHITE, _PALETTE, _YCBCR = 0, 3, 6
_RAW, _REVERSED, _SEPARATE, _SIGNED = 1, 2, 2, 2
_ALPHA: Final = (2,)
_BYTE, _WORD = 8, 16


def require_known_layout(image: ImageFile) -> None:
    """Raise ImageError "unsupported" for a TIFF *image*, whose header is read, that Pillow would decode wrongly."""
    why = _fault(getattr(image, "tag_v2", {}))
    if why is not None:
        raise ImageError("unsupported", f"a TIFF image with {why} is not decoded; save it anew")


def _fault(tags: Any) -> str | None:  # noqa: ANN401 - Pillow types it by no protocol
    bits = max(_all(tags, _BITS, 1))
    photometric = tags.get(_PHOTOMETRIC, _ZERO_IS_WHITE)
    is_raw = tags.get(_COMPRESSION, _RAW) == _RAW
    separate = tags.get(_PLANES, 1) == _SEPARATE
    if _SIGNED in _all(tags, _SAMPLE_FORMAT, 1) and bits <= _WORD:
        return "signed samples"
    if separate and (bits != _BYTE or photometric == _ZERO_IS_WHITE or _all(tags, _EXTRA, 2) != _ALPHA):
        return f"separate planes of {bits} bits and this meaning"
    reversed_bits = is_raw and tags.get(_FILL_ORDER, 1) == _REVERSED
    if reversed_bits and (separate or photometric == _PALETTE or (photometric == _ZERO_IS_WHITE and bits == _BYTE)):
        return "bits in reverse order"
    if is_raw and photometric == _YCBCR and _all(tags, _SUBSAMPLING, 2) not in {(1, 1), (1,)}:
        return "subsampled colors that are not compressed"
    return None


def _all(tags: Any, tag: int, default: int) -> tuple[int, ...]:  # noqa: ANN401
    value = tags.get(tag, default)
    return tuple(value) if isinstance(value, tuple) else (value,)
