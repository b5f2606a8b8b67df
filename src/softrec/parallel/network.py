"""The network by which machines that train together reach each other.

gloo takes the address that the name of its machine has, which on many is that of the machine alone
(127.0.0.1 or 127.0.1.1 in /etc/hosts).
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None

NAMED = "GLOO_SOCKET_IFNAME"
ADDRESS_OF = 0x8915  # SIOCGIFADDR of Linux
ELSEWHERE = "192.0.2.1"  # an address of no machine, by which the default route is found


def name_interface(host: str) -> None:
    """Tell gloo the interface by which this machine reaches a host, unless the user has done so.

    Args:
        host: the first machine, by its name or address.
    """
    found = None if NAMED in os.environ else interface_to(host)
    if found is not None:
        os.environ[NAMED] = found


def interface_to(host: str) -> str | None:
    """Return the name of the interface by which this machine reaches a host.

    The first machine has the address itself, and may know it as its own alone; then it is the
    interface of the default route. None if it cannot be told.

    Example:
        >>> interface_to("127.0.0.1") in {None, *(name for _, name in socket.if_nameindex())}
        True
    """
    own = next((ip for ip in map(_own_address, (host, ELSEWHERE)) if ip), None)
    return next((name for name, address in addresses() if address == own), None)


def _own_address(host: str) -> str | None:
    """Return this machine's address on the way to a host, unless it is one for itself alone."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, 9))  # of a datagram: nothing is sent
            found = probe.getsockname()[0]
    except OSError:
        return None
    return None if found.startswith("127.") else found


def addresses() -> Iterator[tuple[str, str]]:
    """Yield the interfaces of this machine with their addresses."""
    if fcntl is None:
        return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            try:
                request = struct.pack("256s", name.encode()[:15])
                found = fcntl.ioctl(asked.fileno(), ADDRESS_OF, request)
            except OSError:  # it has no address
                continue
            yield name, socket.inet_ntoa(found[20:24])
