"""A node that suffers: the real agent as a process that can be killed, on a real kernel.

Its API server is a MemoryStore, the operator's part is written once; the network is Neutron's as
the node sees it. `settled` compares what the agent should have made of it with what an observer
sees.
"""

import json
import signal
import subprocess
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from openeni_crds.conditions import Type, is_true
from openeni_crds.enipool import Datapath, IPVlanMode
from openeni_testing.agent import node_objects
from openeni_testing.agent.host import AgentHost
from openeni_testing.agent.nursery import Agents
from openeni_testing.network import neutron
from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import NeutronNetwork, Port
from openeni_testing.nursery import Child, Process
from openeni_testing.soak import damages, observer
from openeni_testing.soak.kubelet import Kubelet, Sandbox
from openeni_testing.store.remote import serve
from openeni_testing.waiting import wait_for

ADDRESSES: Final = 7  # of each family
MOST_PODS: Final = 5  # the other addresses cool down, or are of sandboxes that are replaced
COOL_DOWN: Final = 1  # seconds
SETTLE_SECONDS: Final = 100.0
LOG_SHOWN: Final = 20_000  # characters of the agents' log
LAST_FAILURES: Final = 3  # of ADDs, which are shown
NODE: Final = ("10.99.0.11", "fd99::11")
GATEWAYS: Final = (neutron.GATEWAY, neutron.GATEWAY_6)
PROGRAM_SECONDS: Final = 60
# What the agent asks a gateway as an address without a pod, by an echo request without data. While
# somebody has wiped the filters, the node passes the answer on, as anybody's, and Neutron drops it.
_NO_ANSWER_TO_PROBES: Final = """
table inet probes {
  chain c {
    type filter hook input priority 0;
    icmp type echo-request meta length 28 drop
  }
}
"""


@dataclass(frozen=True)
class Lasting:
    """What others have done to a node, and the agent leaves to them."""

    lasts: Callable[[], bool]  # something else may have ended it
    is_named: Callable[[], bool]  # by a condition that is not True, if it has to be
    take_back: Callable[[], None]


