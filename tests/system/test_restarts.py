"""The operator and the agents are killed at random instants while pods come and go."""

import random
import secrets
import time

import pytest

from openeni_lab import workloads
from openeni_lab.connectivity import OK, Check, Place, curl
from openeni_lab.demonstration import Running
from openeni_testing import running_lab as lab
from openeni_testing.waiting import wait_for

pytestmark = [pytest.mark.lab, pytest.mark.root]

KILLS = 20
LAST = 6


def test_twenty_kills_lose_and_double_no_port_and_no_address(running: Running) -> None:
    seed = secrets.randbits(32)  # shown where the test fails
    chance = random.Random(seed)  # noqa: S311 - which instant, not which key
    running.api.apply([workloads.pool("churn", addresses=6, enis=2)])
    running.api.apply([workloads.deployment("churn", "churn", 2)])
    for _ in range(KILLS):
        lab.scale(running, "churn", chance.randrange(0, 9))
        time.sleep(chance.uniform(0, 1.5))  # the random instant
        component, node = chance.choice(lab.COMPONENTS)
        lab.kill(lab.machine_of(running, component, node), component)
        lab.restart(running, component, node)
    lab.scale(running, "churn", LAST)
    lab.wait_for_pods(running, "churn", LAST)

    def agreed() -> bool:
        enis, podips = running.api.items(lab.ENIS), running.api.items(lab.PODIPS)
        assert len(podips) == LAST, f"{len(podips)} PodIPs"
        granted = sum(e["status"]["node"]["granted"] for e in enis)
        assert granted == LAST, f"{granted} granted"
        return True

    wait_for(agreed, f"as many grants as pods (seed {seed})", lab.PATIENCE)
    enis = running.api.items(lab.ENIS)
    assert lab.neutron_ports(running).keys() == {e["status"]["port"]["id"] for e in enis}
    pods = running.reach.pods("churn")
    assert len({p.address for p in pods}) == LAST
    for pod in pods:
        check = Check("gateway to pod", Place.GATEWAY, "", curl(pod.address), OK)
        assert running.reach.run(check).ok, f"{pod} (seed {seed})"
    lab.remove(running, "churn", pools=("churn",))
    assert lab.neutron_ports(running) == {}
    for machine in running.installation.nodes.values():
        assert lab.kernel_state(machine) == []
