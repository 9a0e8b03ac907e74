"""Who asks, as the key of their limits."""

from collections.abc import Callable, Mapping
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

Caller = Callable[[Mapping[str, Any]], str]
"""The caller's name, from an ASGI scope; a request of Starlette is one too."""


def network_of(prefix: int) -> Callable[[str], str]:
    """A function that makes the name of a caller: its address, or of an IPv6 address the
    network of so many bits."""
    if not 0 <= prefix <= 128:
        raise ValueError(f"prefix is {prefix}: an IPv6 network has 0 to 128 bits")

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
    """The caller's address, or of an IPv6 address the network of so many bits: who has one
    address of such a network has all of them."""
    network = network_of(prefix)

    def caller(scope: Mapping[str, Any]) -> str:
        client = scope.get("client")
        return network(str(client[0]) if client else "unknown")

    return caller


by_address = by_network(64)
"""The caller's address, or the /64 of an IPv6 address. Behind a proxy start uvicorn with
--proxy-headers --forwarded-allow-ips=ADDRESSES, where ADDRESSES are those of the proxy. Without
the second option uvicorn believes only proxies on its own machine, and all callers are one.
Where callers sign in, use their account: a header that anybody can invent is no identity."""
