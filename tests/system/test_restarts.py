"""The operator and the agents are killed at random instants while pods start and stop."""

import logging
import random
import secrets
import time

import pytest

from openeni_lab.product import workloads
from openeni_lab.product.connectivity import OK, Check, Place, curl
from openeni_lab.product.installed_lab import InstalledLab
from openeni_testing.lab import installed_lab as lab
from openeni_testing.lab.installed_lab import Kill
from openeni_testing.waiting import wait_for

pytestmark = [pytest.mark.lab, pytest.mark.root, pytest.mark.long]

KILLS = 20
LAST = 6

_log = logging.getLogger(__name__)


def test_twenty_kills_lose_and_double_no_port_and_no_address(
    installed: InstalledLab, kill: Kill
) -> None:
    seed = secrets.randbits(32)
    _log.warning("seed %d", seed)  # shown whatever fails
    chance = random.Random(seed)  # noqa: S311 - which instant, not which key
    before = {name: lab.kernel_state(node) for name, node in installed.nodes.items()}
    installed.api.apply([workloads.pool("churn", addresses=6, enis=2)])
    installed.api.apply([workloads.deployment("churn", "churn", 2)])
    for _ in range(KILLS):
        lab.scale(installed, "churn", chance.randrange(0, 9))
        time.sleep(chance.uniform(0, 1.5))  # the random instant
        kill(*chance.choice(lab.COMPONENTS))
    lab.scale(installed, "churn", LAST)
    lab.wait_for_pods(installed, "churn", LAST)

    def agreed() -> bool:
        enis = lab.enis_of(installed, "churn")
        podips = lab.podips_on(installed, enis)
        assert len(podips) == LAST, f"{len(podips)} PodIPs"
        granted = sum(e["status"]["node"]["granted"] for e in enis)
        assert granted == LAST, f"{granted} granted"
        return True

    wait_for(agreed, "as many grants as pods", lab.PATIENCE)
    lab.wait_until_all_agree(installed, "churn")
    for pod in installed.reach.pods("churn"):
        check = Check("gateway to pod", Place.GATEWAY, "", curl(pod.address), OK)
        assert installed.reach.run(check).ok, str(pod)
    ports = {eni["status"]["port"]["id"] for eni in lab.enis_of(installed, "churn")}
    installed.api.delete(f"{lab.DEPLOYMENTS}/churn")
    installed.api.delete(f"{lab.POOLS}/churn")
    lab.wait_until_gone(installed, "churn")
    assert not ports & lab.neutron_ports(installed).keys()
    for name, machine in installed.nodes.items():
        assert lab.kernel_state(machine) == before[name]
