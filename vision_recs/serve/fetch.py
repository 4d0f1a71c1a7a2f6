"""Images from addresses that strangers name, without becoming their way into a private network.

A name is resolved once, and the connection goes to what it resolved to: asking again could give another answer (DNS
rebinding). All that it resolved to has to be public, for each redirect anew.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
from time import monotonic
from urllib.parse import SplitResult, urljoin, urlsplit

from vision_recs.errors import RequestError

_PORTS = {"http": 80, "https": 443}
_REDIRECTS = 3
_REDIRECTING = {301, 302, 303, 307, 308}
_CHUNK = 1 << 16
_FOUND = 200


class _Pinned(http.client.HTTPConnection):
    """A connection to an address that was checked, for a host of another name."""

    def __init__(self, host: str, port: int, address: str, *, secure: bool, timeout_s: float) -> None:
        super().__init__(host, port, timeout=timeout_s)
        self._address = address
        self._secure = secure

    def connect(self) -> None:
        """Connect to the address."""
        plain = socket.create_connection((self._address, self.port), self.timeout)
        context = ssl.create_default_context()
        self.sock = context.wrap_socket(plain, server_hostname=self.host) if self._secure else plain
        self.stream = self.sock  # which the connection forgets when the answer says that it is the last one


def fetch_image(url: str, *, most: int, timeout_s: float) -> bytes:
    """Return the at most *most* bytes of the image at *url*.

    Raises RequestError for an address that is not public, for what is no image by its type, is too large, cannot be
    had, or takes longer than *timeout_s* altogether.
    """
    deadline = monotonic() + timeout_s
    for _ in range(_REDIRECTS + 1):
        try:
            found = _get(url, most, deadline)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if isinstance(error, TimeoutError):
                raise _too_slow(url, timeout_s) from None
            raise RequestError(f"{url!r} cannot be fetched ({error}); check the address", status=422) from None
        if isinstance(found, bytes):
            return found
        url = urljoin(url, found)
    raise RequestError(f"{url!r} is the end of more than {_REDIRECTS} redirects; name the image itself", status=422)


def _get(url: str, most: int, deadline: float) -> bytes | str:
    """Return the image at *url*, or where it redirects to."""
    parts = _checked(url)
    host, port = str(parts.hostname), parts.port or _PORTS[parts.scheme]
    address = _public_address(host, port)
    connection = _Pinned(host, port, address, secure=parts.scheme == "https", timeout_s=_left(deadline))
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target, headers={"accept": "image/*", "user-agent": "visrec"})
        with connection.getresponse() as answer:
            if answer.status in _REDIRECTING:
                return answer.getheader("location") or ""
            if answer.status != _FOUND:
                raise RequestError(f"{url!r} answers with status {answer.status}; check the address", status=422)
            kind = (answer.getheader("content-type") or "").partition(";")[0].strip().lower()
            if not kind.startswith("image/"):
                raise RequestError(f"{url!r} is of the type {kind!r}; name an image", status=422)
            return _body(connection.stream, answer, url, most=most, deadline=deadline)
    finally:
        connection.close()


def _body(stream: socket.socket, answer: http.client.HTTPResponse, url: str, *, most: int, deadline: float) -> bytes:
    data = bytearray()
    while True:
        stream.settimeout(_left(deadline))
        part = answer.read1(_CHUNK)
        if not part:
            if answer.length:  # what is still to come, if that was told
                raise http.client.IncompleteRead(bytes(data), answer.length)
            return bytes(data)
        data += part
        if len(data) > most:
            raise RequestError(f"{url!r} has more than {most} bytes; name a smaller image", status=413)


def _checked(url: str) -> SplitResult:
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise RequestError(f"{url!r} is no address of an image; it begins with https://", status=422)
    if parts.username is not None or parts.password is not None:
        raise RequestError("an address with a password is not fetched; leave it out", status=422)
    if (parts.port or _PORTS[parts.scheme]) not in _PORTS.values():
        raise RequestError(f"{url!r} names the port {parts.port}; only 80 and 443 are asked", status=422)
    return parts


def _public_address(host: str, port: int) -> str:
    """Return an address of *host*, all of whose addresses have to be public."""
    found = [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    for address in found:
        if not is_public(address):
            raise RequestError(f"{host!r} is not a public address; name one that everybody can reach", status=422)
    return found[0]


def is_public(address: str) -> bool:
    """Whether *address* of IPv4 or IPv6, also one of the former within the latter, can be reached by everybody."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
        if ip in ipaddress.ip_network("64:ff9b::/96"):  # NAT64
            inner.append(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
        if any(each is not None and not each.is_global for each in inner):
            return False
        if ip.ipv4_mapped is not None:
            return not ip.ipv4_mapped.is_multicast
    return ip.is_global and not ip.is_multicast


def _left(deadline: float) -> float:
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _too_slow(url: str, timeout_s: float) -> RequestError:
    return RequestError(f"{url!r} was not there within {timeout_s:g} s; try again, or send the image", status=422)
