"""Restore the MAC of ENIs' NICs, which somebody has changed.

It comes before a look compares anything: the host's slave and those in pods take it over from their
NIC (ipvlan_device_event, NETDEV_CHANGEADDR), and with it all of them lose their neighbours.
"""

from openeni_nodeagent.datapath.linux.netlink import Netlink
from openeni_nodeagent.datapath.linux.rtnetlink_encode import set_mac
from openeni_nodeagent.datapath.model import Link
from openeni_nodeagent.datapath.node.nics import changed_mac
from openeni_nodeagent.datapath.node.placement import KernelSnapshot, find_nics
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
    for it (EBUSY, without IFF_LIVE_ADDR_CHANGE) is left as it is, as are those that openeni leaves.
    """
    if not wanted.complete:
        return (), {}
    _, nics = find_nics(snapshot.state, wanted)
    left = {eni.mac for eni in wanted.departing}
    changed = [
        eni
        for eni in wanted.enis
        if eni.mac in nics.changed.keys() - left and not nics.why_mac_stays(eni)
    ]
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
