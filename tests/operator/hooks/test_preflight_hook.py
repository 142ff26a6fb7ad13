"""Helm's test of the clouds: what it refuses, what it waits for, and what it only notices."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from openeni_crds.names import ENIPOOLS, NAMESPACES
from openeni_operator.ask.answer import connections
from openeni_operator.cloud import errors
from openeni_operator.hooks.preflight import observe
from openeni_operator.hooks.waiting import Finding
from openeni_operator.settings import Settings
from openeni_testing.cloud.faults import Fault
from openeni_testing.controller.asked import simulate_fit_cloud
from openeni_testing.controller.simulation import Simulation
from openeni_testing.fake_openstack.cloud import FakeOpenStack
from openeni_testing.objects import pool_body
from openeni_testing.store.memory import MemoryStore


@pytest.fixture
def sim() -> Simulation:
    return simulate_fit_cloud()


def find(sim: Simulation) -> Finding:
    if not sim.api.list(NAMESPACES).items:
        sim.api.create(NAMESPACES, {"metadata": {"name": "kube-system"}})
    return observe(sim.api, lambda _: sim.cloud)


def test_a_fit_cloud_is_all_it_asks_for(sim: Simulation) -> None:
    assert find(sim) == Finding()


def test_what_is_not_fit_is_refused_with_the_way_out(sim: Simulation) -> None:
    sim.cloud.subnets[sim.subnet.id] = replace(sim.subnet, dhcp=True)
    refusal = find(sim).refusal
    assert refusal.startswith("names of pods: spec.subnets[0]: subnet")
    assert "has DHCP enabled" in refusal
    assert "(what to do: " in refusal


def test_a_cloud_that_does_not_respond_is_waited_for(sim: Simulation) -> None:
    sim.cloud.down = errors.CloudUnreachableError("cloud 'default': no route to host")
    found = find(sim)
    assert found.waiting_for.startswith("credentials of default: cloud 'default': no route")
    assert found.refusal == ""
    sim.cloud.down = None
    assert find(sim) == Finding()


def test_a_warning_and_what_is_not_known_fail_no_release(sim: Simulation) -> None:
    sim.cloud.quota = 3  # enough for the nodes, not for the limits
    found = find(sim)
    assert (found.waiting_for, found.refusal) == ("", "")
    assert found.notice.startswith("warning: quota of default: 3 of 3 ports are left")
    sim.cloud.fail("get quota", Fault(errors.DeniedError("not for you")))
    found = find(sim)
    assert (found.waiting_for, found.refusal) == ("", "")
    assert found.notice.startswith("unknown: quota of default: not for you")


@pytest.fixture
def fake() -> Iterator[FakeOpenStack]:
    with FakeOpenStack() as cloud:
        yield cloud


def test_before_the_first_pool_only_credentials_that_are_there_must_be_right(
    fake: FakeOpenStack, tmp_path: Path
) -> None:
    store = MemoryStore()
    store.create(NAMESPACES, {"metadata": {"name": "kube-system"}})
    clouds = connections(Settings(clouds_file=str(tmp_path / "clouds.yaml")), may_write=False)
    found = observe(store, clouds.get)
    assert (found.waiting_for, found.refusal) == ("", "")
    assert "put a clouds.yaml there" in found.notice
    fake.write_clouds_yaml(tmp_path / "clouds.yaml")
    assert "no ENIPool names this cloud" in observe(store, clouds.get).notice


def test_without_its_entry_a_pool_is_refused(tmp_path: Path) -> None:
    store = MemoryStore()
    store.create(NAMESPACES, {"metadata": {"name": "kube-system"}})
    store.create(ENIPOOLS, pool_body("pods"))
    clouds = connections(Settings(clouds_file=str(tmp_path / "clouds.yaml")), may_write=False)
    assert "put a clouds.yaml there" in observe(store, clouds.get).refusal
