"""The messages of an ADD, encoded beforehand: what the kernel alone takes for them.

They are sent on a node of their own, where no agent looks after what others change.
"""

# pyright: reportPrivateUsage=false

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import Final

from openeni_crds.enipool import Datapath
from openeni_lab.runtime.sandbox import make_namespace, remove_namespace
from openeni_nodeagent.datapath.diff import diff
from openeni_nodeagent.datapath.kernel_datapath import KernelDatapath
from openeni_nodeagent.datapath.linux import nfnetlink, rtnetlink_encode, uapi
from openeni_nodeagent.datapath.linux.namespace import in_namespace, open_namespace
from openeni_nodeagent.datapath.linux.netlink import Netlink, Refusal
from openeni_nodeagent.datapath.linux.sysctls import write_sysctls
from openeni_nodeagent.datapath.model import (
    NOTHING,
    Element,
    Item,
    Link,
    Operation,
    State,
    Sysctl,
    Verb,
)
from openeni_nodeagent.datapath.plan import plan_pod
from openeni_nodeagent.datapath.pod import remove_host_part, remove_links
from openeni_testing.network.neutron import NeutronNetwork
from openeni_testing.network.node import Node, eni_facts, pod_interface

POD: Final = "10.98.0.11"
Send = Callable[[Netlink], object]


class PreparedMessages:
    """A pod whose messages can be sent again and again."""

    def __init__(self, network: NeutronNetwork, datapath: Datapath) -> None:
        self._node = Node("bound", network, "10.99.0.12", "")
        eni = eni_facts("bound", 10, datapath)
        self._node.attach("ens7", eni, (POD,))
        kernel = self._node.datapath
        assert isinstance(kernel, KernelDatapath)
        self._pod = kernel._node_pod(pod_interface("bound", eni, POD))
        planned = plan_pod(self._pod)
        in_pod = _operations(planned.pod)
        self._on_host = list(_senders(_operations(planned.host)))
        self._in_pod = list(_senders(o for o in in_pod if not isinstance(o.item, Sysctl)))
        self._sysctls = [o.item for o in in_pod if isinstance(o.item, Sysctl)]
        ends = (*planned.host, *planned.pod)
        self._links = [item for item in ends if isinstance(item, Link)]  # the host's end first

    def close(self) -> None:
        self._node.close()

    def send(self, turn: int) -> float:
        """Send them for a new namespace; return the seconds until the kernel has done all."""
        return self._node.namespace.run(self._send, f"bound-{turn}")

    def _send(self, name: str) -> float:
        netns = make_namespace(name)
        with open_namespace(str(netns)) as namespace:
            host_link, *peer = self._links
            creation = rtnetlink_encode.create_link(
                host_link, peer=peer[0] if peer else None, namespace=namespace
            )
            begun = time.perf_counter()
            with Netlink() as netlink:
                _require_done(netlink.execute([creation]))
                for send in self._on_host:
                    send(netlink)
                with in_namespace(namespace, self._enter) as inside:
                    for send in self._in_pod:
                        send(inside)
            seconds = time.perf_counter() - begun
        remove_host_part(self._pod)
        remove_links(self._pod, str(netns))
        remove_namespace(netns)
        return seconds

    def _enter(self) -> Netlink:
        write_sysctls(self._sysctls)
        return Netlink()


def _operations(planned: State) -> list[Operation]:
    """Return what follows the creation of the links."""
    return [
        o for o in diff(NOTHING, planned) if not (isinstance(o.item, Link) and o.verb is Verb.ADD)
    ]


def _senders(operations: Iterator[Operation] | Sequence[Operation]) -> Iterator[Send]:
    """Yield a function for each run of operations of one protocol, with its messages encoded."""
    for kind, group in groupby(operations, key=lambda o: _protocol(o.item)):
        run = list(group)
        if kind is Sysctl:
            yield partial(_write_sysctls, [o.item for o in run if isinstance(o.item, Sysctl)])
        elif kind is Element:
            yield partial(_send_to_nftables, nfnetlink.batch(run))
        else:
            yield partial(_send_requests, [rtnetlink_encode.encode(o) for o in run])


def _write_sysctls(wanted: Sequence[Sysctl], _: Netlink) -> None:
    write_sysctls(wanted)


def _protocol(item: Item) -> type:
    return type(item) if isinstance(item, Sysctl | Element) else Link


def _send_requests(requests: Sequence[bytes], netlink: Netlink) -> None:
    _require_done(netlink.execute(requests))


def _send_to_nftables(requests: Sequence[bytes], _: Netlink) -> None:
    with Netlink(uapi.NETLINK_NETFILTER) as netfilter:
        _require_done(netfilter.execute_framed(requests))


def _require_done(refused: Sequence[Refusal]) -> None:
    if refused:
        raise RuntimeError(f"the kernel refuses a prepared message: {refused[0]}")
