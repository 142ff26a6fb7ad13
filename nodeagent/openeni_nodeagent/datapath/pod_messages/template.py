"""Templates of the messages that create a pod: an example's, and where its values are in them.

Pods of an ENI differ in names, indexes, MACs and addresses alone. To plan, order and encode each
takes a sixth of an ADD. A template is used only if, filled with the values of a second example, it
gives the messages that are planned for that one: so it misses no value, and takes nothing for one
that only looks like it.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Final, NamedTuple

from openeni_nodeagent.addresses import IPV4, IPV6, family_of
from openeni_nodeagent.datapath.links import NodeENI, NodePod, pod_on_node
from openeni_nodeagent.datapath.linux.rtnetlink_encode import packed
from openeni_nodeagent.datapath.model import Sysctl
from openeni_nodeagent.datapath.plan import plan_pod, pod_gateways, pod_routes
from openeni_nodeagent.datapath.pod_messages.encoding import PodMessages, encode_pod
from openeni_nodeagent.datapath_api import PodInterface
from openeni_nodeagent.pod_options import UNLIMITED

_REMEMBERED: Final = 256  # several ENIs, each with its pods' interface names, MTUs and families
_U32: Final = struct.Struct("=I")


class _Example(NamedTuple):
    """A pod that is nowhere, whose values' bytes are nowhere else in its messages."""

    uid: str
    container_id: str
    addresses: dict[int, str]  # by family; of documentation (RFC 5737, RFC 3849)
    host_index: int
    pod_index: int
    namespace: int


_EXAMPLES: Final = (
    _Example(
        "one",
        "an example",
        {IPV4: "192.0.2.213", IPV6: "2001:db8:a1b2:c3d4:e5f6:a7b8:c9da:ebfc"},
        0x00A7C3E5,
        0x00B9D5F1,
        0x7B6D5F43,
    ),
    _Example(
        "another",
        "a second example",
        {IPV4: "203.0.113.107", IPV6: "2001:db8:1a2b:3c4d:5e6f:7a8b:9cad:becf"},
        0x00975B3D,
        0x00856F4B,
        0x6A5C4E37,
    ),
)


class PodTemplate:
    """The messages of all pods of an ENI that have addresses of these families."""

    def __init__(self, example: NodePod, namespace: int) -> None:
        made = encode_pod(example, namespace)
        self.routes: Final = pod_routes(plan_pod(example).pod)
        self.gateways: Final = pod_gateways(example)
        parts = ((made.creation,), made.host, made.members, made.pod)
        messages = [message for part in parts for message in part]
        self._data: Final = b"".join(messages)
        self._cuts: Final = tuple(pairwise(accumulate(map(len, messages), initial=0)))
        _, self._first_member, self._first_in_pod, _ = accumulate(map(len, parts))
        self._places: Final = tuple(_places(self._data, _values(example, namespace)))
        self._host_link: Final = example.host_link
        self._host_sysctls: Final = made.host_sysctls
        self._pod_sysctls: Final = made.pod_sysctls

    def fill(self, pod: NodePod, namespace: int) -> PodMessages:
        """Return the messages of a pod, for its namespace's descriptor."""
        data = bytearray(self._data)
        values = _values(pod, namespace)
        for begin, end, number in self._places:
            data[begin:end] = values[number]
        filled = bytes(data)
        messages = [filled[begin:end] for begin, end in self._cuts]
        before, name = self._host_link, pod.host_link
        return PodMessages(
            messages[0],
            tuple(Sysctl(s.path.replace(before, name), s.value) for s in self._host_sysctls),
            tuple(messages[1 : self._first_member]),
            tuple(messages[self._first_member : self._first_in_pod]),
            self._pod_sysctls,
            tuple(messages[self._first_in_pod :]),
        )


def template_of(pod: NodePod) -> PodTemplate | None:
    """Return the template of a pod's messages; None if there is none for it."""
    facts = pod.facts
    if facts.host_ports or facts.bandwidth != UNLIMITED:
        return None
    families = tuple(map(family_of, facts.addresses))
    if len(set(families)) != len(families):  # the examples have one of each
        return None
    return _checked_template(pod.eni, facts.interface, facts.mtu, families)


@lru_cache(maxsize=_REMEMBERED)
def _checked_template(
    eni: NodeENI, interface: str, mtu: int, families: tuple[int, ...]
) -> PodTemplate | None:
    first, second = (_placed(e, eni, interface, mtu, families) for e in _EXAMPLES)
    template = PodTemplate(first, _EXAMPLES[0].namespace)
    namespace = _EXAMPLES[1].namespace
    filled, planned = template.fill(second, namespace), encode_pod(second, namespace)
    same = (
        filled.in_any_order() == planned.in_any_order()
        and template.routes == pod_routes(plan_pod(second).pod)
        and template.gateways == pod_gateways(second)
    )
    return template if same else None


def _placed(
    example: _Example, eni: NodeENI, interface: str, mtu: int, families: Sequence[int]
) -> NodePod:
    addresses = tuple(example.addresses[family] for family in families)
    facts = PodInterface(example.uid, example.container_id, interface, addresses, mtu, eni.facts)
    pod = pod_on_node(facts, eni)
    return replace(pod, host_index=example.host_index, pod_index=example.pod_index)


def _values(pod: NodePod, namespace: int) -> tuple[bytes, ...]:
    """Return what tells a pod from others, as messages have it; each as long as any pod's."""
    return (
        pod.host_link.encode(),
        pod.raw_mac,
        _U32.pack(pod.host_index),
        _U32.pack(pod.pod_index),
        _U32.pack(namespace),
        *map(packed, pod.facts.addresses),
    )


def _places(data: bytes, values: Sequence[bytes]) -> Iterator[tuple[int, int, int]]:
    """Yield the begin and end of each place of a value, and the value's number."""
    for number, value in enumerate(values):
        begin = data.find(value)
        while begin >= 0:
            yield begin, begin + len(value), number
            begin = data.find(value, begin + len(value))
