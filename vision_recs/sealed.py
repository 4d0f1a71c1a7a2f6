"""JSON text that notices when any of its bytes was altered."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from vision_recs.errors import StoreDamaged

_CHECKSUM = "checksum"
_SEAL = re.compile(rb'(,\n|\{\n) "checksum": "([0-9a-f]{64})"(,\n|\n)')


def seal(value: Mapping[str, Any]) -> bytes:
    """Return *value* as readable JSON that carries the SHA-256 of itself under the key "checksum".

    Equal values give equal bytes: keys are sorted. Raises ValueError for NaN, infinity, or a key "checksum" of its own.
    """
    if _CHECKSUM in value:
        raise ValueError(f"the key {_CHECKSUM!r} belongs to the seal; keep {value[_CHECKSUM]!r} under another key")
    return _canonical({**value, _CHECKSUM: hashlib.sha256(_canonical(value)).hexdigest()})


def unseal(data: bytes) -> dict[str, Any]:
    """Return what was sealed, without its checksum; raises StoreDamaged where a single byte differs."""
    found = _SEAL.findall(data)
    if len(found) != 1:
        raise StoreDamaged(f"{len(data)} bytes are no sealed JSON; restore or rebuild them")
    before, checksum, after = found[0]
    # what was sealed is the text without the line of the seal; writing it anew would take longer than reading it
    unsealed = data.replace(before + _line(checksum) + after, before if after == b",\n" else b"\n", 1)
    if before == b"{\n" and after == b"\n":
        unsealed = b"{}\n"
    if hashlib.sha256(unsealed).hexdigest().encode() != checksum:
        raise StoreDamaged(
            f"{len(data)} bytes of sealed JSON were altered since they were written; restore or rebuild them"
        )
    value: dict[str, Any] = json.loads(data)
    del value[_CHECKSUM]
    return value


def _line(checksum: bytes) -> bytes:
    return b' "checksum": "' + checksum + b'"'


def _canonical(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()
