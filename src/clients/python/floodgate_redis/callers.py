"""Who asks, as the key of their limits."""

from collections.abc import Callable, Mapping
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

Caller = Callable[[Mapping[str, Any]], str]
"""The caller's name, from an ASGI scope; a request of Starlette is one too."""


def network_of(prefix: int) -> Callable[[str], str]:
    """For an address: of IPv6 its network of so many bits."""
    if not 0 <= prefix <= 128:
        raise ValueError(f"an IPv6 network of {prefix} bits: 0 to 128")

    def network(host: str) -> str:
        try:
            address = ip_address(host)
        except ValueError:  # a socket's path
            return host
        if not isinstance(address, IPv6Address):
            return str(address)
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return str(ip_network((int(address), prefix), strict=False))

    return network


def by_network(prefix: int) -> Caller:
    """The caller's address: of IPv6 the network of so many bits, for whoever has
    one address there has all of them."""
    network = network_of(prefix)

    def caller(scope: Mapping[str, Any]) -> str:
        client = scope.get("client")
        return network(str(client[0]) if client else "unknown")

    return caller


by_address = by_network(64)
"""The caller's address, of IPv6 its /64. Behind a proxy start uvicorn with
--proxy-headers --forwarded-allow-ips=ADDRESSES, those of the proxy: without the
second it believes proxies on its own machine only, and all callers are one.
Where callers sign in, take who they are: a header that anybody can invent is no
identity."""
