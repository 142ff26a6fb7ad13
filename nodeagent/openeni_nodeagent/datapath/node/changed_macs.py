"""Restore the MAC of ENIs' NICs, which somebody has changed.

It comes before a look compares anything: the host's slave and those in pods take it over from their
NIC (ipvlan_device_event, NETDEV_CHANGEADDR), and with it all of them lose their neighbours.
"""

from openeni_nodeagent.datapath.linux.netlink import Netlink
from openeni_nodeagent.datapath.linux.rtnetlink_encode import set_mac
from openeni_nodeagent.datapath.model import Link
from openeni_nodeagent.datapath.node.nics import NICs, changed_mac
from openeni_nodeagent.datapath.node.placement import KernelSnapshot
from openeni_nodeagent.datapath_api import (
    DatapathError,
    ENIFacts,
    KernelRefusedError,
    Repair,
    WantedNode,
)


def restore_macs(
    snapshot: KernelSnapshot, wanted: WantedNode
) -> tuple[tuple[Repair, ...], dict[str, DatapathError]]:
    """Restore MACs; return what has changed, and by their names the errors of other ENIs.

    Who does not know all ENIs restores none: a MAC may be another one's. A NIC that has to be down
    for it (EBUSY, without IFF_LIVE_ADDR_CHANGE) is left as it is.
    """
    enis = (*wanted.departing, *wanted.enis)
    if not wanted.complete:
        return (), {}
    nics = NICs(snapshot.state, enis, wanted.node)
    changed = [e for e in enis if e.mac in nics.changed and not nics.why_mac_stays(e)]
    repairs: list[Repair] = []
    errors: dict[str, DatapathError] = {}
    for facts in changed:
        nic = nics.changed[facts.mac]
        if error := _restore(facts, nic):
            errors[facts.name] = error
        else:
            repairs.append(Repair("link", changed_mac(facts, nic)))
    return tuple(repairs), errors


def _restore(facts: ENIFacts, nic: Link) -> DatapathError | None:
    with Netlink() as netlink:
        for refusal in netlink.execute([set_mac(nic.index, facts.mac)]):
            return KernelRefusedError(f"{changed_mac(facts, nic)}: {refusal}")
    return None
