"""A node reboots: its processes are gone, its NICs and its disk stay."""

import pytest

from openeni_lab.product.connectivity import OK, Check, Place, curl
from openeni_lab.product.installation import AGENT
from openeni_lab.product.installed_lab import InstalledLab
from openeni_lab.progress import LogProgress
from openeni_testing.lab import installed_lab as lab
from openeni_testing.waiting import wait_for

pytestmark = [pytest.mark.lab, pytest.mark.root]

NODE = "n1"


def test_after_a_reboot_the_agent_runs_and_the_nodes_pods_are_reached(
    deployed: InstalledLab,
) -> None:
    machine = deployed.nodes[NODE]
    before = machine.list()[AGENT].pid
    deployed.restart_node(NODE, LogProgress())
    assert machine.list()[AGENT].running
    assert machine.list()[AGENT].pid != before

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
