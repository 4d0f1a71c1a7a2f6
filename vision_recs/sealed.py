"""JSON text that notices when any of its bytes was altered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from vision_recs.errors import StoreDamaged

_CHECKSUM = "checksum"


def seal(value: Mapping[str, Any]) -> bytes:
    """Return *value* as readable JSON that carries the SHA-256 of itself under the key "checksum".

    Equal values give equal bytes: keys are sorted. Raises ValueError for NaN, infinity, or a key "checksum" of its own.
    """
    if _CHECKSUM in value:
        raise ValueError(f"the key {_CHECKSUM!r} belongs to the seal; keep {value[_CHECKSUM]!r} under another key")
    return _canonical({**value, _CHECKSUM: hashlib.sha256(_canonical(value)).hexdigest()})


def unseal(data: bytes) -> dict[str, Any]:
    """Return what was sealed, without its checksum; raises StoreDamaged where a single byte differs."""
    try:
        value: dict[str, Any] = json.loads(data)
        del value[_CHECKSUM]
        sealed = seal(value)
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise StoreDamaged(f"{len(data)} bytes are no sealed JSON ({error!r}); restore or rebuild them") from error
    # Comparing whole texts, and not checksums alone, also notices bytes that JSON does not care about, as spaces.
    if sealed != data:
        raise StoreDamaged(
            f"{len(data)} bytes of sealed JSON were altered since they were written; restore or rebuild them"
        )
    return value


def _canonical(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()
