"""Addresses: which references name an image, or a file, that is not on this machine."""

from __future__ import annotations

import re

_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ADDRESS = re.compile(r"(https?|s3|gs|az)://", re.IGNORECASE)


def scheme_of(reference: str) -> str | None:
    """Return the scheme of the address *reference* in small letters, as "https"; None for a path."""
    found = _ADDRESS.match(reference)
    return found[1].lower() if found else None


def is_address(reference: str) -> bool:
    """Whether *reference* is an address: http, https, s3, gs or az."""
    return _ADDRESS.match(reference) is not None


def is_bucket_address(text: str) -> bool:
    """Whether *text* is the address of a bucket or of something in it."""
    return scheme_of(text) in {"s3", "gs", "az"}


def joined(root: str, reference: str) -> str:
    """Return the address of *reference*, which is an address, or a path below the address *root*."""
    if is_address(reference):
        return reference
    if scheme_of(root) in {"http", "https"}:  # what a name may have, and the path of an address has not as it is
        reference = _STRAY_PERCENT.sub("%25", reference.replace("\\", "/")).replace("#", "%23")
    return f"{root.rstrip('/')}/{reference.lstrip('/')}"
