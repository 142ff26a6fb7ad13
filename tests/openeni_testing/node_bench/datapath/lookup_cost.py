"""Measure what a route look-up and a forwarded packet cost, by the number of the node's pods.

Compares the datapath with a list of one rule for each pod, in the same kernel and in turns. The
kernel works within the system call, and the processor time of the calling thread is taken, so other
load hardly shows. As root, `PYTHONPATH=tests python -m ...node_bench.datapath.lookup_cost` prints
the table.
"""

import os
import socket
import statistics
import struct
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from openeni_crds import names
from openeni_crds.enipool import Datapath, Mode
from openeni_nodeagent.datapath.kernel_datapath import KernelDatapath
from openeni_nodeagent.datapath.linux.attributes import HEADER, attribute, number
from openeni_nodeagent.datapath.linux.kernel import apply, observe, observe_filters
from openeni_nodeagent.datapath.linux.netlink import Netlink
from openeni_nodeagent.datapath.linux.rtnetlink_encode import RTMSG
from openeni_nodeagent.datapath.linux.uapi import RTM_NEWROUTE
from openeni_nodeagent.datapath.model import Chain, Item, Operation, Route, Rule, State, Verb
from openeni_nodeagent.datapath_api import NodeFacts, WantedNode
from openeni_testing.network.netns import Namespace
from openeni_testing.network.node import all_free, eni_facts, pod_interface

COUNTS: Final = (0, 250, 500)
NODE: Final = NodeFacts(("10.99.0.11",))
POD: Final = "10.98.0.11"
BEYOND: Final = "192.0.2.2"
NOBODY: Final = "02:00:00:00:00:99"  # a packet for it ends where it arrives
ROUNDS: Final = 15
CALLS: Final = 2000
_RTM_GETROUTE, _RTA_DST, _RTA_SRC, _RTA_IIF, _RTA_MARK = 26, 1, 2, 3, 16  # linux/rtnetlink.h
_BATCH: Final = 100


@dataclass(frozen=True)
class Cost:
    """Microseconds, medians: of a look-up for the node itself, for a pod, of a pod's packet."""

    pods: int
    way: str
    of_node: float
    of_pod: float
    packet: float


class Bench:
    """A node with one veth pod that sends, and the routes or rules of many others."""

    def __init__(self) -> None:
        self.node, self.wire, self.pod = map(Namespace, ("node", "wire", "pod"))
        self.eni = eni_facts("eni", 10, Datapath(Mode.VETH))
        thread = self.node.thread_id
        self.wire.ip(
            f"link add of-eni type veth peer name ens7 address {self.eni.mac} netns {thread}",
            f"link add of-node type veth peer name eth0 netns {thread}",
            "link set of-eni up",
            "link set of-node up",
        )
        self.node.ip(
            f"addr add {NODE.addresses[0]}/24 dev eth0",
            "link set eth0 up",
            "route add default via 10.99.0.1",
        )
        self.listed: list[Rule] = []
        self.pods: list[str] = []
        self.datapath = KernelDatapath()
        self.configure()
        facts = pod_interface("pod", self.eni, POD)
        network = self.node.run(self.datapath.add, facts, self.pod.path)
        self.node.ip(f"neigh add 10.98.0.1 lladdr {NOBODY} dev ens7 nud permanent")
        self.link = self.node.run(socket.if_nametoindex, network.host_interface)
        self.table = names.eni_table(self.node.run(socket.if_nametoindex, "ens7"))

    def configure(self) -> None:
        """Bring the node to the datapath's plan, which has no rule for each pod."""
        self._apply(Verb.REMOVE, self.listed)
        self.listed = []
        wanted = WantedNode(NODE, (self.eni,))
        snapshot = self.node.run(self.datapath.observe, wanted.enis)
        self.node.run(self.datapath.reconcile, snapshot, wanted, all_free)

    def fill(self, count: int) -> None:
        """Give the node the routes of this many pods."""
        new = [f"10.97.{n // 250}.{n % 250 + 1}" for n in range(len(self.pods), count)]
        self._apply(Verb.ADD, [Route(f"{a}/32", names.TABLE_PODS, self.link) for a in new])
        self.pods += new

    def list_pods(self) -> None:
        """Put a rule for each pod in the place of marks and guard; the sender's is the middle."""
        with_marks = self.node.run(_observed)
        ours = [i for i in with_marks if isinstance(i, Chain) and i.name in ("guard", self._chain)]
        self._apply(Verb.REMOVE, [*ours, *self._marking(with_marks)])
        half = len(self.pods) // 2
        addresses = [*self.pods[:half], POD, *self.pods[half:]]
        self.listed = [
            Rule(4, names.RULE_FROM_POD, self.table, source=f"{address}/32")
            for address in addresses
        ]
        self._apply(Verb.ADD, self.listed)

    def measure(self) -> tuple[float, float, float]:
        """Return the seconds of one look-up of the node's, one of the pod's, and one packet."""
        mark = next((i.mark for i in self._marking(self.node.run(_observed))), 0)
        of_pod = attribute(_RTA_SRC, socket.inet_aton(POD)) + number(_RTA_IIF, self.link)
        if mark:
            of_pod += number(_RTA_MARK, mark)
        lookups = [self.node.run(_time_lookups, extra) for extra in (b"", of_pod)]
        return lookups[0], lookups[1], self.pod.run(_time_packets)

    def close(self) -> None:
        for namespace in (self.pod, self.node, self.wire):
            namespace.close()

    @property
    def _chain(self) -> str:
        return f"eni{self.table - names.TABLE_ENI_BASE}"

    def _marking(self, state: State) -> list[Rule]:
        return [i for i in state if isinstance(i, Rule) and i.mask and i.table == self.table]

    def _apply(self, verb: Verb, items: Sequence[Item]) -> None:
        operations = [Operation(verb, item) for item in items]
        for at in range(0, len(items), _BATCH):  # so many acknowledgements fit a socket's buffer
            self.node.run(_apply, operations[at : at + _BATCH])


