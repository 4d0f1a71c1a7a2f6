"""JSON text with a checksum, which shows whether any of its bytes was altered."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from vision_recs.errors import StoreDamaged

_CHECKSUM = "checksum"
_CHECKSUM_LINE = re.compile(rb'(,\n|\{\n) "checksum": "([0-9a-f]{64})"(,\n|\n)')


def dump_checksummed(value: Mapping[str, Any]) -> bytes:
    """Return *value* as readable JSON that carries the SHA-256 of itself under the key "checksum".

    Equal values give equal bytes: keys are sorted. Raises ValueError for NaN, infinity, or a key "checksum" of its own.
    """
    if _CHECKSUM in value:
        raise ValueError(f"the key {_CHECKSUM!r} belongs to the checksum; keep {value[_CHECKSUM]!r} under another key")
    return _canonical({**value, _CHECKSUM: hashlib.sha256(_canonical(value)).hexdigest()})


def load_checksummed(data: bytes) -> dict[str, Any]:
    """Return what was dumped, without its checksum; raises StoreDamaged where a single byte differs."""
    found = _CHECKSUM_LINE.findall(data)
    if len(found) != 1:
        raise StoreDamaged(f"{len(data)} bytes are not checksummed JSON; restore or rebuild them")
    before, checksum, after = found[0]
    # what was dumped is the text without the line of the checksum; writing it anew would take longer than reading it
    plain = data.replace(before + _line(checksum) + after, before if after == b",\n" else b"\n", 1)
    if before == b"{\n" and after == b"\n":
        plain = b"{}\n"
    if hashlib.sha256(plain).hexdigest().encode() != checksum:
        raise StoreDamaged(
            f"{len(data)} bytes of checksummed JSON were altered since they were written; restore or rebuild them"
        )
    value: dict[str, Any] = json.loads(data)
    del value[_CHECKSUM]
    return value


def _line(checksum: bytes) -> bytes:
    return b' "checksum": "' + checksum + b'"'


def _canonical(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()
