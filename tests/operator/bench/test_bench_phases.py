"""The operator's benchmark as a whole, small and short."""

import tempfile

import pytest

from openeni_testing.operator_bench.measured import OPERATOR
from openeni_testing.operator_bench.phases import Durations, measure
from openeni_testing.operator_bench.report import page
from openeni_testing.operator_bench.usage import processes_naming
from openeni_testing.waiting import wait_for

SHORT = Durations(idle=2, busy=2, sample=1, short_resync=5, steady=0, growth=300)
NODES = 2


@pytest.mark.cluster
@pytest.mark.long
def test_all_phases_of_a_small_cluster_are_measured_and_nothing_is_left(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("b")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    said: list[str] = []
    size = measure(NODES, SHORT, said.append)
    assert (size.nodes, size.enis, size.podips) == (2, 8, 100)
    assert {o: n for o, n in size.growth.calls.items() if o.startswith(("create", "attach"))} == {
        "create port": 8,
        "attach port": 8,
    }
    assert size.growth.cpu[OPERATOR] > 0
    assert size.growth.cpu["API server"] > 0
    assert len(size.idle.values) == len(size.busy.values) == 2
    assert size.events_per_second > 0
    assert size.growth.reconciles["ENI"] >= size.enis
    assert 0 < size.reconciles_per_event["ENIPool"] <= 2
    assert size.restart.cloud_writes == 0
    assert "list ports" in {*size.restart.calls, *size.restart.resync_calls}
    assert size.peak_mebibytes > 30
    assert "| 2 | 8 | 100 |" in page([size], SHORT, 2)
    assert said[0].startswith("all Ready after")
    assert list(folder.glob("oe-bench-*")) == []
    wait_for(lambda: not processes_naming(folder), "the cluster's processes have ended")
