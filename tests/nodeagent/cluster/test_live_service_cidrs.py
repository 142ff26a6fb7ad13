"""A cluster gets another service network while its pods run (Kubernetes' ServiceCIDR)."""

# pyright: reportPrivateUsage=false

from functools import partial
from pathlib import Path

import pytest

from openeni_crds import names
from openeni_crds.conditions import Status, Type
from openeni_testing.agent.host import AgentHost, is_synced
from openeni_testing.waiting import wait_for

MORE = "10.112.0.0/16"


@pytest.fixture
def host(tmp_path: Path, executable: Path) -> AgentHost:
    host = AgentHost(tmp_path, executable, service_cidrs="")
    host.create_objects()
    return host


def test_running_pods_get_the_routes_of_a_new_service_network(
    host: AgentHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though nothing else happens there: each change of an ENI has the node reconciled, too."""
    with host.agent() as agent:
        wait_for(lambda: is_synced(agent), "the agent serves")
        host.add("web", "c1")
        host.ready_podip("web")
        state = partial(host.condition, Type.CNI_CONFIGURED)
        wait_for(lambda: state().status == Status.TRUE, "the runtime is configured")
        monkeypatch.setattr(agent._requeues, "configuration", lambda: None)
        node = agent._requeues.queues["node"]
        wait_for(lambda: node.load() == {"": (0, 0.0)}, "the agent is at rest")
        cidr = {"metadata": {"name": "more"}, "spec": {"cidrs": [MORE]}}
        host.store.create(names.SERVICE_CIDRS, cidr)
        wait_for(
            lambda: MORE in host.datapath.looked_into["c1"].service_cidrs,
            "the pod has been looked into with the new network",
        )
