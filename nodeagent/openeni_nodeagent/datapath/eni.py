"""Plan an ENI's part of the node: its primary address, route table, rules, filters and slave."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from openeni_crds import names
from openeni_crds.enipool import MetadataService
from openeni_nodeagent.addresses import (
    IPV4,
    IPV6,
    address_bits,
    default_cidr,
    family_of,
    host_cidr,
    link_local,
    on_link,
)
from openeni_nodeagent.datapath.filters.eni import eni_chains
from openeni_nodeagent.datapath.ipvlan import reserving_items, slave_items
from openeni_nodeagent.datapath.links import NodeENI
from openeni_nodeagent.datapath.model import (
    NIC,
    Address,
    Element,
    FlowtableLink,
    Item,
    Link,
    Route,
    RouteType,
    Rule,
    State,
    Sysctl,
)

_V4: Final = {
    "conf/{}/rp_filter": "2",  # loose: the kernel takes the larger of this and conf/all
    "conf/{}/arp_ignore": "1",  # answer for the ENI's own address, not for the node's others
    "conf/{}/arp_announce": "2",  # never ask with another link's address as sender
    "conf/{}/forwarding": "1",
    "conf/{}/proxy_arp": "0",  # it answers for its pods alone,
    "conf/{}/medium_id": "-1",  # even if `conf/all` says otherwise (arp_fwd_proxy)
    "neigh/{}/proxy_delay": "0",  # otherwise proxied answers wait a random 0 to 0.8 s
}
_V6: Final = {
    "conf/{}/disable_ipv6": "0",
    "conf/{}/accept_ra": "0",
    "conf/{}/autoconf": "0",
    "conf/{}/addr_gen_mode": "1",  # no address but the planned one, also after the link was down
    "conf/{}/proxy_ndp": "1",
    "neigh/{}/proxy_delay": "0",
    # An l3s or l3 pod's packets to its node go through lo, and ip6_output() drops them there on a
    # node that has IPv6 disabled for all links.
    "conf/lo/disable_ipv6": "0",
}
_V6_ANSWERS: Final = "net/ipv6/conf/{}/forwarding"  # for others; a new link has that of `default`
# ip6_forward() reads no other switch. (From Linux 6.17 on, each link has one: force_forwarding.)
IPV6_FORWARDING: Final = Sysctl("net/ipv6/conf/all/forwarding", "1")
_LINK_LOCAL_PREFIX: Final = 64
_LAST_METRIC: Final = 0xFFFFFFFF


def plan_eni(eni: NodeENI) -> State:
    """Return everything that the ENI needs on the node before any pod uses it.

    The primary address stays on the ENI in every mode. Without it the kernel sends ARP requests
    with the node's address as sender and masquerades to it, which Neutron drops as spoofed, and
    where rp_filter is on, the kernel drops what comes in (__fib_validate_source).
    """
    facts, link = eni.facts, eni.link
    own = {Address(link.ifindex, a, address_bits(family_of(a))) for a in facts.primary}
    own |= _link_local(eni)
    items: set[Item] = {
        Link(link.device, link.ifindex, NIC, facts.mac, facts.mtu),
        *own,
        *(Element(f"primaries{family_of(a)}", a) for a in facts.primary),
        *_rules(eni),
        *_routes(eni),
        *_sysctls(eni),
        *eni_chains(eni),
        *([FlowtableLink(link.device)] if eni.offloads else []),
    }
    if eni.ipvlan:
        items |= slave_items(eni) | reserving_items(eni, own)
    return frozenset(items)


def _link_local(eni: NodeENI) -> set[Address]:
    """Return the ENI's link-local address, if it has IPv6: the one that its port allows.

    The kernel asks for the neighbours of a packet that it forwards from such an address
    (ndisc_solicit), whichever the link has. By `addr_gen_mode` it would give it one of its own.
    """
    if IPV6 not in eni.families:
        return set()
    return {Address(eni.link.ifindex, link_local(eni.facts.mac), _LINK_LOCAL_PREFIX)}


def _rules(eni: NodeENI) -> set[Item]:
    """Return the rules that lead to the ENI's table; their number does not grow with its pods.

    A filter marks what pods send. An l3s or l3 pod's packet is routed inside ipvlan before it meets
    a filter, as the node's own output (`iif lo`) with the ENI as output device
    (drivers/net/ipvlan/ipvlan_core.c, ipvlan_process_v4_outbound), and once more after its
    destination has been translated, by the mark alone (ip_route_me_harder).

    Its rule comes before all but RULE_ANSWER_V6. By IPv4 that only saves look-ups: routes by
    another device than the ENI do not match (fib_lookup_good_nhc). By IPv6 the ENI is only a
    preference (ip6_route_output_flags), and a packet for a pod of another ENI would go there
    directly, past Neutron. So the IPv6 rule is there even if the ENI has no IPv6 address: with
    CAP_NET_RAW its pods may send such packets. The node's own answers from the ENI's address have
    that device, too (icmpv6_echo_reply), and may be for a pod: RULE_ANSWER_V6.
    """
    items: set[Item] = {rule for family in eni.families for rule in _rules_by_mark(eni, family)}
    if eni.layer_3:
        items |= {
            Rule(family, names.RULE_FROM_L3_POD, eni.table, iif="lo", oif=eni.link.device)
            for family in _families_of_pods(eni)
        }
        items |= {
            Rule(
                IPV6,
                names.RULE_ANSWER_V6,
                names.TABLE_L3_PODS,
                source=host_cidr(address),
                iif="lo",
                oif=eni.link.device,
            )
            for address in eni.facts.primary
            if family_of(address) == IPV6
        }
    items |= {
        Rule(family_of(a), names.RULE_FROM_ENI, eni.table, source=host_cidr(a))
        for a in eni.facts.primary
    }
    if eni.answers_for_pods:
        # rp_filter, which the kernel has for IPv4 only, looks the sender of a packet to a pod up
        # without a mark, and arp_process() the sender of an ARP request. On a node whose main table
        # has no route to it, both would drop what they got.
        items |= {
            Rule(IPV4, names.RULE_WAY_BACK, eni.table, source=subnet.cidr)
            for subnet in eni.facts.subnets
            if family_of(subnet.cidr) == IPV4
        }
    return items


def _rules_by_mark(eni: NodeENI, family: int) -> Iterator[Rule]:
    """Yield the rules for what a filter has marked as sent by the ENI's pods.

    Those of veth pods stand between those to the node's pods (`NodeENI.pods_table`), so that what
    they send to l2 pods of their subnet, and to all l3s and l3 pods, goes by the network.
    """
    of_pods = Rule(family, names.RULE_FROM_POD, eni.table, mark=eni.mark.value, mask=eni.mark.mask)
    if eni.ipvlan:
        yield of_pods
    else:
        yield replace(of_pods, priority=names.RULE_FROM_VETH_POD)
        for subnet in eni.facts.subnets:
            if family_of(subnet.cidr) == family:
                yield replace(of_pods, priority=names.RULE_TO_SUBNET, destination=subnet.cidr)


def _routes(eni: NodeENI) -> set[Item]:
    """Return the ENI's table.

    Its last entry ends every look-up there. What went on to the main table would leave by the
    node's own NIC, and be dropped as spoofed.
    """
    index = eni.link.ifindex
    items: set[Item] = {
        Route(default_cidr(f), eni.table, metric=_LAST_METRIC, type=RouteType.UNREACHABLE)
        for f in _families_of_pods(eni)
    }
    for subnet in eni.facts.subnets:
        items.add(Route(subnet.cidr, eni.table, index))
        if subnet.gateway:
            default = default_cidr(family_of(subnet.cidr))
            items.add(Route(default, eni.table, index, subnet.gateway))
            # By IPv6 the kernel looks for the gateway in this table (rtnetlink_encode).
            if family_of(subnet.cidr) == IPV6 and not on_link(subnet.gateway, subnet.cidr):
                items.add(Route(host_cidr(subnet.gateway), eni.table, index))
    # Of l3s and l3 a service's address is looked up here before kube-proxy translates it. By IPv4
    # the kernel takes any to be on the link (ip_route_output_key_hash_rcu).
    gateways = [s.gateway for s in eni.facts.subnets if family_of(s.cidr) == IPV6]
    if eni.layer_3 and gateways and not any(gateways):
        items.add(Route(default_cidr(IPV6), eni.table, index))
    # `eni_chains` says which packets do not meet this one.
    if eni.facts.datapath.metadata_service is MetadataService.BLOCK and IPV4 in eni.families:
        items.add(Route(host_cidr(names.METADATA_V4), eni.table, type=RouteType.PROHIBIT))
    return items


def _families_of_pods(eni: NodeENI) -> frozenset[int]:
    """Return the families in which pods may send by the ENI's table."""
    if eni.layer_3 and eni.kernel_has_ipv6:
        return eni.families | {IPV6}
    return eni.families


