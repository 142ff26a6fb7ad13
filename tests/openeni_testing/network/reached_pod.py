"""A pod on an ENI that is reached from everywhere, for as long as nobody changes the node."""

from typing import Final

from openeni_crds.enipool import Datapath, IPVlanMode
from openeni_testing.network import neutron
from openeni_testing.network.neutron import NeutronNetwork, Port, vm
from openeni_testing.network.node import Node, Pod, eni_facts

ADDRESSES: Final = ("10.98.0.11", "fd98::11")
SECOND: Final = ("10.98.0.12", "fd98::12")


class ReachedPod:
    """One ENI with a pod, and a remote VM."""

    def __init__(self, datapath: Datapath) -> None:
        self.network = NeutronNetwork()
        self.node = Node("node", self.network, "10.99.0.11", "fd99::11")
        remote = Port("remote", "fa:16:3e:98:00:c8", ("10.98.0.200", "fd98::c8"))
        self.remote = vm(self.network, "remote", remote)
        self.eni = eni_facts("eni", 10, datapath, dual=datapath.ipvlan_mode is not IPVlanMode.L3)
        self.families = len(self.eni.primary)
        self.port = self.plug("ens7")
        self.configure()
        self.pod = self.add("pod", ADDRESSES)

    def plug(self, device: str) -> Port:
        port = Port("eni", self.eni.mac, (*self.eni.primary, *ADDRESSES, *SECOND))
        self.network.plug(self.node.namespace, device, port)
        if self.eni.datapath.ipvlan_mode is IPVlanMode.L3:  # does not work without
            self.network.answer_arp(port)
        return port

    def configure(self) -> tuple[str, int]:
        link = self.node.configure(self.eni)
        return link.device, link.ifindex

    def add(self, name: str, addresses: tuple[str, ...]) -> Pod:
        return self.node.add(name, self.eni, *addresses[: self.families])

    def add_again(self) -> None:
        self.node.run(self.node.datapath.add, self.pod.facts, self.pod.namespace.path)

    def check(self) -> tuple[str, ...]:
        run, pod = self.node.namespace.run, self.pod
        return run(self.node.datapath.check, pod.facts, pod.namespace.path)

    def heal(self) -> int:
        """Look until all is as planned, and build the pod again if need be; count the looks."""
        for number in range(4):
            report = self.node.look(into=True)
            if self.pod.facts in report.broken:
                self.add_again()
            elif not (report.repairs or report.errors or report.differing):
                return number
        raise AssertionError("not as planned after four looks")

    @property
    def pod_link(self) -> str:
        return self.pod.pod_network.host_interface

    def assert_connected(self) -> None:
        pod = self.pod.namespace
        for place in range(self.families):
            outside = (neutron.OUTSIDE, neutron.OUTSIDE_6)[place]
            assert pod.ask(outside, 80) == ("outside", ADDRESSES[place])
            assert self.remote.ask(ADDRESSES[place], 80) is not None
            node = (self.node.address, self.node.address_6)[place]
            assert pod.ask(node, 10250) == ("node", ADDRESSES[place])
        assert self.network.dropped() == {}

    def close(self) -> None:
        self.node.close()
        self.remote.close()
        self.network.close()
