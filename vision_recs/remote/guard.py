"""Which addresses are public, and what names resolve to: no way into a private network (SSRF).

A host name is resolved once, every address that it resolves to has to be public, and connections go to one of these
addresses: resolving again could give another answer (DNS rebinding). This holds for each redirect.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Final

from vision_recs.errors import ImageError

_KEPT_S: Final = 300.0
_KEPT_AT_MOST: Final = 4_096  # names

SPECIAL_NETWORKS: Final = tuple(
    ipaddress.ip_network(network)
    for network in (
        # IANA IPv4 Special-Purpose Address Registry
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private use
        "100.64.0.0/10",  # shared address space of providers
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link local: metadata of clouds
        "172.16.0.0/12",  # private use
        "192.0.0.0/24",  # IETF protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private use
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
        # IANA IPv6 Special-Purpose Address Registry: what lies in 2000::/3, the only block with public addresses
        "2001::/23",  # IETF protocol assignments: Teredo, benchmarking, AMT, AS112, ORCHID, DRIP
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)
"""Networks whose addresses are not public."""

_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Return whether *address*, of IPv4 or IPv6, is a public one: a global unicast address without a special purpose.

    An IPv6 address that stands for an IPv4 address (mapped, or behind NAT64) is as public as that one.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        if ip in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
        if ip not in _GLOBAL_UNICAST:
            return False
    return not any(ip in network for network in SPECIAL_NETWORKS)


class Resolver:
    """Resolves names to addresses that may be connected to, and keeps them for some minutes; for several threads."""

    def __init__(self, *, allow_private: bool) -> None:
        """Refuse addresses that are not public, unless *allow_private*."""
        self._allow_private = allow_private
        self._known: dict[tuple[str, int], tuple[float, list[str]]] = {}
        self._lock = threading.Lock()

    def addresses(self, host: str, port: int, deadline: float) -> list[str]:
        """Return the addresses of *host*, one at least.

        Raises ImageError (private-address) where one of them is not public, OSError where there is none, and
        TimeoutError at the *deadline*, a time of `monotonic`.
        """
        with self._lock:
            until, found = self._known.get((host, port), (0.0, []))
        if monotonic() > until:
            found = _resolve(host, port, deadline)
            self._require_public(host, found)
            with self._lock:
                if len(self._known) >= _KEPT_AT_MOST:
                    self._known.clear()
                self._known[host, port] = monotonic() + _KEPT_S, found
        return found

    def _require_public(self, host: str, addresses: list[str]) -> None:
        if not self._allow_private and not all(map(is_public, addresses)):
            raise ImageError(
                "private-address", f"{host!r} is not a public address; to read from it, say --allow-private-addresses"
            )


def _resolve(host: str, port: int, deadline: float) -> list[str]:
    """Return the addresses of *host*; on a thread of its own, since a lookup cannot be interrupted."""
    outcome: SimpleQueue[list[str] | Exception] = SimpleQueue()

    def look_up() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            outcome.put(list(dict.fromkeys(str(info[4][0]) for info in found)))
        except Exception as error:  # noqa: BLE001 - raised by the thread that waits
            outcome.put(error)

    threading.Thread(target=look_up, name="visrec-dns", daemon=True).start()
    try:
        addresses = outcome.get(timeout=time_left(deadline))
    except Empty:
        raise TimeoutError from None
    if isinstance(addresses, Exception):
        raise addresses
    return addresses


def time_left(deadline: float) -> float:
    """Return how many seconds are left until *deadline*; raises TimeoutError where there are none."""
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError
    return left
