"""A Node that is registered again has a Hostname alone until a cloud controller acts."""

from collections.abc import Generator
from dataclasses import replace

import pytest

from openeni_nodeagent.datapath.kernel_datapath import KernelDatapath
from openeni_testing.network.one_eni import MODES
from openeni_testing.network.reached_pod import ReachedPod

pytestmark = pytest.mark.root


@pytest.fixture(params=MODES)
def bench(request: pytest.FixtureRequest) -> Generator[ReachedPod]:
    made = ReachedPod(request.param)
    made.network.drop_invalid()  # security groups have state: no detour by the network works
    yield made
    made.close()


def look_at_a_node_without_addresses(bench: ReachedPod) -> None:
    report = bench.node.look(into=True, facts=replace(bench.node.facts, addresses=()))
    assert (report.errors, report.differing) == ({}, {})


def test_pods_and_their_node_reach_each_other_while_it_shows_no_address(bench: ReachedPod) -> None:
    look_at_a_node_without_addresses(bench)
    bench.assert_connected()
    assert bench.node.namespace.ask(bench.pod.address, 80) is not None
    assert bench.check() == ()


def test_an_agent_that_starts_meanwhile_begins_with_the_last_ones(bench: ReachedPod) -> None:
    bench.node.datapath = KernelDatapath()
    bench.node.look()  # with what the journal has
    look_at_a_node_without_addresses(bench)
    bench.assert_connected()
    assert bench.node.namespace.ask(bench.pod.address, 80) is not None
