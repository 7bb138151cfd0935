"""Reads a request's head once: its limits, its one Host, who really sent it. Nothing a client writes counts as its address."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from starlette.types import Scope

from baas.base.errors import BadRequest, HeadersTooLarge, UriTooLong
from baas.base.settings import Settings

_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_.-]{1,253})(?::[0-9]{1,5})?")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_TRACE = re.compile(rb"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
# Half of a surrogate pair cannot be decoded from bytes, but a test client may hand it in as text.
_BAD_IN_PATH = re.compile("[\x00-\x1f\x7f\ufffd\ud800-\udfff]")
ARRIVED = "baas.arrived"
"""The key in a scope that our protocol sets once the whole request is here: who reads its body then waits for nobody."""
CUT = "baas.cut"
"""The key in a scope that says to our protocol: this answer ends here, unfinished, and that has been told to the log."""
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


_ONCE = {b"host": "bad_host", b"authorization": "bad_header", b"origin": "bad_header"}
_FORWARDING = frozenset({b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-real-ip", b"forwarded", b"via"})
_WANTED = frozenset({*_ONCE, *_FORWARDING, b"x-request-id", b"traceparent", b"access-control-request-method"})


class Head:
    """What the edge needs of the request headers. `found` has them by name in lower case, repeated ones joined by commas."""

    __slots__ = ("found", "host", "request_id")

    def __init__(self) -> None:
        self.found: dict[bytes, bytes] = {}
        self.host = ""
        self.request_id = ""

    @property
    def trace_id(self) -> str | None:
        """The trace this request belongs to (W3C Trace Context), for the log."""
        match = _TRACE.fullmatch(self.found.get(b"traceparent", b""))
        return match[1].decode("ascii") if match else None

    @property
    def forwarded(self) -> bool:
        """Whether any header claims that a proxy passed the request on."""
        return not _FORWARDING.isdisjoint(self.found)


@dataclass(frozen=True, slots=True)
class HeadLimits:
    url_bytes: int
    header_bytes: int
    header_count: int


def read_head(scope: Scope, limits: HeadLimits, head: Head) -> None:
    """Fill `head`. Raises UriTooLong, HeadersTooLarge, and BadRequest for no Host or two, or a path that is no text.

    The server's own protocol refuses most of this earlier; here it holds for every server underneath. The request id is filled
    first, so that a refusal can name it.
    """
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    found = head.found
    size = 0
    for name, value in headers:
        size += len(name) + len(value) + 4
        if name in _WANTED:
            if name not in found:
                found[name] = value
            elif name in _ONCE:
                raise BadRequest(f"The request has two {name.decode().title()} headers.", code=_ONCE[name])
            else:
                found[name] += b"," + value
    if _REQUEST_ID.fullmatch(found.get(b"x-request-id", b"")):
        head.request_id = found[b"x-request-id"].decode("ascii")
    if size > limits.header_bytes:
        raise HeadersTooLarge(f"The request headers may have {limits.header_bytes} bytes.", headers={"Connection": "close"})
    if len(headers) > limits.header_count:
        raise HeadersTooLarge(f"A request may have {limits.header_count} headers.", headers={"Connection": "close"})
    raw_path: bytes = scope.get("raw_path") or scope["path"].encode("utf-8", "replace")
    if len(raw_path) + len(scope["query_string"]) + 1 > limits.url_bytes:
        raise UriTooLong(f"The address may have {limits.url_bytes} bytes.", headers={"Connection": "close"})
    path: str = scope["path"]
    if not (path.isascii() and path.isprintable()) and _BAD_IN_PATH.search(path):
        raise BadRequest("The path holds control characters or is not UTF-8.", code="bad_path")
    head.host = host_name(found.get(b"host"))


def host_name(raw: bytes | None) -> str:
    """The name of a Host header in lower case, without port and final dot. Raises BadRequest when there is none to read."""
    if raw is None:
        raise BadRequest("The request has no Host header.", code="bad_host")
    match = _HOST.fullmatch(raw)
    if match is None:
        raise BadRequest("The Host header is not a host name.", code="bad_host")
    return match[1].decode("ascii").lower().rstrip(".")


def own_hosts(settings: Settings) -> frozenset[str]:
    """The names under which the API and the console answer; sites have their own."""
    names = [*_LOOPBACK, *settings.hosts]
    if settings.host not in ("0.0.0.0", "::", ""):  # noqa: S104  compared, not listened on
        names.append(f"[{settings.host}]" if ":" in settings.host else settings.host)
    public = urlsplit(settings.url).hostname or ""
    names.append(f"[{public}]" if ":" in public else public)
    return frozenset(name.lower().rstrip(".") for name in names if name)


class Proxies:
    """The proxies the operator has named. Their word on address and scheme counts, nobody else's; loopback is nothing special."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks: tuple[IPv4Network | IPv6Network, ...] = tuple(ip_network(one, strict=False) for one in networks)

    def client(self, scope: Scope, head: Head) -> tuple[str, str]:
        """The true client's address and the scheme it used."""
        peer = _plain(scope["client"][0]) if scope.get("client") else ""
        scheme: str = scope.get("scheme", "http")
        if not self._networks or not self._is_named(peer):
            return peer, scheme
        proto = head.found.get(b"x-forwarded-proto", b"").rpartition(b",")[2].strip().lower()
        if proto in (b"http", b"https"):
            scheme = proto.decode("ascii")
        return self._farthest(peer, head.found.get(b"x-forwarded-for", b"")), scheme

    def _farthest(self, peer: str, forwarded_for: bytes) -> str:
        """From the right, the first address that is no named proxy: what stands left of it, the client may have invented."""
        address = peer
        for entry in reversed(forwarded_for.decode("latin-1").split(",")):
            found = _address(entry.strip())
            if found is None:
                return address
            address = found
            if not self._is_named(found):
                return address
        return address

    def _is_named(self, address: str) -> bool:
        try:
            found = ip_address(address)
        except ValueError:
            return False
        return any(found.version == network.version and found in network for network in self._networks)


def is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def _address(entry: str) -> str | None:
    """An address of X-Forwarded-For, which may come with a port; None when it is none."""
    if entry.startswith("["):
        entry = entry[1:].partition("]")[0]
    elif entry.count(":") == 1:
        entry = entry.partition(":")[0]
    try:
        return _plain(str(ip_address(entry)))
    except ValueError:
        return None


def _plain(address: str) -> str:
    """An IPv4 address that came wrapped in IPv6 by a dual-stack socket, unwrapped."""
    if not address.startswith("::"):
        return address
    try:
        found = ip_address(address)
    except ValueError:
        return address
    wrapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return str(wrapped) if wrapped else address
