"""A cluster gets another service network while its pods run (Kubernetes' ServiceCIDR)."""

from pathlib import Path

import pytest

from openeni_crds import names
from openeni_testing.agent.host import AgentHost, is_synced
from openeni_testing.waiting import wait_for

MORE = "10.112.0.0/16"


@pytest.fixture
def host(tmp_path: Path, executable: Path) -> AgentHost:
    host = AgentHost(tmp_path, executable, service_cidrs="")
    host.create_objects()
    return host


def test_running_pods_get_the_routes_of_a_new_service_network(host: AgentHost) -> None:
    with host.agent() as agent:
        wait_for(lambda: is_synced(agent), "the agent serves")
        host.add("web", "c1")
        cidr = {"metadata": {"name": "more"}, "spec": {"cidrs": [MORE]}}
        host.store.create(names.SERVICE_CIDRS, cidr)
        wait_for(
            lambda: MORE in host.datapath.looked_into["c1"].service_cidrs,
            "the pod has been looked into with the new network",
        )
