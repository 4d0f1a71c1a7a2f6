"""Addresses: which references name an image, or a file, that is not on this machine."""

from __future__ import annotations

import re

_ADDRESS = re.compile(r"(https?|s3|gs|az)://", re.IGNORECASE)


def scheme_of(reference: str) -> str | None:
    """Return the scheme of the address *reference* in small letters, as "https"; None for a path."""
    found = _ADDRESS.match(reference)
    return found[1].lower() if found else None


def is_address(reference: str) -> bool:
    """Whether *reference* is an address: http, https, s3, gs or az."""
    return _ADDRESS.match(reference) is not None


def joined(root: str, reference: str) -> str:
    """Return the address of *reference*, which is an address, or a path below the address *root*."""
    return reference if is_address(reference) else f"{root.rstrip('/')}/{reference.lstrip('/')}"
