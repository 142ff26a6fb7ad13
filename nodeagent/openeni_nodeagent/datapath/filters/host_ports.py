"""The chains that lead ports of the node to pods, the same for any number of pods."""

from collections.abc import Collection

from openeni_nodeagent.addresses import family_of
from openeni_nodeagent.datapath.filters.chains import FAMILIES, LOOPBACK, chain
from openeni_nodeagent.datapath.model import Chain


def host_port_chains(local_dns: Collection[str]) -> frozenset[Chain]:
    """Return the chains that lead a port of the node to a pod.

    They run after kube-proxy's, to which the addresses of services belong, some of which may be
    local (ipvs). A pod may name any address as its `hostIP`. Only addresses of the node count:
    otherwise one that names the API server's would get what node and pods send there. The primary
    address of an ENI has no host ports: the replies of pods of other ENIs would have to leave by
    that one, with an address that Neutron allows there alone. Nor is port 53 of a node-local DNS
    one: a pod with it would answer all names for the node and its pods.

    127.0.0.1 and ::1 are for programs of the node. A chain of NAT runs before the kernel drops what
    the network sends to them, and what an l3s or l3 pod sends passes the node's output hook.
    """
    rules = ["fib daddr type != local accept"]
    rules += [f"{word} daddr @primaries{number} accept" for word, number in FAMILIES]
    rules += [
        f"{word} daddr {address} th dport 53 accept"
        for word, number in FAMILIES
        for address in local_dns
        if family_of(address) == number
    ]
    port = "meta l4proto . th dport"
    for word, number in FAMILIES:
        rules += [
            f"dnat {word} to {word} daddr . {port} map @hostports{number}",
            f"meta nfproto ipv{number} dnat {word} to {port} map @anyports{number}",
        ]
    received = [f"ip daddr {LOOPBACK} accept"]
    sent = [f'ip daddr {LOOPBACK} oif != "lo" accept', "ip6 daddr ::1 ip6 saddr @pods6 accept"]
    hook = "type nat hook {} priority -95; policy accept;"
    return frozenset(
        {
            chain("inet", "host_ports_in", hook.format("prerouting"), received + rules),
            chain("inet", "host_ports_out", hook.format("output"), sent + rules),
        }
    )
