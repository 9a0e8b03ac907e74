"""Names for callers, which are part of the keys of their limits."""

from collections.abc import Callable, Mapping
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

Caller = Callable[[Mapping[str, Any]], str]
"""Makes the name of a caller from an ASGI scope. A request of Starlette reads like a scope."""


def network_of(prefix: int) -> Callable[[str], str]:
    """A function that makes the name of a caller from an address: the address itself, or the network of an
    IPv6 address, of which `prefix` bits count. A `prefix` outside 0 to 128 raises ValueError."""
    if not 0 <= prefix <= 128:
        raise ValueError(f"prefix is {prefix}: an IPv6 network has 0 to 128 bits")

    def network(host: str) -> str:
        try:
            address = ip_address(host)
        except ValueError:  # It is the path of a Unix socket.
            return host
        if not isinstance(address, IPv6Address):
            return str(address)
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return str(ip_network((int(address), prefix), strict=False))

    return network


def by_network(prefix: int) -> Caller:
    """A function that names callers by their address, or by the network of an IPv6 address, of which
    `prefix` bits count: who has one address of such a network has all of them. A `prefix` outside 0 to 128
    raises ValueError."""
    network = network_of(prefix)

    def caller(scope: Mapping[str, Any]) -> str:
        client = scope.get("client")
        return network(str(client[0]) if client else "unknown")

    return caller


by_address = by_network(64)
"""Names a caller by the address, or by the /64 of an IPv6 address. Behind a proxy, start uvicorn with
--proxy-headers --forwarded-allow-ips=ADDRESSES, where ADDRESSES are those of the proxy. Without
the second option uvicorn believes only proxies on its own machine, and all callers have one name.
Where callers sign in, use their account: a header that anybody can invent is no identity."""
