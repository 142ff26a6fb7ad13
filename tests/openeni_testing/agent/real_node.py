"""A node with a real kernel, and an agent that works in its namespace."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from openeni_crds import names
from openeni_crds.conditions import Type, is_true
from openeni_crds.enipool import Datapath, IPVlanMode
from openeni_nodeagent.agent import Agent
from openeni_nodeagent.datapath.gateways.kernel_gateways import KernelGateways
from openeni_nodeagent.datapath.kernel_datapath import KernelDatapath
from openeni_nodeagent.enis.nic_guards import NICGuards, known_guards
from openeni_nodeagent.grants.journal import Journal
from openeni_testing.agent import node_objects
from openeni_testing.agent.cni_call import Runtime
from openeni_testing.agent.host import AgentHost
from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import NeutronNetwork, Port
from openeni_testing.waiting import wait_for

PRIMARY: Final = "10.98.0.4"


@dataclass
class RealNode:
    """A node with a NIC for the ENI pods-0."""

    host: AgentHost
    datapath: Datapath = node_objects.VETH
    network: NeutronNetwork = field(default_factory=NeutronNetwork)
    space: Namespace = field(default_factory=lambda: Namespace("node"))
    results: dict[str, object] = field(default_factory=dict[str, object])  # of ADD, by pod

    def __post_init__(self) -> None:
        primary = Port("node", "fa:16:3e:99:00:11", ("10.99.0.11", "fd99::11"))
        self.network.plug(self.space, "eth0", primary, bridge="br-nodes")
        self.space.ip(
            "addr add 10.99.0.11/24 dev eth0",
            "link set eth0 up",
            "route add default via 10.99.0.1",
        )
        self.host.create_objects(datapath=self.datapath)
        self.port = self.plug("ens7")

    def plug(self, device: str) -> Port:
        port = Port("pods-0", node_objects.mac(0), (PRIMARY, *node_objects.addresses(3)))
        self.network.plug(self.space, device, port)
        if self.datapath.ipvlan_mode is IPVlanMode.L3:  # does not work without
            self.network.answer_arp(port)
        return port

    @contextmanager
    def agent(self, *, ready: bool = True) -> Generator[Agent]:
        """Run an agent until the block ends; wait until the ENI's link is `ready`."""
        settings = self.host.settings
        guards = NICGuards(
            known_guards(
                settings.networkmanager, settings.networkd, settings.networkd_conf, settings.udev
            ),
            lambda _: None,
        )
        journal, gateways = Journal(settings.journal, "boot"), KernelGateways()
        made = Agent(
            settings, self.host.store, KernelDatapath(), journal, guards, gateways=gateways
        )
        self.space.run(made.start)
        try:
            wait_for(lambda: not ready or self.is_ready(), "the link is ready")
            yield made
        finally:
            made.stop()

    def is_ready(self) -> bool:
        return is_true(self.host.eni().status.conditions, Type.LINK_READY)

    def runtime(self, pod: Namespace) -> Runtime:
        return Runtime(self.host.executable, self.host.settings.run, Path(pod.path))

    def add(self, pod: Namespace) -> str:
        """Start a pod; return its address."""
        uid = node_objects.make_pod(self.host.store, pod.name)
        answer = self.runtime(pod).call("ADD", pod.name, uid, pod.name)
        assert answer.code == 0, answer
        self.results[pod.name] = answer.body
        return answer.address

    def problem(self, pod: Namespace) -> str:
        """Return what CHECK finds, "" if the pod is as planned."""
        result = self.results[pod.name]
        answer = self.runtime(pod).call("CHECK", pod.name, prevResult=result)
        return "" if answer.code == 0 else str(answer.body)

    def ours(self) -> list[str]:
        """Return the rules and routes of openeni, and its tables of filters."""
        listed = [
            *self.space.program("ip", "rule").splitlines(),
            *self.space.program("ip", "route", "show", "table", "all").splitlines(),
        ]
        filters = self.space.program("nft", "list", "tables").splitlines()
        return [line for line in listed if f"proto {names.PROTOCOL}" in line] + [
            line for line in filters if line.endswith(f" {names.NFT_TABLE}")
        ]

    def close(self) -> None:
        self.space.close()
        self.network.close()
