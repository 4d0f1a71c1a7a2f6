"""Connections: how many there may be, and that no client takes them all.

The web server lets anybody open connections and wait. It ends one whose request does not begin within 10 seconds, and
that is all; so a client that opens them anew as fast as they end would take every place.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import resource
import socket
import stat
import threading
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from time import monotonic
from typing import Final

from vision_recs.serve.proxies import TrustedProxies

MOST: Final = 8192
"""Connections of a worker; each takes 25 kB."""

SHARE_OF_CLIENT: Final = 8
"""A client may have one of so many connections; a trusted proxy, behind which all clients are, as many as there are."""

_OTHER_FILES: Final = 512
_FEWEST: Final = 128
_INTERVAL_S: Final = 0.5
_LOG_S: Final = 10.0
_DESCRIPTORS: Final = Path("/dev/fd")

log = logging.getLogger(__name__)


def allow_connections() -> int:
    """Let this process, and those that it starts, open the files for MOST connections; return how many there may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST + _OTHER_FILES
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        with suppress(OSError, ValueError):  # macOS allows less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
            soft = allowed
    return MOST if soft == resource.RLIM_INFINITY else max(_FEWEST, min(MOST, soft - _OTHER_FILES))


def client_of(address: str) -> str:
    """Return who has the IP *address*: itself, or the network /64 of an IPv6 address, which belongs to one client."""
    with suppress(ValueError):
        ip = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(ip, ipaddress.IPv6Address):
            if ip.ipv4_mapped is not None:
                return str(ip.ipv4_mapped)
            return str(ipaddress.ip_network((int(ip) >> 64 << 64, 64)))
    return address


def close_excess(port: int, most: int, proxies: TrustedProxies) -> Counter[str]:
    """End the connections to *port* that a client beside *proxies* has beyond *most*; return how many, by client.

    The sockets belong to the web server, which sees these connections end as if their clients had ended them.
    """
    found: Counter[str] = Counter()
    ended: Counter[str] = Counter()
    for path in _DESCRIPTORS.iterdir():
        with suppress(OSError):  # closed meanwhile, or no connection
            client = _end_beyond(int(path.name), port, most, proxies, found)
            if client is not None:
                ended[client] += 1
    return ended


def guard_connections(port: int, most: int, proxies: TrustedProxies) -> None:
    """Keep each client beside *proxies* to *most* connections to *port* from now on, on a thread of its own."""
    threading.Thread(target=_guard, args=(port, most, proxies), name="visrec-connections", daemon=True).start()


def _guard(port: int, most: int, proxies: TrustedProxies) -> None:
    logged_at = -_LOG_S
    pause = threading.Event()
    while not pause.wait(_INTERVAL_S):
        ended = close_excess(port, most, proxies)
        if ended and monotonic() > logged_at + _LOG_S:
            logged_at = monotonic()
            client, count = ended.most_common(1)[0]
            log.warning(
                "%s has more than %d connections: ended %d of them",
                client,
                most,
                count,
                extra={"event": "too_many_connections", "client": client},
            )


def _end_beyond(descriptor: int, port: int, most: int, proxies: TrustedProxies, found: Counter[str]) -> str | None:
    """Count the connection of *descriptor* in *found*, if it is one to *port*, and return its client if it was ended.

    A copy of the descriptor names the same connection for as long as we need it, whatever the web server does.
    """
    if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        return None
    with closing(socket.socket(fileno=os.dup(descriptor))) as connection:
        if connection.family not in {socket.AF_INET, socket.AF_INET6} or connection.getsockname()[1] != port:
            return None
        address = connection.getpeername()[0]  # a socket that listens has no peer: OSError
        if proxies.trusts(address):
            return None
        client = client_of(address)
        found[client] += 1
        if found[client] <= most:
            return None
        connection.shutdown(socket.SHUT_RDWR)
        return client