class SufferingNode:
    """One node with one dual-stack ENI. Use `suffering_node`."""

    _agents: Agents | None = None
    _agent: Child | None = None

    def __init__(
        self, host: AgentHost, datapath: Datapath, network: NeutronNetwork, space: Namespace
    ) -> None:
        self.host, self.datapath = host, datapath
        self.network, self.space = network, space
        self.kubelet = Kubelet(host, Namespace, COOL_DOWN)
        self.bare: list[str] = []  # its fingerprint without pods
        self.lasting: list[Lasting] = []
        self.has_lost_ipv6 = False  # a link of openeni's, whose MTU somebody has changed
        self._plugged = 0
        primary = Port("node", "fa:16:3e:99:00:11", NODE)
        network.plug(space, "eth0", primary, bridge="br-nodes")
        space.ip(
            f"addr add {NODE[0]}/24 dev eth0",
            f"addr add {NODE[1]}/64 dev eth0 nodad",
            "link set eth0 up",
            f"route add default via {neutron.NODES_GATEWAY}",
            "route add default via fd99::1",
        )
        store = host.store
        node_objects.make_node(store, NODE)
        node_objects.make_pool(store, cool_down=f"{COOL_DOWN}s", datapath=datapath)
        node_objects.make_eni(store, datapath=datapath)
        node_objects.write_operator_status(store, count=ADDRESSES, dual=True)
        addresses = ("10.98.0.4", "fd98::4", *node_objects.addresses(ADDRESSES))
        addresses += node_objects.addresses_6(ADDRESSES)
        network.fabric.nft(_NO_ANSWER_TO_PROBES)
        self.port = Port("pods-0", node_objects.mac(0), addresses)
        self.plug()

    @property
    def is_plugged(self) -> bool:
        return self.port.device in self.network.fabric.links()

    def unplug(self) -> None:
        if self.is_plugged:
            self.network.unplug(self.port)

    def plug(self) -> None:
        """Plug the ENI in, if it is not, under a name that it has not had."""
        if self.is_plugged:
            return
        self._plugged += 1
        self.network.plug(self.space, f"ens{self._plugged}", self.port)
        if self.datapath.ipvlan_mode is IPVlanMode.L3:
            self.network.answer_arp(self.port)

    def nic(self) -> str:
        """Return the name that the ENI's NIC has now. It is plugged in if it was not."""
        self.plug()
        listed = json.loads(self.space.program("ip", "-j", "-d", "link", "show"))
        (name,) = (
            link["ifname"]
            for link in listed
            if link["address"] == self.port.mac
            and link.get("linkinfo", {}).get("info_kind") != "ipvlan"
        )
        return str(name)

    def rename(self, name: str) -> None:
        """Give the ENI's NIC another name, as long as it is down."""
        nic = self.nic()
        self.attempt("ip", "link", "set", nic, "down")
        self.attempt("ip", "link", "set", nic, "name", name)

    def attempt(self, *command: str) -> None:
        """Run a program that may find what it changes no more: the agent works meanwhile."""
        how = {"capture_output": True, "timeout": PROGRAM_SECONDS, "check": False}
        self.space.run(partial(subprocess.run, command, **how))

    def start_agents(self, agents: Agents) -> None:
        self._agents = agents
        self.start_agent()

    def start_agent(self, settings: Mapping[str, str] | None = None) -> None:
        """Start the agent, if it does not run."""
        if self._agent is None:
            assert self._agents is not None
            self._agent = self._agents.start_agent(settings)

    @property
    def has_agent(self) -> bool:
        return self._agent is not None

    def end_agent(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End the agent, if it runs, and wait until it is gone."""
        if self._agent is not None:
            self._agent.signal(number)
            self._agent.wait()
            self._agent = None

    @contextmanager
    def halted_agent(self) -> Generator[None]:
        """Stop the agent where it is, for as long as the block runs."""
        assert self._agent is not None
        self._agent.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._agent.signal(signal.SIGCONT)

    def end_outage(self) -> None:
        self.host.store.set_outage(outage=False)

    def end_lasting(self) -> None:
        """Take back what lasts, once a condition has named it."""
        for one in reversed(self.lasting):
            if one.lasts():
                wait_for(one.is_named, f"a condition names {one.take_back}", SETTLE_SECONDS)
            one.take_back()
        self.lasting.clear()

    def settle(self) -> None:
        """Wait until everybody agrees: kubelet, kernel, journal and API; then send packets."""
        self.end_outage()
        self.start_agent()
        self.end_lasting()
        wait_for(self._is_idle, "every pod has an address", SETTLE_SECONDS)
        wait_for(partial(_none, self.unsettled), "observed = planned", SETTLE_SECONDS)
        assert self._unreachable() == []
        assert self.kubelet.problems == []
        dropped = self.network.dropped()
        assert self.has_lost_ipv6 or dropped == {}, dropped

    def _is_idle(self) -> bool:
        assert self.kubelet.is_idle(), "\n".join(self.kubelet.failures[-LAST_FAILURES:])
        return True

    def settle_bare(self) -> None:
        """Delete the pods, and wait until nothing of them is left."""
        for pod in list(self.kubelet.pods.values()):
            self.kubelet.delete_pod(pod)
        self.settle()
        assert self.kubelet.pods == {}

        def leaks() -> list[str]:
            return observer.differences(self.bare, observer.fingerprint(self.space, self.nic()))

        wait_for(partial(_none, leaks), "the node is as it was before the pods", SETTLE_SECONDS)

    def unsettled(self) -> list[str]:
        """Return what differs between the pods that run and what an observer finds of them."""
        running = self.kubelet.running()
        owners = {a: s.container for s in running for a in s.addresses}
        journal, wrong = observer.owners_in_journal(self.host.settings.journal)
        podips, not_ready = observer.owners_in_podips(self.host.store)
        routed = observer.routed(self.space)
        links = observer.pod_links(self.space)
        wrong += not_ready
        wrong += [f"journal: {d}" for d in observer.differences(owners.items(), journal.items())]
        wrong += [f"PodIPs: {d}" for d in observer.differences(owners.items(), podips.items())]
        wrong += [f"kernel: {d}" for d in observer.differences(owners, routed)]
        wrong += self._wrong_links(running, routed, links)
        wrong += damages.left(self.space)
        if not is_true(self.host.eni().status.conditions, Type.LINK_READY):
            wrong.append("LinkReady is not true")
        if self.host.node_status().granted != len(running):
            wrong.append(f"{self.host.node_status()} for {len(running)} pods")
        return wrong or [found for s in running if (found := self.kubelet.check(s))]

    def _wrong_links(
        self, running: list[Sandbox], routed: dict[str, str], links: list[str]
    ) -> list[str]:
        """Return what is wrong with the links of pods on the node."""
        if self.datapath.ipvlan_mode is not None:
            return [f"a pair's end {link} is left" for link in links]
        devices = [{routed.get(a, "") for a in s.addresses} for s in running]
        if sorted(map(sorted, devices)) == sorted([link] for link in links):
            return []
        return [f"routes lead to {devices}, pods' links are {links}"]

    def _unreachable(self) -> list[str]:
        """Return the packets that are lost between each pod, the node and the network."""
        lost: list[str] = []
        for sandbox in self.kubelet.running():
            space = sandbox.space
            assert isinstance(space, Namespace)
            for address, gateway in zip(sandbox.addresses, GATEWAYS, strict=True):
                if not self.network.fabric.ping(address):
                    lost.append(f"network -> {address}")
                if not space.ping(gateway):
                    lost.append(f"{address} -> network")
                if not self.space.ping(address):
                    lost.append(f"node -> {address}")
        return lost


def _none(find: Callable[[], list[str]]) -> bool:
    found = find()
    assert found == [], "\n".join(found)
    return True


@contextmanager
def suffering_node(folder: Path, executable: Path, datapath: Datapath) -> Generator[SufferingNode]:
    """Run a node whose agent has served, without pods."""
    host = AgentHost(folder, executable)
    serve(host.store, folder / "store.sock")
    with ExitStack() as ending:
        network = NeutronNetwork()
        ending.callback(network.close)
        space = ending.enter_context(Namespace("node"))
        node = SufferingNode(host, datapath, network, space)

        def popen(command: Sequence[str], **how: Any) -> Process:
            return space.run(partial(subprocess.Popen, command, **how))

        agents = ending.enter_context(Agents(host, "kernel", "short", popen))
        node.start_agents(agents)
        ending.callback(node.kubelet.close)
        wait_for(host.conflist.exists, "the agent serves")
        node.kubelet.add_pod()
        node.settle()
        for pod in list(node.kubelet.pods.values()):
            node.kubelet.delete_pod(pod)
        node.settle()
        wait_for(lambda: not observer.routed(space), "the first pod has left")
        node.bare = observer.fingerprint(space, node.nic())
        try:
            yield node
        except AssertionError:
            print(agents.log()[-LOG_SHOWN:])  # noqa: T201 shown if the test fails
            raise