def _sysctls(eni: NodeENI) -> State:
    device = eni.link.device
    found = {"net/ipv4/" + path.format(device): value for path, value in _V4.items()}
    # An l3s pod's ARP request for a pod of the node's other ENI goes over the wire with the node's
    # own address as sender, and would be dropped there as a martian, where the node answers for its
    # pods. With ipvlan's other modes a packet with such a sender is an attack: an l2 pod can put
    # any frame on the ENI.
    found[f"net/ipv4/conf/{device}/accept_local"] = "1" if eni.answers_for_pods else "0"
    if eni.ipvlan and eni.layer_2:
        # ipvlan passes every broadcast to the slaves, too: that one would answer, on this ENI, ARP
        # requests for the primary addresses of others, or for all with `conf/all/proxy_arp`.
        found[f"net/ipv4/conf/{eni.host_slave}/arp_ignore"] = "8"
        found[f"net/ipv4/conf/{eni.host_slave}/medium_id"] = "-1"
    if eni.layer_3:
        # What a pod sends to a port of the node that leads to another pod comes from that slave.
        found[f"net/ipv4/conf/{eni.host_slave}/forwarding"] = "1"
    if IPV6 in eni.families:
        found |= {"net/ipv6/" + path.format(device): value for path, value in _V6.items()}
        if eni.may_forward_ipv6:  # that of any link has the kernel forget default routes
            found[_V6_ANSWERS.format(device)] = "1"
            found[IPV6_FORWARDING.path] = IPV6_FORWARDING.value
        for slave in eni.host_slaves:
            found |= silent_ipv6(slave)
    else:
        for link in (device, *eni.host_slaves):
            found |= no_ipv6(link)
    return sysctls(found)


def sysctls(values: dict[str, str]) -> State:
    """Return the sysctls of these paths and values."""
    return frozenset(Sysctl(path, value) for path, value in values.items())


def no_ipv6(device: str) -> dict[str, str]:
    """Return the sysctl that disables IPv6 on a link: Neutron would drop what it sends."""
    return {f"net/ipv6/conf/{device}/disable_ipv6": "1"}


def accepting_no_routers(device: str) -> dict[str, str]:
    """Return the sysctls of a link with IPv6 that believes no router advertisement."""
    conf = f"net/ipv6/conf/{device}"
    return {f"{conf}/disable_ipv6": "0", f"{conf}/accept_ra": "0"}


def silent_ipv6(device: str) -> dict[str, str]:
    """Return the sysctls of a link with IPv6 that has no link-local address either.

    An ipvlan slave has its parent's MAC but would derive another link-local address from it
    (dev_id), which the port does not allow. The node's end of a veth pair would offer the node to
    its pod under an address that no policy knows.
    """
    return accepting_no_routers(device) | {f"net/ipv6/conf/{device}/addr_gen_mode": "1"}
