"""Trusted proxies: who has sent a request that came through one, or through several, and below which path.

A proxy appends the address of its peer to `X-Forwarded-For`. What stands left of that may be anybody's invention, so
the header is read from the right, and only as far as trusted proxies have written it.

The *root* of a request is the path below which a proxy shows the server, such as /shop. A proxy may take it off the
path, or leave it there: both work.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from starlette.types import Scope

ROOT = "visrec.root"
"""The key of a scope with the root of the request."""

_ROOT = re.compile(r"(/[A-Za-z0-9._~-]+)*")
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class TrustedProxies:
    """The networks whose word counts on who is the client of a request."""

    def __init__(self, networks: Iterable[str]) -> None:
        """Trust *networks*, such as "10.0.0.0/8" or "127.0.0.1"; raises ValueError, whose message is a sentence."""
        self._networks = tuple(map(_network, networks))

    def __bool__(self) -> bool:
        """Whether any proxy is trusted."""
        return bool(self._networks)

    def trusts(self, address: str) -> bool:
        """Return whether *address* is that of a trusted proxy."""
        parsed = _address(address)
        return parsed is not None and any(parsed in network for network in self._networks)

    def resolve(self, scope: Scope) -> None:
        """Replace the client, the scheme and the root of *scope* by those that trusted proxies name."""
        peer = (scope.get("client") or ("",))[0]
        if not (self._networks and self.trusts(peer)):
            return
        scope["client"] = (self._client(peer, _from_the_right(scope, b"x-forwarded-for")), 0)
        scheme = next(_from_the_right(scope, b"x-forwarded-proto"), "")
        if scheme in {"http", "https"}:
            scope["scheme"] = scheme
        with suppress(ValueError):
            scope[ROOT] = root_path(next(_from_the_right(scope, b"x-forwarded-prefix"), "") or scope.get(ROOT, ""))

    def _client(self, peer: str, forwarded: Iterator[str]) -> str:
        """Return the first address before *peer* that is no trusted proxy's, or the last one that is known."""
        client = peer
        for text in forwarded:
            address = _address(_without_port(text))
            if address is None:  # "unknown", or nothing that a proxy has written
                break
            client = str(address)
            if not self.trusts(client):
                break
        return client


def root_path(text: str) -> str:
    """Return the root that *text* means, such as "/shop", or ""; raises ValueError, whose message is a sentence."""
    root = "/" + text.strip("/")
    if root == "/":
        return ""
    if not _ROOT.fullmatch(root) or any(part in {".", ".."} for part in root.split("/")):
        raise ValueError(f"{text!r} is no path of a server; write it as /shop")
    return root


def below_root(scope: Scope) -> bool:
    """Take the root off the path of *scope*, if it is there; return whether the path was the root without a slash."""
    root, path = scope.get(ROOT, ""), scope["path"]
    if not root or path == root:
        return bool(root)
    if path.startswith(f"{root}/"):
        scope["path"] = path[len(root) :]
    return False


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text.strip())
    except ValueError as error:
        raise ValueError(f"{text!r} is no network ({error}); write one as 10.0.0.0/8, or an address") from None


def _address(text: str) -> _Address | None:
    with suppress(ValueError):
        address = ipaddress.ip_address(text)
        return getattr(address, "ipv4_mapped", None) or address
    return None


def _without_port(text: str) -> str:
    """Return the address in *text*: some proxies write 192.0.2.7:4711 or [2001:db8::7]:4711."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


def _from_the_right(scope: Scope, name: bytes) -> Iterator[str]:
    """Yield what the headers *name* list, the last one first."""
    headers: Any = scope["headers"]
    for value in reversed([value for header, value in headers if header == name]):
        for part in reversed(value.decode("latin-1").split(",")):
            yield part.strip()
