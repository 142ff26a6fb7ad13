"""Nodes whose ENIs cannot be served, and what others change there."""

from openeni_crds import names
from openeni_crds.enipool import Datapath, Mode
from openeni_nodeagent.datapath_api import ENIFacts
from openeni_nodeagent.pod_options import PortMapping, Transport
from openeni_testing.network.attacks import ROUTER, router_advertisement, send_frames
from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import Port
from openeni_testing.network.node import Node, Pod, eni_facts
from openeni_testing.waiting import wait_for

VETH = Datapath(Mode.VETH)
ALL_MARKS = 30  # of ENIs, with the default mask


def attach(
    node: Node,
    number: int,
    datapath: Datapath = VETH,
    *,
    dual: bool = False,
    more: tuple[str, ...] = (),
) -> tuple[ENIFacts, Port]:
    """Attach an ENI, with the addresses of one pod and more."""
    eni = eni_facts(f"eni-{number}", number, datapath, dual=dual)
    return eni, node.attach(f"ens{number}", eni, (*addresses(number, dual=dual), *more))


def addresses(number: int, *, dual: bool = False) -> tuple[str, ...]:
    return (f"10.98.0.{number + 1}", *([f"fd98::{number + 1}"] if dual else []))


def add_pod(node: Node, eni: ENIFacts, number: int, *, dual: bool = False) -> Namespace:
    return node.add(f"pod{number}", eni, *addresses(number, dual=dual)).namespace


def flush_rules(node: Node) -> None:
    for family in ("-4", "-6"):
        node.namespace.program("ip", family, "rule", "flush")
        node.namespace.program("ip", family, "rule", "add", "pref", "32766", "lookup", "main")


def masquerade(node: Node) -> None:
    """Let what leaves by the node's own NIC arrive, which the network would drop as spoofed."""
    hook = "type nat hook postrouting priority 100; oifname eth0 masquerade;"
    node.namespace.nft(f"table inet theirs {{ chain c {{ {hook} }}; }}")


def put_in_error(node: Node) -> None:
    """Have an ENI with IPv6 refused: a default route is advertised, and somebody has set these."""
    node.namespace.ip("route del default via fd99::1")
    node.namespace.sysctl("net/ipv6/conf/all/forwarding", "0")
    node.namespace.sysctl("net/ipv6/conf/eth0/accept_ra", "1")
    nic = Port("node11", "fa:16:3e:99:00:0b")
    sent = router_advertisement(("fa:16:3e:00:00:02", "33:33:00:00:00:01"))

    def advertise() -> str:
        node.network.fabric.run(send_frames, nic.device, [sent])
        return node.namespace.program("ip", "-6", "route", "show", "default", "via", ROUTER)

    wait_for(advertise, "the advertised default route")


def add_with_repair(node: Node, eni: ENIFacts, number: int) -> None:
    add_with_host_port(node, eni, f"pod{number}", *addresses(number))


def add_with_host_port(node: Node, eni: ENIFacts, name: str, *granted: str) -> Pod:
    """Add a pod whose host port is refused, since its map is gone: the ADD restores the node."""
    chains = "; ".join(f"delete chain inet openeni host_ports_{d}" for d in ("in", "out"))
    node.namespace.nft(f"{chains}; delete map inet openeni hostports4")
    ports = (PortMapping(8080, 80, Transport.TCP, node.address),)
    return node.add(name, eni, *granted, host_ports=ports)


def marks_in(node: Node) -> list[tuple[str, str]]:
    """Return table and mark of each rule for pods."""
    lines = node.namespace.program("ip", "rule", "show", "prio", str(names.RULE_FROM_VETH_POD))
    words = [line.split() for line in lines.splitlines()]
    return [(w[w.index("lookup") + 1], w[w.index("fwmark") + 1]) for w in words]
