"""Tell which NIC is which ENI's. Pure.

A MAC is unique in each network only: the node's own NIC, or another ENI's, may have that of an ENI.
And anybody may give an ENI's NIC another MAC, which its ipvlan slaves take over and live on.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from openeni_nodeagent.addresses import on_link
from openeni_nodeagent.datapath.links import NodeENI
from openeni_nodeagent.datapath.model import NIC, Address, Link, State
from openeni_nodeagent.datapath.ownership import as_nic, is_host_slave, may_be_nic
from openeni_nodeagent.datapath_api import DatapathError, ENIFacts, NoCarrierError, NodeFacts

_SETS_MACS: Final = frozenset({"bond", "team"})  # of what is in it


def nics_by_mac(seen: State, macs: Collection[str]) -> dict[str, Link]:
    """Return the NICs of ENIs by the MACs of these, also those that have another MAC now.

    The one that a NIC's device came with counts before that which it has, so that a copied MAC, or
    two that were swapped, mislead nobody while the ENI's NIC is there. Of several NICs it is the
    one that is no virtual device, and else the oldest; udev may have renamed it.
    """
    wanted = {mac.lower() for mac in macs}
    nics = [i for i in seen if isinstance(i, Link) and may_be_nic(i)]
    nics.sort(key=lambda i: (i.kind != NIC, i.index))
    found: dict[str, Link] = {}
    for mac_of in (_permanent_mac, _mac):
        taken = {nic.index for nic in found.values()}
        for nic in nics:
            if nic.index not in taken and (mac := mac_of(nic)) in wanted:
                found.setdefault(mac, as_nic(nic))
    return {mac: found[mac.lower()] for mac in macs if mac.lower() in found}


def _permanent_mac(nic: Link) -> str:
    return nic.permanent_mac


def _mac(nic: Link) -> str:
    return nic.mac


class NICs:
    """Holds the NICs that ENIs have in one look at the node.

    Of several ENIs with one MAC, it belongs to the one whose primary address it has, as a look has
    left it, else to the first: those that depart come first, since openeni takes their addresses
    away. Nor is a NIC with such an address the node's, whatever somebody has added to it.
    """

    def __init__(self, seen: State, enis: Collection[ENIFacts], node: NodeFacts) -> None:
        self._links = frozenset(i for i in seen if isinstance(i, Link))
        self._addresses = {(i.index, i.address) for i in seen if isinstance(i, Address)}
        self._own = frozenset(node.addresses)
        self.of: dict[str, Link] = {}  # by the ENI's name; those that are missing are not there
        self.changed: dict[str, Link] = {}  # by the ENI's MAC: those that have another one now
        self.errors: dict[str, DatapathError] = {}  # of ENIs whose MAC somebody else's NIC has
        by_mac = nics_by_mac(seen, {facts.mac for facts in enis})
        nics = [(facts, nic) for facts in enis if (nic := by_mac.get(facts.mac))]
        owners: dict[int, str] = {}
        for facts, nic in sorted(nics, key=lambda pair: not self._serves(*pair)):
            owner = owners.setdefault(nic.index, facts.name)
            if error := self._error(facts, nic, owner):
                self.errors[facts.name] = error
            elif nic.mac != facts.mac.lower():
                self.changed[facts.mac] = nic
            else:
                self.of[facts.name] = nic

    def why_mac_stays(self, facts: ENIFacts) -> str:
        """Return why openeni leaves the MAC of the ENI's NIC as somebody has set it, or ""."""
        nic = self.changed[facts.mac]
        bonds = (i for i in self._links if i.index == nic.master and i.kind in _SETS_MACS)
        return next((f"take it out of {bond.name}" for bond in bonds), "")

    def _serves(self, facts: ENIFacts, nic: Link) -> bool:
        return any((nic.index, address) in self._addresses for address in facts.primary)

    def _error(self, facts: ENIFacts, nic: Link, owner: str) -> DatapathError | None:
        same = f"status.port.macAddress {facts.mac} is that of {nic.name}"
        anew = "so that a port with another MAC address takes its place"
        if owner != facts.name:
            return DatapathError(
                f"{same}, the NIC of ENI {owner}, as well: delete one of the two ENIs, {anew}"
            )
        if not self._serves(facts, nic) and (lost := self._lost_with(facts, nic)):
            theirs = f"the NIC with the node's own address {', '.join(sorted(lost))}"
            return DatapathError(f"{same}, {theirs}: delete the ENI, {anew}")
        return None

    def _lost_with(self, facts: ENIFacts, nic: Link) -> frozenset[str]:
        """Return the addresses that the node would lose with this NIC, or with what stands on it.

        A bond or a bridge has its NIC's MAC, perhaps the one from before somebody changed it. So
        have the host's slaves of an ENI, with the node's addresses, and a NIC whose MAC was copied:
        they do not count. On an ENI's NIC a DHCP client may have got an address of the ENI's pods,
        which some cloud providers list among the node's: one in the ENI's subnet, and not the
        node's only one.
        """
        macs = {nic.mac, facts.mac}
        on_it = {
            i.index: i.index in {nic.index, nic.master} or (i.kind != NIC and i.mac in macs)
            for i in self._links
            if not is_host_slave(i)
        }
        own = {(index, a) for index, a in self._addresses if a in self._own and index in on_it}
        lost = frozenset(address for index, address in own if on_it[index])
        if all(on_it[index] for index, _ in own):
            return lost
        return frozenset(a for a in lost if not any(on_link(a, s.cidr) for s in facts.subnets))


def changed_mac(facts: ENIFacts, nic: Link) -> str:
    return f"{nic.name} has MAC {nic.mac} now, not {facts.mac} of its port"


def without_carrier(seen: State, enis: Iterable[NodeENI]) -> Mapping[str, DatapathError]:
    """Return errors, by name, of the ENIs whose NIC has no carrier: no repair brings it back."""
    dead = {i.index for i in seen if isinstance(i, Link) and not i.carrier}
    remedy = "see the port's interface on the server's host"
    return {
        eni.facts.name: NoCarrierError(f"NIC {eni.link.device} has no carrier: {remedy}")
        for eni in enis
        if eni.link.ifindex in dead
    }
