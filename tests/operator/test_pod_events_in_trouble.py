"""Pods that start and end cause no call to a cloud that is in trouble, whatever its keys wait for.

An event may bring a key forward, so that a correction takes effect at once. But the events of pods
wake no ENI that need not change, and what they do wake is held up by the pauses of the whole cloud.
"""

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from openeni_crds.conditions import Reason, Type, is_true
from openeni_crds.eni import ENI
from openeni_crds.meta import decode
from openeni_crds.names import (
    ENIPOOLS,
    ENIS,
    LABEL_RETAINED,
    LABEL_VETH,
    MANAGER_AGENT,
    NODES,
    PODIPS,
    PODS,
    Kind,
)
from openeni_kube.clock import now_text
from openeni_kube.result import Result
from openeni_operator.cloud.admission import CallLimits
from openeni_operator.cloud.errors import ResourceConflictError
from openeni_operator.cloud.pauses import UNREACHABLE_CALLS
from openeni_operator.controllers import Controllers
from openeni_operator.settings import Settings
from openeni_testing.cloud.faults import FakeClock, Fault
from openeni_testing.controller.agent_report import new_report
from openeni_testing.controller.checks import change_spec, pool_condition, simulate_ready_pool
from openeni_testing.controller.running import running_operator
from openeni_testing.controller.simulation import Simulation
from openeni_testing.fake_openstack.cloud import FakeOpenStack
from openeni_testing.fake_openstack.faults import ErrorBefore
from openeni_testing.fake_openstack.messages import Response
from openeni_testing.fake_openstack.responses import throttled, unavailable
from openeni_testing.objects import condition, podip_body, pool_body, status_of
from openeni_testing.store.memory import MemoryStore
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.slow

EVENTS = 200
NODES_OF_POOL = 4
ASKED = 600  # seconds, by Retry-After
THREADS = 4
# Nothing is remembered for long that would save a call by itself: every ENI asks at each look.
SETTINGS = Settings(resync=0.2, workers=THREADS, cloud_writes=1, cloud_reads=1)
UNLIMITED = CallLimits(reads=1e6, writes=1e6, attaches=1e6)


