"""Every call of a pool's life with what services over HTTP do to it: one contract for two clouds.

The fake suffers all cells; the real services, behind a proxy that disturbs calls, one in three in
`make soak` (OPENENI_SOAK), and a sample of these in the suite. The operator is a process of its
own, on a fast clock.
"""

import os
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from openeni_crds.eni import ENI
from openeni_testing.cloud.operations import operations
from openeni_testing.cloud.real_services import real_services
from openeni_testing.fake_openstack.faults import EmptyList, Rule
from openeni_testing.killed.cluster import Cluster, fake_cluster, serving
from openeni_testing.killed.fast_time import FastTime
from openeni_testing.killed.fault_cells import (
    ATTACH,
    CELLS,
    CREATE,
    DELETE,
    DETACH,
    Cell,
    real_cells,
)
from openeni_testing.killed.operators import Operators
from openeni_testing.killed.services import GROUPS, POLICY
from openeni_testing.nursery import Child
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.exhaustive
NAME: Final = "operator"
UNLISTED_LOOKS: Final = 4
WHOLE: Final = bool(os.environ.get("OPENENI_SOAK"))


@dataclass
class Ground:
    """A cluster with a node, without a pool, and its operator, which is started for each cell."""

    cluster: Cluster
    operators: Operators
    node: str = ""
    operator: Child | None = None

    def start(self) -> None:
        self.operator = self.operators.start(NAME)

    def crash(self) -> None:
        """Kill the operator, and start it again, as its kubelet does."""
        assert self.operator is not None
        self.operator.kill()
        self.start()

    def clear(self) -> None:
        """Leave nothing to the next cell, whatever has become of this one."""
        self.cluster.cloud.faults.clear()
        self.cluster.remove_everything()
        if self.operator is not None:
            self.operator.kill()


@contextmanager
def on_fake(folder: Path) -> Generator[Ground]:
    time = FastTime(15.0)
    with (
        fake_cluster(folder, time, 0) as cluster,
        Operators(folder, time, timeout=2) as operators,
    ):
        yield Ground(cluster, operators)


@contextmanager
def on_real_services(folder: Path) -> Generator[Ground]:
    """A real attach takes a second: on a faster clock the operator would lose patience."""
    time = FastTime(6.0)
    with real_services(time) as services:
        cluster = Cluster(services, time, 0, threading.Event())
        with serving(cluster, folder), Operators(folder, time, timeout=8) as operators:
            yield Ground(cluster, operators)


@pytest.fixture(scope="module")
def fake_ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with on_fake(tmp_path_factory.mktemp("fake")) as ground:
        ground.node = ground.cluster.add_node()
        yield ground


@pytest.fixture(scope="module")
def real_ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with on_real_services(tmp_path_factory.mktemp("real")) as ground:
        ground.node = ground.cluster.add_node()
        yield ground


def live(ground: Ground, cell: Cell) -> None:
    """Let a pool come, serve pods, change its ports and go, while the fault hits the call."""
    cluster = ground.cluster
    ground.start()
    rule, rules = cell.rule(ground.crash), cluster.cloud.faults.rules
    disturbed = [rule]
    if cell.unlisted:
        disturbed.append(Rule("find port", EmptyList(), times=UNLISTED_LOOKS))
    try:
        rules += [] if cell.at_end else disturbed
        cluster.create_pool(cell.growth, ports={"tags": ["a"], "qosPolicy": {"name": POLICY}})
        cluster.wait_until_settled()
        for _ in range(2):
            cluster.add_pod(ground.node)
        groups = [{"name": name} for name in GROUPS]
        cluster.change_pool(securityGroups=groups, ports={"tags": ["b"]})
        wait_for(lambda: all(map(has_new_settings, cluster.enis())), "ENIs have new settings")
        cluster.wait_until_settled()
        rules += disturbed if cell.at_end else []
        for pod in list(cluster.pods):
            cluster.end_pod(pod)
        cluster.wait_until_removed()
        assert rule.matched, "the fault has hit nothing"
        assert ground.operator is not None
        assert ground.operator.runs()
        assert "Traceback" not in ground.operators.log()
    finally:
        ground.clear()


def has_new_settings(eni: ENI) -> bool:
    spec = eni.spec
    groups = len(spec.security_group_ids) == len(GROUPS)
    return groups and (spec.port_tags, spec.qos_policy_id) == (("b",), "")


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_on_the_fake_nothing_leaks_doubles_or_goes_from_under_a_pod(
    fake_ground: Ground, cell: Cell
) -> None:
    live(fake_ground, cell)


@pytest.mark.cloud
@pytest.mark.inside
@pytest.mark.parametrize("cell", real_cells(whole=WHOLE), ids=str)
def test_on_real_services_nothing_leaks_doubles_or_goes_from_under_a_pod(
    real_ground: Ground, cell: Cell
) -> None:
    live(real_ground, cell)


def test_every_call_of_the_operator_has_cells() -> None:
    assert {c.operation for c in CELLS} == operations().keys()


def test_real_services_suffer_faults_of_what_makes_and_removes_a_port() -> None:
    whole, sample = real_cells(whole=True), real_cells(whole=False)
    assert len(whole) >= len(CELLS) / 4
    assert len(sample) >= 20
    assert {CREATE, ATTACH, DETACH, DELETE} <= {c.operation for c in sample}
    assert {c.fault for c in sample} == {c.fault for c in whole}
