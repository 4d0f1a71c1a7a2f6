"""Only this machine can be reached: every other address is refused as on a machine without a network, and noted."""

from __future__ import annotations

import errno
import ipaddress
import socket
from typing import Any

ATTEMPTS: list[str] = []
"""What this process wanted to reach, in the order of its attempts."""

_getaddrinfo, _connect, _connect_ex = socket.getaddrinfo, socket.socket.connect, socket.socket.connect_ex


def forbid() -> None:
    """Refuse names and addresses of other machines from now on."""
    socket.getaddrinfo = _find  # type: ignore[assignment]
    socket.socket.connect = _reach  # type: ignore[assignment,method-assign]
    socket.socket.connect_ex = _reach_ex  # type: ignore[assignment,method-assign]


def _find(host: Any, *arguments: Any, **options: Any) -> Any:
    if host is None or _is_here(host) or _is_number(host):
        return _getaddrinfo(host, *arguments, **options)
    ATTEMPTS.append(str(host))
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def _reach(own: socket.socket, address: Any) -> None:
    if not _is_reachable(own, address):
        raise OSError(errno.ENETUNREACH, "Network is unreachable")
    _connect(own, address)


def _reach_ex(own: socket.socket, address: Any) -> int:
    return _connect_ex(own, address) if _is_reachable(own, address) else errno.ENETUNREACH


def _is_reachable(own: socket.socket, address: Any) -> bool:
    if own.family not in {socket.AF_INET, socket.AF_INET6} or _is_here(address[0]):
        return True
    ATTEMPTS.append(str(address[0]))
    return False


def _is_here(host: str | bytes) -> bool:
    if _text(host) in {"", "localhost", socket.gethostname()}:
        return True
    found = _address(host)
    return found is not None and (found.is_loopback or found.is_unspecified or _is_own(found))


def _is_own(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Return whether this machine itself has *address*: nobody else can listen there."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True


def _is_number(host: str | bytes) -> bool:
    return _address(host) is not None


def _address(host: str | bytes) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(_text(host).partition("%")[0])
    except ValueError:
        return None


def _text(host: str | bytes) -> str:
    return host.decode() if isinstance(host, bytes) else host
