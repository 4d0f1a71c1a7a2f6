"""Download of images from URLs in queries, without giving access to private networks (SSRF).

A host name is resolved once, every address that it resolves to has to be public, and the connection goes to one of
these addresses: resolving again could give another answer (DNS rebinding). This holds for each redirect. One deadline
covers everything from the name to the last byte, however slowly the bytes arrive.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import socket
import ssl
import threading
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, Final
from urllib.parse import SplitResult, urljoin, urlsplit

from vision_recs.errors import RequestError

_PORTS = {"http": 80, "https": 443}
_MAX_REDIRECTS = 3
_REDIRECTS = {301, 302, 303, 307, 308}
_CHUNK = 1 << 16
_OK = 200

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


def fetch_image(url: str, *, max_bytes: int, timeout_s: float) -> bytes:
    """Return the image at *url*, at most *max_bytes*.

    Raises RequestError 422 if the address is not public, if the answer is not an image by its media type, or if the
    download fails or takes longer than *timeout_s* altogether, and 413 if the image is too large.
    """
    deadline = monotonic() + timeout_s
    for _ in range(_MAX_REDIRECTS + 1):
        try:
            found = _get(url, max_bytes, deadline)
        except TimeoutError:
            raise RequestError(
                f"{url!r} was not downloaded within {timeout_s:g} s; try again, or send the image", status=422
            ) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise RequestError(f"{url!r} cannot be downloaded ({_reason(error)}); check the URL", status=422) from None
        if isinstance(found, bytes):
            return found
        url = urljoin(url, found)
    raise RequestError(f"{url!r} follows more than {_MAX_REDIRECTS} redirects; name the image itself", status=422)


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


class _DeadlineReader(io.RawIOBase):
    """Reads from a socket until the deadline: a timeout of the socket alone would begin anew with each byte."""

    def __init__(self, stream: socket.socket, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - a buffer, as the parent has it
        self._stream.settimeout(_time_left(self._deadline))
        return self._stream.recv_into(buffer)


class _DeadlineSocket:
    """What `http.client` uses of a socket; every operation ends at the deadline. The owner of the socket closes it."""

    def __init__(self, stream: socket.socket, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_DeadlineReader(self._stream, self._deadline))

    def sendall(self, data: bytes) -> None:
        self._stream.settimeout(_time_left(self._deadline))
        self._stream.sendall(data)

    def close(self) -> None:
        """Keep the socket open: the response may still be read."""


class _PinnedConnection(http.client.HTTPConnection):
    """A connection to an address that was checked, for a host of another name."""

    def __init__(self, host: str, port: int, address: str, *, secure: bool, deadline: float) -> None:
        super().__init__(host, port)
        self._address = address
        self._secure = secure
        self._deadline = deadline
        self._stream: socket.socket | None = None

    def connect(self) -> None:
        """Connect to the address."""
        stream = socket.create_connection((self._address, self.port), _time_left(self._deadline))
        self._stream = stream
        if self._secure:
            stream.settimeout(_time_left(self._deadline))  # of the whole handshake
            self._stream = stream = ssl.create_default_context().wrap_socket(stream, server_hostname=self.host)
        self.sock = _DeadlineSocket(stream, self._deadline)  # as much of a socket as `http.client` uses

    def disconnect(self) -> None:
        """Close the socket."""
        self.close()
        if self._stream is not None:
            self._stream.close()


def _get(url: str, max_bytes: int, deadline: float) -> bytes | str:
    """Return the image at *url*, or the URL to which it redirects."""
    parts = _require_fetchable(url)
    host, port = str(parts.hostname), parts.port or _PORTS[parts.scheme]
    address = _public_address(host, port, deadline)
    connection = _PinnedConnection(host, port, address, secure=parts.scheme == "https", deadline=deadline)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target, headers={"accept": "image/*", "user-agent": "visrec"})
        with connection.getresponse() as response:
            if response.status in _REDIRECTS:
                return response.getheader("location") or ""
            if response.status != _OK:
                raise RequestError(f"{url!r} answers with the status {response.status}; check the URL", status=422)
            kind = (response.getheader("content-type") or "").partition(";")[0].strip().lower()
            if not kind.startswith("image/"):
                raise RequestError(f"{url!r} has the media type {kind[:100]!r}; name an image", status=422)
            return _read_body(response, url, max_bytes)
    finally:
        connection.disconnect()


def _read_body(response: http.client.HTTPResponse, url: str, max_bytes: int) -> bytes:
    data = bytearray()
    while part := response.read1(_CHUNK):
        data += part
        if len(data) > max_bytes:
            raise RequestError(f"{url!r} has more than {max_bytes} bytes; name a smaller image", status=413)
    if response.length:  # of the announced length, bytes are missing
        raise http.client.IncompleteRead(bytes(data), response.length)
    return bytes(data)


def _require_fetchable(url: str) -> SplitResult:
    is_printable = url.isprintable() and " " not in url  # else `urlsplit` removes characters, or the request breaks
    parts = urlsplit(url)
    if not is_printable or parts.scheme not in _PORTS or not parts.hostname:
        raise RequestError(f"{url!r} is not the URL of an image; it has to begin with https://", status=422)
    if parts.username is not None:  # it is empty where there is a password alone
        raise RequestError("a URL with a user name or password is not downloaded; remove them", status=422)
    if (parts.port or _PORTS[parts.scheme]) not in _PORTS.values():
        raise RequestError(f"{url!r} names the port {parts.port}; only 80 and 443 are allowed", status=422)
    return parts


def _public_address(host: str, port: int, deadline: float) -> str:
    """Return an address of *host*, if all its addresses are public."""
    addresses = _resolve(host, port, deadline)
    for address in addresses:
        if not is_public(address):
            raise RequestError(f"{host!r} is not a public address; name a host that everybody can reach", status=422)
    return addresses[0]


def _resolve(host: str, port: int, deadline: float) -> list[str]:
    """Return the addresses of *host*; on a thread of its own, since a lookup cannot be interrupted."""
    outcome: SimpleQueue[list[str] | Exception] = SimpleQueue()

    def look_up() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            outcome.put([str(info[4][0]) for info in found])
        except Exception as error:  # noqa: BLE001 - raised by the thread that waits
            outcome.put(error)

    threading.Thread(target=look_up, name="visrec-dns", daemon=True).start()
    try:
        addresses = outcome.get(timeout=_time_left(deadline))
    except Empty:
        raise TimeoutError from None
    if isinstance(addresses, Exception):
        raise addresses
    return addresses


def _time_left(deadline: float) -> float:
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _reason(error: Exception) -> str:
    """Return why a download failed, without the bytes that the other server has sent."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) if isinstance(error, ValueError | http.client.InvalidURL) else type(error).__name__