class RunningPool:
    """A pool of the product's own controllers, with their threads and HTTP to a fake cloud.

    The clock of the cloud's pauses stands still unless the test moves it.
    """

    def __init__(self, cloud: FakeOpenStack, file: Path) -> None:
        self.store, self.cloud, self.clock = MemoryStore(), cloud, FakeClock()
        self.looks = Counter[str]()  # reconciles by kind
        self._granted: dict[str, set[str]] = {}  # ENI -> addresses that pods have
        self._file = file
        cloud.write_clouds_yaml(file)
        cloud.state.add_subnet(cloud.state.add_network(), "pods", "10.98.0.0/20")
        cloud.state.add_group("pods")
        body = pool_body("pods")
        body["spec"] |= {"podSelector": {}, "capacity": {"addressesPerENI": 8, "minAvailable": 2}}
        self.store.create(ENIPOOLS, body)
        for number in range(NODES_OF_POOL):
            self._add_node(f"n{number}")

    def _add_node(self, name: str) -> None:
        server = self.cloud.state.add_server().id
        metadata = {"name": name, "labels": {LABEL_VETH: "true"}}
        status = {"allocatable": {"pods": "110"}}
        spec = {"providerID": f"openstack:///{server}"}
        self.store.create(NODES, {"metadata": metadata, "spec": spec, "status": status})

    def run(self) -> Any:
        return running_operator(
            self.store,
            self._file,
            settings=SETTINGS,
            limits=UNLIMITED,
            clock=self.clock,
            observe=self._observe,
        )

    def _observe(self, kind: Kind, _result: Result, _seconds: float) -> None:
        self.looks[kind.name] += 1

    def enis(self) -> list[ENI]:
        return [decode(body, ENI) for body in self.store.list(ENIS).items]

    def report(self) -> None:
        """Let each node's agent report on its ENI."""
        attached = {port.id for port in self.cloud.state.ports.all() if port.device_id}
        for eni in self.enis():
            port, had = eni.status.port, self._granted.get(eni.name, set())
            is_attached = port is not None and port.id in attached
            body = new_report(eni, had, now_text(), attached=is_attached)
            if body is not None:
                self.store.apply(ENIS, body, manager=MANAGER_AGENT, subresource="status")

    def is_ready(self) -> bool:
        self.report()
        enis = self.enis()
        ready = [eni for eni in enis if is_true(eni.status.conditions, Type.READY)]
        return len(ready) == len(enis) == NODES_OF_POOL

    def start_and_end_pods(self, operator: Controllers) -> None:
        """Let pods start and end, one event after the other; return once all have been seen.

        What was read of the cloud before is too old by then.
        """
        self.clock.advance(SETTINGS.resync)
        for number in range(EVENTS // 2):
            eni = self.enis()[number % NODES_OF_POOL]
            assert eni.status.port is not None
            granted = self._granted.setdefault(eni.name, set())
            granted ^= {eni.status.port.addresses[number % 4]}
            pod = {"metadata": {"name": "web", "namespace": "default"}}
            spec = {"spec": {"nodeName": eni.spec.node_name}, "status": {"phase": "Pending"}}
            self.store.create(PODS, pod | spec)
            self.report()
            self.store.delete(PODS, "web", "default")
        looks = self.looks.copy()
        wait_for(lambda: self._has_seen(operator), "the last event is seen")
        more = (ENIS.name, ENIPOOLS.name)
        wait_for(lambda: all(self.looks[k] >= looks[k] + 10 for k in more), "looks after it")

    def _has_seen(self, operator: Controllers) -> bool:
        seen = {eni.name: eni.status.node for eni in operator.state.enis()}
        return seen == {eni.name: eni.status.node for eni in self.enis()}

    def calls(self) -> int:
        return sum(self.cloud.audit.counts.values())

    def is_called(self, more_than: int) -> bool:
        """Let time pass; return whether there have been more calls than that."""
        self.clock.advance(SETTINGS.resync)
        return self.calls() > more_than


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[RunningPool]:
    with FakeOpenStack() as cloud:
        yield RunningPool(cloud, tmp_path / "clouds.yaml")


@pytest.mark.parametrize(
    ("response", "most"),
    [(unavailable(ASKED), UNREACHABLE_CALLS + THREADS), (throttled(ASKED), 1 + THREADS)],
    ids=["503", "429"],
)
def test_a_cloud_that_asks_for_a_pause_gets_it_while_pods_start_and_end(
    pool: RunningPool, response: Response, most: int
) -> None:
    with pool.run() as operator:
        wait_for(pool.is_ready, "each node has its ENI")
        pool.cloud.faults.add("", ErrorBefore(response), times=math.inf)
        before = pool.calls()
        wait_for(lambda: pool.calls() > before, "it is found out")
        pool.start_and_end_pods(operator)
        first = pool.calls() - before
        assert first <= most
        pool.clock.advance(ASKED - 1)
        pool.start_and_end_pods(operator)
        assert pool.calls() - before == first
        pool.clock.advance(1)
        wait_for(lambda: pool.calls() - before > first, "one call tries again, for all")
        pool.start_and_end_pods(operator)
        assert pool.calls() - before == first + 1
        pool.cloud.faults.clear()
        pool.clock.advance(ASKED)
        wait_for(lambda: pool.is_called(before + first + 10), "it is called as before")


# One port that is refused is no trouble of the cloud's, and no pause holds up its ENI.


def start_and_end_pod(sim: Simulation, number: int) -> None:
    """Let a pod with a sticky address start on an ENI, or end again, and its agent report it."""
    eni = sim.eni(sim.ready()[0])
    assert eni.status.port is not None
    address = eni.status.port.addresses[0]
    if number % 2:
        sim.granted[eni.name].discard(address)
        sim.api.delete(PODIPS, "web", "default")
        return
    sim.granted.setdefault(eni.name, set()).add(address)
    sim.add_pod("web", eni.spec.node_name)
    sim.run_events(0)
    sim.remove_pods()
    body = podip_body("web", node=eni.spec.node_name)
    body["metadata"]["labels"] = {LABEL_RETAINED: ""}
    body["spec"] |= {"eniName": eni.name, "address": address, "retention": "1h"}
    sim.api.create(PODIPS, body)
    sim.run_events(0)
    built = status_of("web", conditions=[condition("DatapathReady")])
    built["metadata"]["namespace"] = "default"
    sim.api.apply(PODIPS, built, manager=MANAGER_AGENT, subresource="status")


def calls_in_conflict(*, pods: bool) -> Counter[str]:
    """Return the calls of 200 s in which the cloud refuses to change the ports of two ENIs."""
    sim = simulate_ready_pool()
    sim.cloud.add_group("more")
    sim.cloud.fail("set security groups", *[Fault(ResourceConflictError("busy"))] * 1000)
    change_spec(sim, securityGroups=[{"name": "more"}])
    before = sim.cloud.calls.copy()
    for number in range(200):
        if pods:
            start_and_end_pod(sim, number)
        sim.run_events(1)
    assert pool_condition(sim, Type.UP_TO_DATE).reason == Reason.CONFLICT
    return sim.cloud.calls - before


def test_events_of_pods_bring_no_eni_forward_whose_port_is_refused() -> None:
    quiet = calls_in_conflict(pods=False)
    assert 2 < quiet["set security groups"] < 20
    assert calls_in_conflict(pods=True) == quiet
