"""What every ENI needs on the node, whatever its mode: its own address, its table, its manners."""

from typing import Final

from openeni_crds import names
from openeni_crds.enipool import MetadataService
from openeni_nodeagent.addresses import IPV4, IPV6, address_bits, default_cidr, family_of, host_cidr
from openeni_nodeagent.datapath.filters import metadata_chain
from openeni_nodeagent.datapath.ipvlan import slave_items
from openeni_nodeagent.datapath.local import LocalEni
from openeni_nodeagent.datapath.model import (
    NIC,
    Address,
    Item,
    Link,
    Route,
    Rule,
    State,
    Sysctl,
)

_V4: Final = {
    "conf/{}/rp_filter": "2",  # the kernel takes the larger of this and conf/all: never strict here
    "conf/{}/arp_ignore": "1",  # answers for its own address, not for the node's others
    "conf/{}/arp_announce": "2",  # and never asks with another's address as sender
    # An l3s pod asks for a pod of the node's other ENI by ARP over the wire, with this node's own
    # address as sender: refused as a martian without it.
    "conf/{}/accept_local": "1",
    "conf/{}/forwarding": "1",
    "neigh/{}/proxy_delay": "0",  # else proxied answers wait a random 0 to 0.8 s
}
_V6: Final = {
    "conf/{}/disable_ipv6": "0",
    "conf/{}/accept_ra": "0",
    "conf/{}/autoconf": "0",
    "conf/{}/proxy_ndp": "1",
    "neigh/{}/proxy_delay": "0",
    "conf/all/forwarding": "1",  # the only switch there is: ip6_forward() reads no other
}


def plan_eni(eni: LocalEni) -> State:
    """Everything that stands on the node for this ENI before any pod uses it.

    Its primary address stays on it in every mode: without one, the kernel asks by ARP with the
    node's address as sender and masquerades to it (both dropped as spoofed), and rp_filter drops
    what comes in.
    """
    facts, link = eni.facts, eni.link
    items: set[Item] = {
        Link(link.device, link.ifindex, NIC, facts.mac, facts.mtu),
        *(Address(link.ifindex, a, address_bits(family_of(a))) for a in facts.primary),
        *(
            Rule(family_of(a), names.RULE_FROM_ENI, eni.table, source=host_cidr(a))
            for a in facts.primary
        ),
        *_sysctls(eni),
    }
    for subnet in facts.subnets:
        items |= _subnet_routes(eni, subnet.cidr, subnet.gateway)
    if eni.ipvlan:
        items |= slave_items(eni)
    if facts.datapath.metadata_service is MetadataService.BLOCK:
        items |= _metadata_block(eni)
    return frozenset(items)


def _subnet_routes(eni: LocalEni, cidr: str, gateway: str) -> set[Item]:
    routes: set[Item] = {Route(cidr, eni.table, eni.link.ifindex)}
    if gateway:
        routes.add(Route(default_cidr(family_of(cidr)), eni.table, eni.link.ifindex, gateway))
    return routes


def _metadata_block(eni: LocalEni) -> set[Item]:
    """All of it is in the node's own namespace, out of reach of a pod's root.

    What passes the node's routing meets a prohibition in the ENI's table, and the pod is told at
    once. Two routes lead past that: an l2 pod may give itself a route to the wire, and the kernel
    takes any destination of an l3s or l3 pod for on-link where routing says no
    (ip_route_output_key_hash_rcu: with `oif` given, "routing tables are wrong").
    """
    items: set[Item] = set()
    if IPV4 in eni.families:
        items.add(Route(host_cidr(names.METADATA_V4), eni.table))
    if eni.ipvlan:
        items.add(metadata_chain(eni.link, at_egress=eni.layer_2))
    return items


def _sysctls(eni: LocalEni) -> set[Item]:
    device = eni.link.device
    slaves = [eni.slave] if eni.ipvlan else []
    found = {"net/ipv4/" + path.format(device): value for path, value in _V4.items()}
    if IPV6 in eni.families:
        found |= {"net/ipv6/" + path.format(device): value for path, value in _V6.items()}
        for slave in slaves:
            found |= slave_on_ipv6(slave)
    else:
        found |= dict(no_ipv6(link) for link in (device, *slaves))
    return {Sysctl(path, value) for path, value in found.items()}


def no_ipv6(device: str) -> tuple[str, str]:
    """The sysctl that keeps a link from speaking IPv6 by itself: the port would not allow it."""
    return f"net/ipv6/conf/{device}/disable_ipv6", "1"


def slave_on_ipv6(device: str) -> dict[str, str]:
    """The sysctls of an ipvlan slave: it forms no address by itself.

    Its link-local one would not be the port's own: slaves have the parent's MAC but form another
    from it (dev_id), which no port allows.
    """
    values = {"disable_ipv6": "0", "accept_ra": "0", "addr_gen_mode": "1"}
    return {f"net/ipv6/conf/{device}/{name}": value for name, value in values.items()}
