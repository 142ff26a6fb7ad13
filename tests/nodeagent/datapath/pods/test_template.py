"""A template gives the very messages that the plan gives, for any pod."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeni_crds import names
from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_nodeagent.addresses import IPV6
from openeni_nodeagent.datapath import plan
from openeni_nodeagent.datapath.links import NodeENI, NodePod, pod_on_node
from openeni_nodeagent.datapath.marks import Marks
from openeni_nodeagent.datapath.model import NOTHING, PodPlan, Sysctl
from openeni_nodeagent.datapath.plan import plan_pod, pod_gateways, pod_routes
from openeni_nodeagent.datapath.pods import messages
from openeni_nodeagent.datapath.pods.messages import PodMessages, encode_pod
from openeni_nodeagent.datapath.pods.template import template_of
from openeni_nodeagent.datapath_api import LinkFacts, NodeFacts, PodInterface
from openeni_nodeagent.pod_options import Bandwidth, PortMapping, RateLimit, Transport
from openeni_testing.network.node import MTU, eni_facts

NODE = NodeFacts(("10.99.0.11", "fd99::11"), ("10.96.0.0/16", "fd96::/112"), ("169.254.20.10",))
MODES = (Datapath(Mode.VETH), *(Datapath(Mode.IPVLAN, IPVlanDatapath(mode)) for mode in IPVlanMode))
SHAPES = tuple(product(MODES, (False, True)))
PORT = PortMapping(8080, 80, Transport.TCP)
INTERFACES = st.sampled_from(["eth0", "net1"])
INDEXES = st.integers(1, (1 << 31) - 1)


def on_node(datapath: Datapath, dual: bool) -> NodePod:
    eni = eni_facts("eni", 10, datapath, dual=dual)
    mark = Marks(names.MARK_MASK).of_table(NOTHING, names.eni_table(7))
    addresses = ("10.98.0.11", "fd98::11") if dual else ("10.98.0.11",)
    facts = PodInterface("uid", "container", "eth0", addresses, MTU, eni)
    return pod_on_node(facts, NodeENI(eni, LinkFacts("ens7", 7), NODE, mark))


def in_any_order(found: PodMessages) -> object:
    return (
        found.creation,
        set(found.host_sysctls),
        sorted(found.host),
        sorted(found.members),
        set(found.pod_sysctls),
        sorted(found.pod),
    )


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
    pod = data.draw(pods(on_node(datapath, dual).eni))
    template = template_of(pod)
    assert template is not None
    filled = template.fill(pod, namespace)
    assert in_any_order(filled) == in_any_order(encode_pod(pod, namespace))
    assert template.routes == pod_routes(plan_pod(pod).pod)
    assert template.gateways == pod_gateways(pod)


@pytest.mark.parametrize(("datapath", "dual"), SHAPES)
def test_requests_come_in_the_order_in_which_they_are_applied(
    datapath: Datapath, dual: bool
) -> None:
    """Links up before addresses, these before neighbours, these before routes, on either side."""
    pod = on_node(datapath, dual)
    template = template_of(pod)
    assert template is not None
    filled, expected = template.fill(pod, 9), encode_pod(pod, 9)
    for part in ("host", "members", "pod"):
        ours, plans = (
            [message[4:6] for message in getattr(made, part)] for made in (filled, expected)
        )  # nlmsg_type
        assert ours == plans


def test_pods_with_host_ports_or_limits_have_none() -> None:
    plain = on_node(MODES[0], dual=False)
    for facts in (
        replace(plain.facts, host_ports=(PORT,)),
        replace(plain.facts, bandwidth=Bandwidth(egress=RateLimit(10**6, 10**6))),
    ):
        assert template_of(replace(plain, facts=facts)) is None


def test_a_value_that_it_does_not_know_makes_it_unused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as one that somebody adds to the plan one day."""

    def planned(pod: NodePod) -> PodPlan:
        found = plan.plan_pod(pod)
        return PodPlan(found.host, found.pod | {Sysctl("net/tag", pod.facts.addresses[0])})

    monkeypatch.setattr(messages, "plan_pod", planned)
    plain = on_node(MODES[0], dual=False)
    new = replace(plain, facts=replace(plain.facts, interface="net7"))  # no other test asks for it
    assert template_of(new) is None
