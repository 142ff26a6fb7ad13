"""What the operator's process is made of hangs together: its own `run`, but for kopf."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from openeni_crds.meta import Json
from openeni_crds.names import ENIPOOLS, ENIS, LABEL_VETH, LEASES, NAMESPACES, NODES, Kind
from openeni_kube.result import Done
from openeni_kube.store import UnreachableError
from openeni_kube.watches.informer import STALLED_SECONDS, Informer
from openeni_kube.workers import Workers
from openeni_operator import __main__ as product
from openeni_operator.controllers import Controllers
from openeni_operator.process import leadership
from openeni_operator.process.leadership import BOUND, Leadership
from openeni_operator.process.metrics import Metrics
from openeni_operator.process.probes import LoopCheck, Probes
from openeni_operator.resync import Resync
from openeni_operator.settings import Settings
from openeni_testing.cloud.faults import FakeClock
from openeni_testing.controller.running import running_operator
from openeni_testing.fake_openstack.cloud import FakeOpenStack
from openeni_testing.objects import pool_body
from openeni_testing.store.memory import MemoryStore
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.slow
NAMESPACE: Final = "openeni-system"
NEVER: Final = 1e6  # seconds


class StoreOfOperator(MemoryStore):
    """A store with what the operator looks for at its start; it may refuse to renew Leases."""

    def __init__(self) -> None:
        super().__init__()
        self.refuses_leases = False
        self.create(NAMESPACES, {"metadata": {"name": "kube-system"}})

    def patch(
        self,
        kind: Kind,
        name: str,
        namespace: str = "",
        *,
        operations: Sequence[Mapping[str, object]],
        subresource: str = "",
    ) -> Json:
        if kind == LEASES and self.refuses_leases:
            raise UnreachableError(503, "etcd is slow")
        return super().patch(kind, name, namespace, operations=operations, subresource=subresource)


@dataclass(frozen=True)
class Running:
    """The product's `run` while kopf would run."""

    store: StoreOfOperator
    cloud: FakeOpenStack
    probes: Probes
    clock: FakeClock  # of the Lease
    loop: LoopCheck

    def add_node(self, name: str) -> None:
        server = self.cloud.state.add_server()
        body: Json = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": {LABEL_VETH: "true"}},
            "spec": {"providerID": f"openstack:///{server.id}"},
            "status": {"allocatable": {"pods": "110"}},
        }
        self.store.create(NODES, body)

    def ports(self) -> int:
        return self.cloud.audit.counts["create port"]


def run_product(
    folder: Path, patch: pytest.MonkeyPatch, observe: Callable[[Running], None]
) -> None:
    """Run the product's process, elected, with a pool of one cloud; `observe` is kopf's place."""
    store, clock, probes = StoreOfOperator(), FakeClock(), Probes()
    store.create(ENIPOOLS, pool_body("pods"))
    with FakeOpenStack() as cloud:
        cloud.write_clouds_yaml(folder / "clouds.yaml")
        cloud.state.add_subnet(cloud.state.add_network(), "pods", "10.98.0.0/20")
        cloud.state.add_group("pods")

        def instead_of_kopf(_state: Any, loop: LoopCheck, _relists: Any) -> None:
            observe(Running(store, cloud, probes, clock, loop))

        patch.setattr(product, "run_kopf", instead_of_kopf)
        patch.setattr(product, "Leadership", partial(Leadership, clock=clock))
        patch.setattr(leadership, "RENEW_SECONDS", 0.05)
        settings = Settings(str(folder / "clouds.yaml"), namespace=NAMESPACE, pod="operator-0")
        assert product.run(settings, store, probes, Metrics()) == 0


def test_nothing_is_changed_in_a_cloud_once_the_lease_was_not_renewed_in_its_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def observe(running: Running) -> None:
        running.add_node("n1")
        wait_for(lambda: running.ports() == 1, "the leader serves its node")
        running.store.refuses_leases = True
        running.clock.advance(BOUND)
        running.add_node("n2")
        wait_for(lambda: len(running.store.list(ENIS).items) == 2, "the pool goes on")
        refused = "another operator may lead"
        wait_for(lambda: refused in caplog.text or running.ports() == 2, "a change is to be made")
        assert running.ports() == 1
        assert refused in caplog.text
        running.store.refuses_leases = False
        wait_for(lambda: running.ports() == 2, "it is made once the Lease is renewed")

    run_product(tmp_path, monkeypatch, observe)


def test_the_probes_have_the_checks_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def observe(running: Running) -> None:
        assert running.probes.problem("/readyz") == ""
        running.loop.watch(ended_loop())
        assert running.probes.problem("/healthz") == "failed: kopf"

    run_product(tmp_path, monkeypatch, observe)


def ended_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.close()
    return loop


def with_a_stalled_informer(controllers: Controllers) -> Controllers:
    clock = FakeClock()
    first, *others = controllers.informers
    stalled = Informer(MemoryStore(), first.kind, on_change=print, on_delete=print, clock=clock)
    clock.advance(STALLED_SECONDS + 1)
    return replace(controllers, informers=(*others, stalled))


def with_a_dead_worker(controllers: Controllers) -> Controllers:
    workers: Workers[Any] = Workers("worker", lambda _: Done())
    workers.start()
    workers.stop(60)
    return replace(controllers, workers=workers)


def with_a_dead_resync(controllers: Controllers) -> Controllers:
    resync = Resync(MemoryStore(), controllers.state, NEVER, lambda _key, _after: None)
    return replace(controllers, resync=resync)  # it was never started


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (with_a_stalled_informer, "informers"),
        (with_a_dead_worker, "workers"),
        (with_a_dead_resync, "watches"),
    ],
)
def test_each_part_that_only_a_new_process_would_mend_fails_the_probes(
    tmp_path: Path, broken: Callable[[Controllers], Controllers], check: str
) -> None:
    with running_operator(MemoryStore(), tmp_path / "clouds.yaml") as controllers:
        probes = Probes()
        probes.started(product.checks_of(controllers, LoopCheck(), None))
        assert probes.problem("/healthz") == ""
        probes.started(product.checks_of(broken(controllers), LoopCheck(), None))
        assert probes.problem("/healthz") == f"failed: {check}"
