"""What a host, as it is written in an address or a setting, says of the machine that it means."""

from __future__ import annotations

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def literal_address(host: str) -> Address | None:
    """The address that a host is written as; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_this_machine(host: str) -> bool:
    """Whether a host is written as this machine: ``localhost`` or a loopback address."""
    literal = literal_address(host)
    return host == "localhost" or (literal is not None and literal.is_loopback)
