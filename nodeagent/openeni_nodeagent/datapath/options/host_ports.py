"""Plan the host ports of a pod: where a port of the node leads to. Pure.

`filters` has the rules, which are the same for any number of pods: they look the destination up in
maps. A pod without host ports has nothing here, and costs an ADD nothing.
"""

from collections import defaultdict
from typing import Final

from openeni_nodeagent.addresses import IPV4, family_of
from openeni_nodeagent.datapath.links import NodePod
from openeni_nodeagent.datapath.model import Element, Item, State, Sysctl
from openeni_nodeagent.datapath.nft_sets import CATCH_ALL, joined, leads_to_pod, split
from openeni_nodeagent.pod_options import EVERY_OF_FAMILY, PortMapping, Transport

_TRANSPORTS: Final = frozenset(Transport)


def host_port_items(pod: NodePod) -> set[Item]:
    """Return what the node needs for the pod's host ports."""
    items: set[Item] = {
        _element(mapping, address)
        for mapping in pod.facts.host_ports
        for address in pod.facts.addresses
        if family_of(address) in mapping.families
    }
    if not items:
        return items
    return items | _hairpins(pod) | _sysctls(pod)


def mappings_in(state: State) -> dict[str, tuple[PortMapping, ...]]:
    """Return the host ports that the kernel has, by the address that they lead to."""
    found = defaultdict[str, list[PortMapping]](list)
    for item in sorted(
        (
            i
            for i in state
            if isinstance(i, Element) and leads_to_pod(i.name) and i.key != CATCH_ALL
        ),
        key=lambda i: (i.name, i.key),
    ):
        address, port = split(item.value)
        *host_ip, protocol, host_port = split(item.key)
        if protocol in _TRANSPORTS:
            every = EVERY_OF_FAMILY[family_of(address)]
            mapping = PortMapping(
                int(host_port), int(port), Transport(protocol), host_ip[0] if host_ip else every
            )
            found[address].append(mapping)
    return {address: tuple(mappings) for address, mappings in found.items()}


def _element(mapping: PortMapping, address: str) -> Element:
    family = family_of(address)
    value = joined(address, mapping.container_port)
    port = (mapping.transport, mapping.host_port)
    if mapping.is_of_every_address:
        return Element(f"anyports{family}", joined(*port), value)
    return Element(f"hostports{family}", joined(mapping.host_ip, *port), value)


def _hairpins(pod: NodePod) -> set[Item]:
    """Return the source NAT of a veth pod that reaches itself by a host port of its own.

    It would drop a packet that comes from its own address. ipvlan pods' flows to services have
    another source anyway (`filters`, chain `service`).
    """
    if pod.eni.ipvlan:
        return set()
    return {
        Element(f"hairpins{family_of(a)}", joined(a, a), pod.eni.primary(family_of(a)))
        for a in pod.facts.addresses
    }


def _sysctls(pod: NodePod) -> set[Item]:
    """Return the sysctls for host ports on 127.0.0.1, where the pod has one.

    A packet from 127.0.0.1 may not leave by a link, and no reply to it enter by one, unless the
    link says so. `filters` drops what others send to 127.0.0.0/8 through these links. (IPv6 has no
    such setting.) The link of an ENI keeps it after its last such pod.
    """
    loopback = any(
        IPV4 in m.families and (m.is_of_every_address or m.host_ip.startswith("127."))
        for m in pod.facts.host_ports
    )
    if not loopback or all(family_of(a) != IPV4 for a in pod.facts.addresses):
        return set()
    eni = pod.eni
    links = [eni.host_slave] if eni.ipvlan else [pod.host_link]
    if eni.ipvlan and eni.layer_2:  # pods' replies to the node enter here
        links.append(eni.link.device)
    return {Sysctl(f"net/ipv4/conf/{link}/route_localnet", "1") for link in links}
