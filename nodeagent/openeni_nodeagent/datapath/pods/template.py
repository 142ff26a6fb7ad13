"""Templates of the messages that create a pod: those of an example, with the places of its values.

Pods of an ENI differ in names, indexes, MACs and addresses. To plan one, order its items and encode
them is a sixth of an ADD, and gives the same bytes but for these. A template is used only if it
gives, with the values of a second example, that one's very messages: so it cannot miss a value, nor
take for one what only looks like it.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import accumulate, pairwise
from socket import AF_INET, AF_INET6, inet_pton
from typing import Final

from openeni_nodeagent.addresses import IPV4, IPV6, family_of
from openeni_nodeagent.datapath.links import NodeENI, NodePod, pod_on_node
from openeni_nodeagent.datapath.model import Sysctl
from openeni_nodeagent.datapath.plan import plan_pod, pod_gateways, pod_routes
from openeni_nodeagent.datapath.pods.messages import PodMessages, encode_pod
from openeni_nodeagent.datapath_api import PodInterface
from openeni_nodeagent.pod_options import UNLIMITED

_REMEMBERED: Final = 256  # of several ENIs, in all their forms that were asked for lately
_NUMBER: Final = struct.Struct("=I")
# Of documentation (RFC 5737, RFC 3849), with bytes that nothing else has.
_ADDRESSES: Final = (
    {IPV4: "192.0.2.213", IPV6: "2001:db8:a1b2:c3d4:e5f6:a7b8:c9da:ebfc"},
    {IPV4: "203.0.113.107", IPV6: "2001:db8:1a2b:3c4d:5e6f:7a8b:9cad:becf"},
)
_CONTAINERS: Final = ("an example", "another example")
_INDEXES: Final = ((0x00A7C3E5, 0x00B9D5F1), (0x00975B3D, 0x00856F4B))  # on the node, in the pod
_NAMESPACES: Final = (0x7B6D5F43, 0x6A5C4E37)


class PodTemplate:
    """The messages of all pods of an ENI that have addresses of these families."""

    def __init__(self, example: NodePod, namespace: int) -> None:
        made = encode_pod(example, namespace)
        self.routes: Final = pod_routes(plan_pod(example).pod)
        self.gateways: Final = pod_gateways(example)
        parts = ((made.creation,), made.host, made.members, made.pod)
        messages = [message for part in parts for message in part]
        self._data = b"".join(messages)
        ends = [0, *accumulate(map(len, messages))]
        self._cuts = tuple(pairwise(ends))
        _, self._members, self._pod, _ = accumulate(map(len, parts))
        self._places = tuple(_places(self._data, _values(example, namespace)))
        self._name = example.host_link
        self._host_sysctls = made.host_sysctls
        self._pod_sysctls = made.pod_sysctls

    def fill(self, pod: NodePod, namespace: int) -> PodMessages:
        """Return the messages of a pod, for its namespace's descriptor."""
        data = bytearray(self._data)
        values = _values(pod, namespace)
        for begin, end, value in self._places:
            data[begin:end] = values[value]
        messages = [bytes(data[begin:end]) for begin, end in self._cuts]
        name = pod.host_link
        return PodMessages(
            messages[0],
            tuple(Sysctl(s.path.replace(self._name, name), s.value) for s in self._host_sysctls),
            tuple(messages[1 : self._members]),
            tuple(messages[self._members : self._pod]),
            self._pod_sysctls,
            tuple(messages[self._pod :]),
        )


def template_of(pod: NodePod) -> PodTemplate | None:
    """Return the template of a pod's messages; None if there is none for it."""
    facts = pod.facts
    if facts.host_ports or facts.bandwidth != UNLIMITED:
        return None
    families = tuple(map(family_of, facts.addresses))
    return _template(pod.eni, facts.interface, facts.mtu, families)


@lru_cache(maxsize=_REMEMBERED)
def _template(
    eni: NodeENI, interface: str, mtu: int, families: tuple[int, ...]
) -> PodTemplate | None:
    first, second = (_example(n, eni, interface, mtu, families) for n in range(2))
    template = PodTemplate(first, _NAMESPACES[0])
    filled = template.fill(second, _NAMESPACES[1])
    expected = encode_pod(second, _NAMESPACES[1])
    routes = pod_routes(plan_pod(second).pod)
    same = _in_any_order(filled) == _in_any_order(expected) and template.routes == routes
    return template if same else None


def _example(
    number: int, eni: NodeENI, interface: str, mtu: int, families: Sequence[int]
) -> NodePod:
    addresses = tuple(_ADDRESSES[number][family] for family in families)
    container = _CONTAINERS[number]
    facts = PodInterface("", container, interface, addresses, mtu, eni.facts)
    on_host, in_pod = _INDEXES[number]
    return replace(pod_on_node(facts, eni), host_index=on_host, pod_index=in_pod)


def _values(pod: NodePod, namespace: int) -> tuple[bytes, ...]:
    """Return what tells a pod from others, as messages have it; each as long as any pod's."""
    return (
        pod.host_link.encode(),
        pod.raw_mac,
        _NUMBER.pack(pod.host_index),
        _NUMBER.pack(pod.pod_index),
        _NUMBER.pack(namespace),
        *(_packed(address) for address in pod.facts.addresses),
    )


def _packed(address: str) -> bytes:
    return inet_pton(AF_INET6 if family_of(address) == IPV6 else AF_INET, address)


def _places(data: bytes, values: Sequence[bytes]) -> Iterator[tuple[int, int, int]]:
    """Yield the begin and end of each place of a value, and the value's number."""
    for number, value in enumerate(values):
        begin = data.find(value)
        while begin >= 0:
            yield begin, begin + len(value), number
            begin = data.find(value, begin + len(value))


def _in_any_order(messages: PodMessages) -> PodMessages:
    """Return them sorted: the plan is a set, and those of one kind come in any order."""
    return PodMessages(
        messages.creation,
        tuple(sorted(messages.host_sysctls, key=lambda s: s.path)),
        tuple(sorted(messages.host)),
        tuple(sorted(messages.members)),
        tuple(sorted(messages.pod_sysctls, key=lambda s: s.path)),
        tuple(sorted(messages.pod)),
    )
