"""What is compared: nodes with two pods each, of openeni or of a reference plugin, and a host.

All are on one bridge with one remote VM, each by a NIC of its own, under the same anti-spoofing.
Every node has the chains of a real kube-proxy, and so connection tracking.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from openeni_crds.enipool import Datapath, IPVlanMode
from openeni_crds.meta import Json
from openeni_lab.hypervisor import antispoof
from openeni_lab.product.workloads import DATAPATHS
from openeni_lab.runtime.cni import Attachment, NetworkConfigList
from openeni_lab.runtime.sandbox import make_namespace
from openeni_nodeagent.addresses import IPV4
from openeni_testing.matrix import services
from openeni_testing.matrix.axes import Proxy
from openeni_testing.matrix.kube_proxy import KubeProxy
from openeni_testing.matrix.services import Backend
from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import GATEWAY, SUBNET, NeutronNetwork, Port, vm
from openeni_testing.network.node import Node, eni_facts, pod_interface
from openeni_testing.node_bench.datapath import traffic
from openeni_testing.waiting import wait_for

HOST: Final = "host"
POD_POD, POD_REMOTE = "pod-pod", "pod-remote"
REMOTE: Final = Port("remote", "fa:16:3e:98:00:c8", ("10.98.0.200", "fd98::200"))
OTHER_HOST: Final = Port(HOST, "fa:16:3e:98:00:c9", ("10.98.0.201", "fd98::201"))
WITH_RULES: Final = "ptp-with-rules"  # and so led out by another NIC than the node's own
PLUGINS: Final[Mapping[str, Json]] = {
    "ptp": {"type": "ptp"},
    WITH_RULES: {"type": "ptp"},
    "ipvlan plugin, l2": {"type": "ipvlan", "mode": "l2"},
    "ipvlan plugin, l3s": {"type": "ipvlan", "mode": "l3s"},
    "ipvlan plugin, l3": {"type": "ipvlan", "mode": "l3"},
    "macvlan": {"type": "macvlan", "mode": "bridge"},
}
_NIC: Final = "ens7"
_PATIENCE: Final = 60.0
_MTU: Final = 1450  # of every pod, and of the NICs that reference pods are behind


@dataclass(frozen=True)
class Rig:
    """Where traffic comes from, and where it goes, by path."""

    name: str
    client: Namespace
    targets: Mapping[str, str]
    close: Callable[[], None]


@dataclass
class Wire:
    """The network with its remote VM, to which rigs are added."""

    program: Path  # of the traffic
    plugins: Path
    network: NeutronNetwork = field(default_factory=NeutronNetwork)
    remote: Namespace = field(init=False)
    _servers: list[traffic.Server] = field(default_factory=list[traffic.Server])
    _number: int = 10  # of the next rig: of its NIC, and of the addresses of its pods

    def __post_init__(self) -> None:
        self.remote = vm(self.network, "remote", REMOTE)
        self.remote.ip(f"link set eth0 mtu {_MTU}")
        self._serve(self.remote)

    def host(self) -> Rig:
        """Add a machine that is on the bridge itself."""
        machine = vm(self.network, HOST, OTHER_HOST)
        machine.ip(f"link set eth0 mtu {_MTU}")
        return self._rig(HOST, machine, {POD_REMOTE: REMOTE.addresses[0]}, machine.close)

    def openeni(self, mode: str, *, others: int = 0) -> Rig:
        """Add a node with two pods of openeni, and others."""
        datapath = msgspec.convert(DATAPATHS[mode], Datapath)
        number = self._next_number()
        node = self._node(number)
        eni = eni_facts(f"eni-{number}", number, datapath)
        addresses = [f"10.98.0.{number + n}" for n in (1, 2)]
        port = node.attach(_NIC, eni, tuple(addresses))
        if datapath.ipvlan_mode is IPVlanMode.L3:  # does not work without
            self.network.answer_arp(port)
        client, server = (node.add(f"p{a}", eni, a).namespace for a in addresses)
        for n in range(others):
            netns = make_namespace(f"other-{number}-{n}")
            address = f"10.97.{n // 250}.{n % 250 + 1}"
            facts = pod_interface(f"other-{number}-{n}", eni, address)
            node.run(node.datapath.add, facts, str(netns))
        self._serve(server)
        targets = {POD_POD: addresses[1], POD_REMOTE: REMOTE.addresses[0]}
        return self._rig(mode, client, targets, node.close)

    def plugin(self, name: str) -> Rig:
        """Add a node with two pods of a reference plugin."""
        number = self._next_number()
        node = self._node(number)
        own = f"10.98.0.{number}"
        is_ptp = PLUGINS[name]["type"] == "ptp"
        subnet = f"10.200.{number}.0/24" if is_ptp else SUBNET
        addresses = (own, f"10.98.0.{number + 1}", f"10.98.0.{number + 2}", subnet)
        port = Port(f"nic-{number}", f"fa:16:3e:98:00:{number:02x}", addresses)
        self._plug(node, port, own, bare=name == "macvlan")
        plugin = {
            **PLUGINS[name],
            **({} if is_ptp else {"master": _NIC}),
            "mtu": _MTU,
            "ipam": _ipam(subnet, () if is_ptp else addresses[1:3]),
        }
        listed = {"cniVersion": "1.0.0", "name": f"net{number}", "plugins": [plugin]}
        network = NetworkConfigList(listed, [self.plugins])
        pods = [Namespace(f"r{number}{side}") for side in "ab"]
        given = [self._address(node, network, pod) for pod in pods]
        self._route(name, port, own, subnet, given)
        if name == WITH_RULES:
            _lead_out(node, given)
        client, server = pods
        self._serve(server)

        def close() -> None:
            for pod in pods:
                pod.close()
            node.close()

        targets = {POD_POD: given[1], POD_REMOTE: REMOTE.addresses[0]}
        return self._rig(name, client, targets, close)

    def close(self) -> None:
        for server in self._servers:
            server.close()
        self.remote.close()
        self.network.close()

    def _next_number(self) -> int:
        self._number += 4
        return self._number

    def _node(self, number: int) -> Node:
        """Add a node on which kube-proxy (nftables) has run: what its chains cost, it costs all."""
        node = Node(f"node{number}", self.network, f"10.99.0.{number}", "")
        backends = {target.server: Backend(REMOTE.addresses) for target in services.targets()}
        objects = services.objects((IPV4,), backends, {node.name: node.addresses})
        log = self.program.with_name(f"kube-proxy-{node.name}.log")
        proxy = KubeProxy(node.namespace, Proxy.NFTABLES, objects, log)
        try:
            wait_for(lambda: _is_translated(node.namespace, proxy), "kube-proxy's rules", _PATIENCE)
        finally:
            proxy.close()
        return node

    def _serve(self, namespace: Namespace) -> None:
        self._servers.append(traffic.Server(self.program, namespace))

    def _rig(
        self, name: str, client: Namespace, targets: Mapping[str, str], close: Callable[[], None]
    ) -> Rig:
        for address in targets.values():
            traffic.wait_until_reached(self.program, client, address)
        return Rig(name, client, targets, close)

    def _plug(self, node: Node, port: Port, own: str, *, bare: bool) -> None:
        """Plug the NIC that reference pods use; `bare` without anti-spoofing, for their MACs."""
        self.network.plug(node.namespace, _NIC, port)
        if bare:
            facts = antispoof.PortFacts(port.name, "pods", port.mac, (), port_security=False)
            self.network.fabric.nft(antispoof.allow(facts))
        node.namespace.ip(
            f"link set {_NIC} mtu {_MTU}", f"link set {_NIC} up", f"addr add {own}/24 dev {_NIC}"
        )

    def _address(self, node: Node, network: NetworkConfigList, pod: Namespace) -> str:
        """Attach a pod with the plugin; return its address."""
        attachment = Attachment(pod.name, pod.path)
        result: dict[str, Any] = node.namespace.run(network.add, attachment)
        return str(result["ips"][0]["address"]).partition("/")[0]

    def _route(self, name: str, port: Port, own: str, subnet: str, pods: Sequence[str]) -> None:
        """Let the remote VM reach the pods, where no plugin does it for its mode."""
        if PLUGINS[name]["type"] == "ptp":
            self.remote.ip(f"route add {subnet} via {own}")
        elif name.endswith(("l3s", "l3")):
            self.remote.ip(*(f"neigh replace {pod} lladdr {port.mac} dev eth0" for pod in pods))


def _is_translated(node: Namespace, proxy: KubeProxy) -> bool:
    """Return True once kube-proxy has written all its rules, which it does in one transaction."""
    proxy.require_running()
    return "goto service-" in node.program("nft", "list", "ruleset")


def _lead_out(node: Node, pods: Sequence[str]) -> None:
    """Add two rules for each pod, as the AWS VPC CNI does for those on another NIC."""
    node.namespace.ip(f"route add {SUBNET} dev {_NIC} table 100")
    for pod in pods:
        node.namespace.ip(
            f"rule add to {pod} lookup main prio 512", f"rule add from {pod} lookup 100 prio 1536"
        )


def _ipam(subnet: str, chosen: Sequence[str]) -> Json:
    """Return the addresses of pods: the chosen ones, or all of a subnet that the node routes."""
    if chosen:
        of_pods: Json = {"rangeStart": chosen[0], "rangeEnd": chosen[-1], "gateway": GATEWAY}
    else:
        of_pods = {"routes": [{"dst": "0.0.0.0/0"}]}
    return {"type": "host-local", "dataDir": "/run/reference", "subnet": subnet, **of_pods}
