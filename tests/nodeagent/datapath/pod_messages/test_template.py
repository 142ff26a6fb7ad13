"""A template gives the very messages that the plan gives, for any pod."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeni_crds.enipool import Datapath
from openeni_nodeagent.addresses import IPV6
from openeni_nodeagent.datapath import plan
from openeni_nodeagent.datapath.diff import diff, is_link_creation, is_offload
from openeni_nodeagent.datapath.links import NodeENI, NodePod, pod_on_node
from openeni_nodeagent.datapath.linux.attributes import HEADER
from openeni_nodeagent.datapath.linux.rtnetlink_encode import encode
from openeni_nodeagent.datapath.model import NOTHING, Element, PodPlan, Sysctl
from openeni_nodeagent.datapath.plan import plan_pod, pod_gateways, pod_routes
from openeni_nodeagent.datapath.pod_messages import encoding
from openeni_nodeagent.datapath.pod_messages.encoding import encode_pod
from openeni_nodeagent.datapath.pod_messages.template import template_of
from openeni_nodeagent.datapath_api import PodInterface
from openeni_nodeagent.pod_options import Bandwidth, PortMapping, RateLimit, Transport
from openeni_testing.network.node import DATAPATHS, MTU, placed_pod

SHAPES = tuple(product(DATAPATHS, (False, True)))
PORT = PortMapping(8080, 80, Transport.TCP)
INTERFACES = st.sampled_from(["eth0", "net1"])
INDEXES = st.integers(1, (1 << 31) - 1)


@st.composite
def pods(draw: st.DrawFn, eni: NodeENI) -> NodePod:
    four = draw(st.integers(1, (1 << 32) - 1).map(lambda n: str(IPv4Address(n))))
    six = draw(st.integers(1 << 64, (1 << 128) - 1).map(lambda n: str(IPv6Address(n))))
    addresses = (four, six) if IPV6 in eni.families else (four,)
    container = draw(st.text(min_size=1))
    facts = PodInterface("uid", container, draw(INTERFACES), addresses, MTU, eni.facts)
    on_host, in_pod = draw(st.tuples(INDEXES, INDEXES))
    return replace(pod_on_node(facts, eni), host_index=on_host, pod_index=in_pod)


@pytest.mark.parametrize(("datapath", "dual"), SHAPES)
@given(st.data(), st.integers(3, 1 << 20))
def test_it_gives_what_the_plan_gives(
    datapath: Datapath, dual: bool, data: st.DataObject, namespace: int
) -> None:
    pod = data.draw(pods(placed_pod(datapath, dual=dual).eni))
    template = template_of(pod)
    assert template is not None
    filled = template.fill(pod, namespace)
    assert filled.in_any_order() == encode_pod(pod, namespace).in_any_order()
    assert template.routes == pod_routes(plan_pod(pod).pod)
    assert template.gateways == pod_gateways(pod)


@pytest.mark.parametrize(("datapath", "dual"), SHAPES)
def test_requests_come_in_the_order_in_which_the_plan_is_applied(
    datapath: Datapath, dual: bool
) -> None:
    pod = placed_pod(datapath, dual=dual)
    template = template_of(pod)
    assert template is not None
    filled, planned = template.fill(pod, 9), plan_pod(pod)
    for ours, part in ((filled.host, planned.host), (filled.pod, planned.pod)):
        operations = [o for o in diff(NOTHING, part) if not (is_offload(o) or is_link_creation(o))]
        requests = [encode(o) for o in operations if not isinstance(o.item, Sysctl | Element)]
        assert [_message_type(r) for r in ours] == [_message_type(r) for r in requests]


def _message_type(request: bytes) -> object:
    return HEADER.unpack_from(request)[1]


def test_pods_with_host_ports_or_limits_or_two_addresses_of_a_family_have_none() -> None:
    plain = placed_pod(DATAPATHS[0], dual=False)
    for facts in (
        replace(plain.facts, addresses=("10.98.0.11", "10.98.0.12")),
        replace(plain.facts, host_ports=(PORT,)),
        replace(plain.facts, bandwidth=Bandwidth(egress=RateLimit(10**6, 10**6))),
    ):
        assert template_of(replace(plain, facts=facts)) is None


@pytest.mark.parametrize("field", ["pod_uid", "container_id", "addresses"])
def test_a_value_that_it_does_not_know_makes_it_unused(
    monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    """Such as one that somebody adds to the plan one day."""

    def planned(pod: NodePod) -> PodPlan:
        found = plan.plan_pod(pod)
        return PodPlan(found.host, found.pod | {Sysctl("net/tag", f"{getattr(pod.facts, field)}")})

    monkeypatch.setattr(encoding, "plan_pod", planned)
    plain = placed_pod(DATAPATHS[0], dual=False)
    new = replace(plain, facts=replace(plain.facts, interface=field))  # no other test asks for it
    assert template_of(new) is None


def test_a_pods_mac_and_link_are_what_they_were_in_earlier_versions() -> None:
    """Running pods keep theirs when the agent is updated."""
    pod = placed_pod(DATAPATHS[0], dual=False)
    pod = replace(pod, facts=replace(pod.facts, container_id="container"))
    assert (pod.host_link, pod.mac) == ("oeni1e33237587a", "02:1e:33:23:75:87")
