"""Two operators: one leads, and the other takes over, whatever becomes of the first."""

from typing import Final

import pytest

from openeni_lab.product import pods, workloads
from openeni_lab.product.chart import NAMESPACE
from openeni_lab.product.installed_lab import InstalledLab
from openeni_lab.product.pods import OPERATOR, ProductContainer
from openeni_testing.lab import installed_lab as lab
from openeni_testing.lab.installed_lab import Kill
from openeni_testing.lab.shared_lab import SharedLab
from openeni_testing.waiting import wait_for

pytestmark = [pytest.mark.lab, pytest.mark.root]

BUDGETS: Final = f"/apis/policy/v1/namespaces/{NAMESPACE}/poddisruptionbudgets"


def operators(installed: InstalledLab) -> dict[str, ProductContainer]:
    """Return the ready operators by their pods' names."""
    found = [c for c in pods.containers(installed.api) if c.component == OPERATOR]
    return {c.pod: c for c in found if c.ready}


def wait_for_another(installed: InstalledLab, before: str) -> str:
    """Wait until another operator leads; return its pod's name."""

    def another() -> str:
        now = lab.leader(installed)
        assert now != before, f"{now} leads"
        return now

    return wait_for(another, "another leads", lab.PATIENCE)


def wait_for_both(installed: InstalledLab) -> None:
    def both() -> bool:
        assert len(operators(installed)) == 2, str(list(operators(installed)))
        return True

    wait_for(both, "two ready operators", lab.PATIENCE)


def wait_for_budget(installed: InstalledLab) -> None:
    """Wait until one operator may be evicted."""

    def one() -> bool:
        (budget,) = installed.api.items(BUDGETS)
        names = ("expectedPods", "desiredHealthy", "disruptionsAllowed")
        assert [budget["status"][name] for name in names] == [2, 1, 1]
        return True

    wait_for(one, "the budget allows one", lab.PATIENCE)


def serve(installed: InstalledLab, name: str) -> None:
    """Have a new pool serve a pod on each node: the operator must work for it."""
    installed.api.apply([workloads.pool(name, addresses=2, enis=1)])
    lab.deploy(installed, name, name, 2)
    lab.wait_until_all_agree(installed, name)


def test_two_operators_run_on_two_nodes_and_one_of_them_leads(installed: InstalledLab) -> None:
    found = operators(installed)
    assert {c.node for c in found.values()} == set(installed.nodes)
    assert lab.leader(installed) in found


@pytest.mark.long
def test_a_leader_that_hangs_is_replaced_and_does_no_harm_when_it_wakes(
    installed: InstalledLab, shared_lab: SharedLab
) -> None:
    serve(installed, "before")
    name = lab.leader(installed)
    hanging = operators(installed)[name]
    lab.send(installed, hanging, "STOP")
    try:
        wait_for_another(installed, name)
        serve(installed, "meanwhile")
    finally:
        lab.send(installed, hanging, "CONT")

    def restarted() -> bool:
        now = operators(installed).get(name)
        return now is not None and now.restarts > hanging.restarts

    wait_for(restarted, "it has found out, and stands by", lab.PATIENCE)
    shared_lab.expected_exits.add(f"{hanging.uid}/{hanging.restarts + 1}")
    assert lab.leader(installed) != name
    for pool in ("before", "meanwhile"):
        lab.wait_until_all_agree(installed, pool)


def test_a_killed_standby_is_not_missed(installed: InstalledLab, kill: Kill) -> None:
    leads = lab.container(installed, OPERATOR)
    (standby,) = (c for c in operators(installed).values() if c.pod != leads.pod)
    kill(OPERATOR, standby.node)
    now = lab.container(installed, OPERATOR)
    assert (now.pod, now.runtime_id) == (leads.pod, leads.runtime_id)


def test_a_drained_leader_hands_over_at_once(installed: InstalledLab) -> None:
    """It gives its Lease up; its pod's successor stands by then."""
    wait_for_budget(installed)
    name = lab.leader(installed)
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": NAMESPACE},
    }
    installed.api.request("POST", f"{pods.PODS}/{name}/eviction", eviction)
    wait_for_another(installed, name)
    serve(installed, "after")
    wait_for_both(installed)
    assert lab.leader(installed) != name


def test_a_drain_may_take_one_of_two(installed: InstalledLab) -> None:
    wait_for_both(installed)
    wait_for_budget(installed)
