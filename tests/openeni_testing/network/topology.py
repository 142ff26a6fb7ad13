"""Two nodes, three ENIs, four pods, a remote VM and an outside client; flows between them."""

import socket
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from openeni_crds.enipool import Datapath, IPVlanMode
from openeni_lab.hypervisor.antispoof import PortFacts, allow
from openeni_nodeagent.pod_options import PortMapping
from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import NeutronNetwork, Port, vm
from openeni_testing.network.node import Node, Pod, eni_facts

REMOTE: Final = Port("remote", "fa:16:3e:98:00:c8", ("10.98.0.200", "fd98::200"))
PORT: Final = 7007  # of the server of a flow
KINDS: Final = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
_SECONDS: Final = 30.0
_EXCHANGES: Final = 20  # each a packet and its answer, at least


@dataclass
class Topology:
    """`a1` and `a2` share an ENI, `b1` is on the node's other ENI, `c1` on the other node."""

    datapath: Datapath
    dual: bool = False
    host_ports: Mapping[str, tuple[PortMapping, ...]] = field(
        default_factory=dict[str, tuple[PortMapping, ...]]
    )
    network: NeutronNetwork = field(default_factory=NeutronNetwork)
    node: Node = field(init=False)
    other: Node = field(init=False)
    remote: Namespace = field(init=False)
    pods: dict[str, Pod] = field(default_factory=dict[str, Pod])

    def __post_init__(self) -> None:
        self.remote = vm(self.network, "remote", REMOTE)
        self.node = Node("node", self.network, "10.99.0.11", "fd99::11")
        self.other = Node("other", self.network, "10.99.0.12", "fd99::12")
        self._fill(self.node, "a", 10, 2)
        self._fill(self.node, "b", 20, 1)
        self._fill(self.other, "c", 30, 1)

    @property
    def families(self) -> tuple[int, ...]:
        return (4, 6) if self.dual else (4,)

    def of(self, pod: str, family: int) -> str:
        """The pod's address of that family."""
        return self.pods[pod].facts.addresses[family == 6]

    def take_port_security_from_remote(self) -> None:
        """Let it send as anybody."""
        port = PortFacts(REMOTE.name, "pods", REMOTE.mac, REMOTE.addresses, port_security=False)
        self.network.fabric.nft(allow(port))

    def close(self) -> None:
        for machine in (self.node, self.other, self.remote, self.network):
            machine.close()

    def _fill(self, node: Node, name: str, number: int, count: int) -> None:
        eni = eni_facts(f"eni-{name}", number, self.datapath, dual=self.dual)
        of_pods = [self._addresses(number + n) for n in range(1, count + 1)]
        port = node.attach(f"ens{number}", eni, tuple(a for pod in of_pods for a in pod))
        if self.datapath.ipvlan_mode is IPVlanMode.L3:  # does not work without
            self.network.answer_arp(port)
        for place, addresses in enumerate(of_pods, start=1):
            pod = f"{name}{place}"
            ports = self.host_ports.get(pod, ())
            self.pods[pod] = node.add(pod, eni, *addresses, host_ports=ports)

    def _addresses(self, number: int) -> tuple[str, ...]:
        return (f"10.98.0.{number}", f"fd98::{number}")[: 1 + self.dual]


@dataclass
class Flow:
    """A connection, or datagrams between two ports."""

    client: socket.socket
    server: socket.socket

    def exchange(self, count: int = _EXCHANGES) -> None:
        for n in range(count):
            message = f"{n:8}".encode()
            self.client.send(message)
            if self.client.type == socket.SOCK_STREAM:
                self.server.sendall(self.server.recv(64))
            else:
                received, sender = self.server.recvfrom(64)
                self.server.sendto(received, sender)
            assert self.client.recv(64) == message


@contextmanager
def flow(kind: str, client: Namespace, server: Namespace, address: str) -> Generator[Flow]:
    """Open a flow of one of KINDS to the server's address."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    here = client.run(socket.socket, family, KINDS[kind])
    there = server.run(socket.socket, family, KINDS[kind])
    there.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    for end in (here, there):
        end.settimeout(_SECONDS)
    there.bind((address, PORT))
    with here, there:
        if kind == "udp":
            here.connect((address, PORT))
            yield Flow(here, there)
            return
        there.listen(1)
        here.connect((address, PORT))
        accepted, _ = there.accept()
        accepted.settimeout(_SECONDS)
        with accepted:
            yield Flow(here, accepted)
