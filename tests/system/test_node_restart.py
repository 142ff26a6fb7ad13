"""A node reboots: its processes are gone, its NICs and its disk stay."""

import pytest

from openeni_lab.product.connectivity import OK, Check, Place, curl
from openeni_lab.product.installed_lab import InstalledLab
from openeni_lab.product.pods import AGENT
from openeni_lab.progress import LogProgress
from openeni_testing.lab import installed_lab as lab
from openeni_testing.waiting import wait_for

pytestmark = [pytest.mark.lab, pytest.mark.root]

NODE = "n1"


def test_after_a_reboot_the_agent_runs_and_the_nodes_pods_are_reached(
    deployed: InstalledLab,
) -> None:
    before = lab.container(deployed, AGENT, NODE)
    deployed.restart_node(NODE, LogProgress())

    def started_again() -> bool:
        now = lab.container(deployed, AGENT, NODE)
        return now.ready and now.runtime_id != before.runtime_id

    wait_for(started_again, f"the agent of {NODE}", lab.PATIENCE)

    def reached() -> bool:
        pods = [p for p in deployed.reach.pods(lab.WEB) if p.node == NODE]
        assert len(pods) == lab.REPLICAS // 2, f"{len(pods)} ready pods on {NODE}"
        for pod in pods:
            check = Check("gateway to pod", Place.GATEWAY, "", curl(pod.address), OK)
            found = deployed.reach.run(check)
            assert found.ok, f"{pod.name}: {found.answer}"
        return True

    wait_for(reached, f"the pods of {NODE}", lab.PATIENCE)
    lab.wait_until_all_agree(deployed, lab.VETH)
