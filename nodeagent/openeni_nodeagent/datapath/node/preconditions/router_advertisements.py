"""Find out whether the node lives on router advertisements, which IPv6 forwarding would stop.

With net.ipv6.conf.all.forwarding the kernel no longer listens to router advertisements, and removes
the default routes that it has learned from them, except on links with accept_ra=2
(net/ipv6/addrconf.c: addrconf_fixup_forwarding; net/ipv6/route.c: rt6_purge_dflt_routers).
"""

from pathlib import Path
from typing import Final

from openeni_nodeagent.datapath_api import DatapathError

_CONF: Final = Path("/proc/sys/net/ipv6/conf")
_ROUTES: Final = Path("/proc/thread-self/net/ipv6_route")  # of the calling thread's namespace
_LEARNED: Final = 0x00050000  # RTF_DEFAULT | RTF_ADDRCONF of linux/ipv6_route.h
_UNLESS_FORWARDING: Final = "1"  # accept_ra


def require_safe_forwarding() -> None:
    """Raise DatapathError if forwarding is off and the node lives on router advertisements."""
    if (_CONF / "all/forwarding").read_text().strip() != "0":
        return
    for device in sorted(set(_links_of_learned_defaults())):
        if (_CONF / device / "accept_ra").read_text().strip() == _UNLESS_FORWARDING:
            raise DatapathError(
                f"net.ipv6.conf.all.forwarding must be 1 for pods with IPv6, but would take from "
                f"this node the default route that {device} has learned from router "
                f"advertisements: set net.ipv6.conf.{device}.accept_ra=2"
            )


def _links_of_learned_defaults() -> list[str]:
    """Return the links that have an IPv6 default route from a router advertisement."""
    found: list[str] = []
    for line in _ROUTES.read_text().splitlines():
        *_, flags, device = line.split()
        if int(flags, 16) & _LEARNED == _LEARNED:
            found.append(device)
    return found
