"""Tells when interfaces or addresses of this machine change, as the Linux kernel does (rtnetlink(7)).

Iroh's own `watch_network_change` is no use here: in iroh 1.2.0 it said nothing of an interface that came up,
and called back without end once the endpoint was closed.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable

_LINKS, _IPV4, _IPV4_ROUTES, _IPV6, _IPV6_ROUTES = 0x1, 0x10, 0x40, 0x100, 0x400
"""Groups of messages (RTMGRP_LINK and so on in linux/rtnetlink.h)."""
_READ_BYTES = 1 << 16


def watch_network(changed: Callable[[], object]) -> Callable[[], None]:
    """Calls `changed` on the running event loop, once for what comes together. What it gives ends it. Where
    the kernel has no such socket nothing is ever told.
    """
    try:
        watching = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    except (AttributeError, OSError):
        return lambda: None
    watching.setblocking(False)
    loop = asyncio.get_running_loop()

    def read() -> None:
        with contextlib.suppress(OSError):  # until it is empty; where it ran over, something has changed
            while watching.recv(_READ_BYTES):
                pass
        changed()

    def end() -> None:
        loop.remove_reader(watching)
        watching.close()

    try:
        watching.bind((0, _LINKS | _IPV4 | _IPV4_ROUTES | _IPV6 | _IPV6_ROUTES))
        loop.add_reader(watching, read)
    except OSError:
        watching.close()
        return lambda: None
    return end
