"""Plan an ENI's part of the node: its primary address, route table, sysctls and slave."""

from typing import Final

from openeni_crds import names
from openeni_crds.enipool import MetadataService
from openeni_nodeagent.addresses import IPV4, IPV6, address_bits, default_cidr, family_of, host_cidr
from openeni_nodeagent.datapath.filters import metadata_chain
from openeni_nodeagent.datapath.ipvlan import slave_items
from openeni_nodeagent.datapath.links import NodeENI
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
    "conf/{}/rp_filter": "2",  # loose: the kernel takes the larger of this and conf/all
    "conf/{}/arp_ignore": "1",  # answer for the ENI's own address, not for the node's others
    "conf/{}/arp_announce": "2",  # never ask with another link's address as sender
    # An l3s pod's ARP request for a pod of the node's other ENI goes over the wire with the node's
    # own address as sender. Without this it is dropped as a martian.
    "conf/{}/accept_local": "1",
    "conf/{}/forwarding": "1",
    "neigh/{}/proxy_delay": "0",  # otherwise proxied answers wait a random 0 to 0.8 s
}
_V6: Final = {
    "conf/{}/disable_ipv6": "0",
    "conf/{}/accept_ra": "0",
    "conf/{}/autoconf": "0",
    "conf/{}/proxy_ndp": "1",
    "neigh/{}/proxy_delay": "0",
    "conf/all/forwarding": "1",  # ip6_forward() reads no other switch
}


def plan_eni(eni: NodeENI) -> State:
    """Return everything that the ENI needs on the node before any pod uses it.

    The primary address stays on the ENI in every mode. Without it the kernel sends ARP requests
    with the node's address as sender and masquerades to it, which Neutron drops as spoofed, and
    rp_filter drops what comes in.
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


def _subnet_routes(eni: NodeENI, cidr: str, gateway: str) -> set[Item]:
    routes: set[Item] = {Route(cidr, eni.table, eni.link.ifindex)}
    if gateway:
        routes.add(Route(default_cidr(family_of(cidr)), eni.table, eni.link.ifindex, gateway))
    return routes


def _metadata_block(eni: NodeENI) -> set[Item]:
    """Return what blocks the metadata service: items on the node, which pods cannot change.

    A packet that the node routes hits the `prohibit` route in the ENI's table, and its sender gets
    an ICMP error at once. Two paths bypass that route and need a filter: an l2 pod may add a route
    of its own to the wire, and for an l3s or l3 pod the kernel treats any destination as on-link
    when the look-up fails (ip_route_output_key_hash_rcu: with `oif` given, "routing tables are
    wrong").
    """
    items: set[Item] = set()
    if IPV4 in eni.families:
        items.add(Route(host_cidr(names.METADATA_V4), eni.table))
    if eni.ipvlan:
        items.add(metadata_chain(eni.link, at_egress=eni.layer_2))
    return items


def _sysctls(eni: NodeENI) -> set[Item]:
    device = eni.link.device
    slaves = [eni.host_slave] if eni.ipvlan else []
    found = {"net/ipv4/" + path.format(device): value for path, value in _V4.items()}
    if IPV6 in eni.families:
        found |= {"net/ipv6/" + path.format(device): value for path, value in _V6.items()}
        for slave in slaves:
            found |= slave_on_ipv6(slave)
    else:
        found |= dict(no_ipv6(link) for link in (device, *slaves))
    return {Sysctl(path, value) for path, value in found.items()}


def no_ipv6(device: str) -> tuple[str, str]:
    """Return the sysctl that disables IPv6 on a link: Neutron would drop what it sends."""
    return f"net/ipv6/conf/{device}/disable_ipv6", "1"


def slave_on_ipv6(device: str) -> dict[str, str]:
    """Return the sysctls of an ipvlan slave with IPv6: it generates no addresses.

    A slave has its parent's MAC but would derive another link-local address from it (dev_id),
    which the port does not allow.
    """
    values = {"disable_ipv6": "0", "accept_ra": "0", "addr_gen_mode": "1"}
    return {f"net/ipv6/conf/{device}/{name}": value for name, value in values.items()}
