"""The benchmarks run, with the fewest samples: everything that they measure is measured."""

from pathlib import Path

import pytest

from openeni_testing.node_bench.datapath import command as datapath
from openeni_testing.node_bench.datapath.report import POD_REMOTE
from openeni_testing.node_bench.datapath.traffic import TESTS
from openeni_testing.node_bench.pods import command as pods

pytestmark = pytest.mark.root


def test_adds_and_deletes_are_measured_on_a_node_that_heals(tmp_path: Path) -> None:
    amounts = pods.Amounts(turns=2, bursts={3: 1}, damages=1, pods=4)
    found = pods.measure_here(tmp_path, "veth", amounts)
    for turns in (found.empty, found.full, found.down):
        for calls in (turns.openeni, turns.reference):
            assert len(calls.add) == len(calls.delete) == len(turns.nothing) >= amounts.turns
    assert len(found.bursts[3].calls.openeni.add) == 3
    assert len(found.messages) == amounts.turns
    assert {"executable", "total"} - set(found.phases["ADD"][0]) == {"executable"}
    assert all(len(seconds) == 1 and seconds[0] > 0 for seconds in found.healing.values())
    assert len(found.healing) == 8
    assert "the NIC of an ENI with 4 pods plugged in again" in found.healing


def test_packets_are_measured_on_every_path(tmp_path: Path) -> None:
    amounts = datapath.Amounts(turns=1, seconds=0.02, pods=3)
    found = datapath.measure(tmp_path, ("veth",), amounts, emulated=False)
    assert {rig: set(paths) for rig, paths in found.rates.items()} == {
        "host": {POD_REMOTE},
        "veth": {"pod-pod", POD_REMOTE},
        "ptp": {"pod-pod", POD_REMOTE},
        "ptp-with-rules": {"pod-pod", POD_REMOTE},
    }
    samples = [paths[path] for paths in found.rates.values() for path in paths]
    samples += [found.crowds["veth"].alone, found.crowds["veth"].among]
    assert all(set(tests) == set(TESTS) for tests in samples)
    assert all(rate > 0 for tests in samples for rates in tests.values() for rate in rates)
