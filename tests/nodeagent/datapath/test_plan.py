"""The plan of each mode equals its golden file.

`OPENENI_GOLDEN=write pytest ...` writes the files anew; review the difference.
"""

import os
import re
from dataclasses import replace
from ipaddress import ip_address
from itertools import product
from pathlib import Path

import pytest

from openeni_crds import names
from openeni_crds.enipool import Datapath, MetadataService, Mode
from openeni_nodeagent.datapath.describe import text
from openeni_nodeagent.datapath.eni import plan_eni
from openeni_nodeagent.datapath.filters.egress import egress_chain
from openeni_nodeagent.datapath.links import pod_on_node
from openeni_nodeagent.datapath.marks import Marks
from openeni_nodeagent.datapath.model import Chain, Element, Route, Rule, State
from openeni_nodeagent.datapath.plan import plan_node, plan_pod, pod_gateways, pod_routes
from openeni_nodeagent.datapath_api import LinkFacts, PodRoute
from openeni_testing.network.node import (
    DATAPATHS,
    PLANNED_NODE,
    allowing_metadata,
    placed_pod,
    pod_interface,
)

GOLDEN = Path(__file__).parent / "golden"
MARKS = Marks(names.MARK_MASK)


def lines(state: State) -> list[str]:
    texts = [text(i) + ("\n" + i.text.strip() if isinstance(i, Chain) else "") for i in state]
    return sorted(texts)


def described(datapath: Datapath, *, dual: bool) -> str:
    pod = placed_pod(datapath, dual=dual)
    planned = plan_pod(pod)
    parts = {
        "the ENI": plan_eni(pod.eni),
        "the pod, on the node": planned.host,
        "the pod, inside": planned.pod,
    }
    blocks = ("\n".join([f"# {title}", *lines(state)]) for title, state in parts.items())
    return "\n\n".join(blocks) + "\n"


@pytest.mark.parametrize(("datapath", "dual"), [*product(DATAPATHS, (False, True))])
def test_the_plan_is_what_the_file_says(datapath: Datapath, dual: bool) -> None:
    file = GOLDEN / f"{datapath.word.lower()}-{'dual' if dual else 'ipv4'}.txt"
    if os.environ.get("OPENENI_GOLDEN") == "write":
        file.write_text(described(datapath, dual=dual))
    assert file.read_text() == described(datapath, dual=dual)


def test_the_nodes_own_plan_is_what_the_file_says() -> None:
    described = "\n".join(lines(plan_node(frozenset({4, 6}), MARKS, PLANNED_NODE))) + "\n"
    file = GOLDEN / "node.txt"
    if os.environ.get("OPENENI_GOLDEN") == "write":
        file.write_text(described)
    assert file.read_text() == described


@pytest.mark.parametrize("datapath", DATAPATHS)
def test_metadata_is_allowed_only_on_demand(datapath: Datapath) -> None:
    pod = placed_pod(datapath)
    allowed = plan_eni(replace(pod.eni, facts=allowing_metadata(pod.eni.facts)))
    assert datapath.metadata_service is MetadataService.BLOCK
    for address in (names.METADATA_V4, names.METADATA_V6):
        forms = address, f"{int(ip_address(address)):#x}"
        assert not any(form in str(lines(allowed)) for form in forms)
        assert any(form in str(lines(plan_eni(pod.eni))) for form in forms)


@pytest.mark.parametrize("datapath", DATAPATHS)
def test_a_pod_costs_the_node_one_route_for_each_address_and_no_rule(datapath: Datapath) -> None:
    node = plan_pod(placed_pod(datapath)).host
    assert not any(isinstance(i, Rule) for i in node)
    assert len([i for i in node if isinstance(i, Route)]) == 2
    if datapath.mode is Mode.VETH:
        assert not any(isinstance(i, Element) for i in node)


def test_an_l2_pod_goes_through_the_node_for_all_but_its_subnet() -> None:
    routes = pod_routes(plan_pod(placed_pod(DATAPATHS[1], dual=False)).pod)
    assert PodRoute("10.98.0.0/24") in routes
    by_the_node = {r.destination for r in routes if r.gateway == "169.254.1.1"}
    assert by_the_node == {
        "10.96.0.0/16",
        "10.98.0.10/32",
        "10.99.0.11/32",
        "169.254.20.10/32",
        "0.0.0.0/0",
    }
    assert routes[-1] == PodRoute("0.0.0.0/0", "169.254.1.1")


def test_each_family_has_one_gateway_where_the_mode_has_any() -> None:
    assert [pod_gateways(placed_pod(d)) for d in DATAPATHS] == [
        ("169.254.1.1", "fe80::1"),
        ("169.254.1.1", names.GATEWAY_V6_L2),
        (),
        (),
    ]


def test_the_macs_and_links_of_five_hundred_pods_differ() -> None:
    pods = [
        pod_interface(f"p{n}", placed_pod(DATAPATHS[0]).eni.facts, "10.98.0.11") for n in range(500)
    ]
    places = [pod_on_node(p, placed_pod(DATAPATHS[0]).eni) for p in pods]
    assert len({p.mac for p in places}) == len({p.host_link for p in places}) == 500
    assert all(int(p.mac[:2], 16) & 3 == 2 for p in places)  # local, unicast


def test_no_address_that_two_bytes_turn_into_the_metadata_services_leaves_an_eni() -> None:
    service = ip_address(names.METADATA_V6).packed
    text = egress_chain(LinkFacts("ens7", 7)).text
    found = re.findall(r"@ll,304,128 & (\S+) == (\S+) drop", text)
    masks = [(int(mask, 16), int(value, 16)) for mask, value in found]
    for place in range(15):
        for written in (b"\0\0", b"\xff\xff", b"\x39\x11"):
            address = int.from_bytes(service[:place] + written + service[place + 2 :])
            assert any(address & mask == value for mask, value in masks), place
    for allowed in (
        names.GATEWAY_V6,
        names.GATEWAY_V6_L2,
        "fe80::f816:3eff:fea9:a9fe",
        "fd98::1",
        "ff02::1:ffa9:fea9",
    ):
        address = int(ip_address(allowed))
        assert not any(address & mask == value for mask, value in masks), allowed
