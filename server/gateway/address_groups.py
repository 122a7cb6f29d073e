"""Which addresses belong together, where what one peer may take is counted.

A host with IPv6 has 2⁶⁴ addresses, so one alone says nothing. A listener on `::` sees IPv4 as IPv6.
"""

import ipaddress


def network_of(address: str) -> str:
    """Return what is taken for one peer: an IPv4 address, or the /64 of an IPv6 address."""
    return _within(address, 32, 64)


def block_of(address: str) -> str:
    """Return what one provider hands out together: the /24 of an IPv4, the /48 of an IPv6 address."""
    return _within(address, 24, 48)


def _within(address: str, bits4: int, bits6: int) -> str:
    ip = ipaddress.ip_address(address.partition("%")[0])
    if ip.version == 6 and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    bits = bits4 if ip.version == 4 else bits6
    if bits == ip.max_prefixlen:
        return str(ip)
    return str(ipaddress.ip_network((ip, bits), strict=False))