def measure(counts: Sequence[int] = COUNTS, rounds: int = ROUNDS) -> list[Cost]:
    """Return the costs with marks, and with a list, for each number of pods."""
    bench = Bench()
    try:
        return [cost for count in counts for cost in _measure(bench, count, rounds)]
    finally:
        bench.close()


def table(costs: Sequence[Cost]) -> str:
    """Return the costs as a table in Markdown."""
    lines = [
        "| pods | | look-up, node | look-up, pod | packet forwarded |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {c.pods} | {c.way} | {c.of_node:.2f} | {c.of_pod:.2f} | {c.packet:.2f} |" for c in costs
    ]
    return "\n".join(lines)


def _measure(bench: Bench, count: int, rounds: int) -> list[Cost]:
    ways: dict[str, Callable[[], None]] = {"marks": bench.configure, "list": bench.list_pods}
    seconds: dict[str, list[tuple[float, float, float]]] = {way: [] for way in ways}
    bench.configure()
    bench.fill(count)
    for _ in range(rounds):
        for way, change in ways.items():
            change()
            seconds[way].append(bench.measure())
    bench.configure()
    medians = {way: map(statistics.median, zip(*s, strict=True)) for way, s in seconds.items()}
    return [Cost(count, way, *(m * 1e6 for m in found)) for way, found in medians.items()]


def _observed() -> State:
    with Netlink() as netlink:
        return observe(netlink) | observe_filters()


def _apply(operations: Sequence[Operation]) -> None:
    with Netlink() as netlink:
        apply(operations, netlink)


def _on_one_processor() -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def _time_lookups(extra: bytes) -> float:
    """Return the seconds of one RTM_GETROUTE, which the kernel answers within the system call."""
    _on_one_processor()
    body = RTMSG.pack(socket.AF_INET, 32, 32 if extra else 0, 0, 0, 0, 0, 0, 0)
    body += attribute(_RTA_DST, socket.inet_aton(BEYOND)) + extra
    request = HEADER.pack(HEADER.size + len(body), _RTM_GETROUTE, 1, 0, 0) + body
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as netlink:
        netlink.sendto(request, (0, 0))
        kind = struct.unpack_from("=IH", netlink.recv(4096))[1]
        assert kind == RTM_NEWROUTE, "the look-up fails"
        begin = time.thread_time()
        for _ in range(CALLS):
            netlink.sendto(request, (0, 0))
            netlink.recv(4096)
        return (time.thread_time() - begin) / CALLS


def _time_packets() -> float:
    """Return the seconds of one datagram, which the node forwards within the system call."""
    _on_one_processor()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect((BEYOND, 9))
        begin = time.thread_time()
        for _ in range(CALLS):
            sender.send(b"openeni")
        return (time.thread_time() - begin) / CALLS


if __name__ == "__main__":
    sys.stdout.write(table(measure()) + "\n")
