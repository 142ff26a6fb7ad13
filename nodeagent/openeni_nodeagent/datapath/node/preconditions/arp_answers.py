"""Find out whether the node, and its pods, would answer ARP requests.

A value for all links counts if it is larger than a link's own, and a new namespace begins with the
one of the first (net/ipv4/devinet.c, devinet_init_net).
"""

from pathlib import Path
from typing import Final

from openeni_nodeagent.datapath_api import DatapathError

_OF_ALL: Final = Path("/proc/sys/net/ipv4/conf/all/arp_ignore")
# None for an address without the sender's subnet, which ours have (/32), or none at all
# (net/ipv4/arp.c, arp_ignore). With the others they are answered.
_SILENT: Final = frozenset({"2", "8"})


def require_arp_answers() -> None:
    """Raise DatapathError if no request for an address of an ENI or an l2 pod is answered."""
    if (value := _OF_ALL.read_text().strip()) in _SILENT:
        raise DatapathError(
            f"net.ipv4.conf.all.arp_ignore is {value}: nothing answers ARP requests for this ENI "
            "and its IPVlan L2 pods: set net.ipv4.conf.all.arp_ignore=1"
        )
