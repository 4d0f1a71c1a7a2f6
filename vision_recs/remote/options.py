"""How images at addresses are fetched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from vision_recs._version import __version__

USER_AGENT: Final = f"visrec/{__version__} (fetches product images for visual search)"


@dataclass(frozen=True, slots=True)
class RemoteOptions:
    """How images at addresses are fetched. The defaults spare the hosts of others.

    The images are a shop's own with *own_images*: robots.txt is not asked. Addresses in private networks are refused
    unless *allow_private*. *per_host* requests at a time go to one host, and *pace* begin there in a second.

    A connection has to be made within *connect_s* seconds, bytes have to come every *idle_s*, and a request has to end
    within *total_s*. An image of more than *max_bytes* is not read. What may pass is tried *tries* times; the first
    pause is *backoff_s*, and each is twice as long as the one before. A host that asks for a pause, or fails again and
    again, gets one of at most *max_rest_s*; where it wants a longer one, its images are left for another run.
    *threads* is how many images are fetched at the same time, from all hosts.
    """

    own_images: bool = False
    allow_private: bool = False
    per_host: int = 8
    pace: float = 50.0
    user_agent: str = USER_AGENT
    connect_s: float = 5.0
    idle_s: float = 15.0
    total_s: float = 60.0
    max_bytes: int = 1 << 26
    tries: int = 4
    backoff_s: float = 0.5
    max_rest_s: float = 120.0
    threads: int = 32

    def __post_init__(self) -> None:
        """Refuse numbers that are not above zero (ValueError)."""
        for name in ("per_host", "pace", "connect_s", "idle_s", "total_s", "max_bytes", "tries", "threads"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")

    def stored(self) -> dict[str, Any]:
        """Return what a manifest keeps: all that differs from the defaults."""
        return {
            each.name: getattr(self, each.name) for each in fields(self) if getattr(self, each.name) != each.default
        }

    @classmethod
    def from_stored(cls, values: Mapping[str, Any]) -> RemoteOptions:
        """Return the options that `stored` gave; raises ValueError."""
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(str(error)) from error

    def hurried(self) -> RemoteOptions:
        """Return the same for somebody who waits for a page: one try, and no pause."""
        return replace(self, tries=1, max_rest_s=0.0, connect_s=min(self.connect_s, 3.0), total_s=min(self.total_s, 10))
