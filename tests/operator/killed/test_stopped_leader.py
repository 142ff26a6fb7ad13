"""A leader that is stopped and woken after the fail-over writes nothing to the cloud any more.

Who made a call is told by its token: each process logs in for itself.
"""

import random
import signal
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from openeni_crds.names import LEASES
from openeni_kube.store import NotFoundError
from openeni_operator.process.leadership import NAME as LEASE
from openeni_testing.fake_openstack.audit import Call
from openeni_testing.killed.churn import Churn
from openeni_testing.killed.cluster import Cluster, running_cluster
from openeni_testing.killed.fast_time import FastTime
from openeni_testing.killed.operator_run import NAMESPACE
from openeni_testing.killed.operators import Operators
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.exhaustive
FACTOR: Final = 5.0  # slower than for kills: a renewal that is late must not cost the Lease
FAIL_OVERS: Final = 2
CHANGES: Final = ("POST", "PUT", "DELETE")


@pytest.mark.timeout(400)
def test_a_woken_leader_writes_nothing_after_another_has_begun(tmp_path: Path) -> None:
    dice = random.Random(5)  # noqa: S311 no secret
    time = FastTime(FACTOR)
    with running_cluster(tmp_path, time, 5) as cluster, Operators(tmp_path, time) as operators:
        churn = Churn(cluster, dice)
        leader, leading, earlier = operators.start("o0"), "o0", set[str]()
        wait_for(partial(leads, cluster, "o0"), "the first leads")
        refused = 0
        for number in range(1, FAIL_OVERS + 1):
            successor, following = operators.start(f"o{number}"), f"o{number}"
            cluster.wait_until_settled()
            own = tokens(cluster) - earlier
            work(churn)
            cluster.pause(dice.uniform(0.05, 0.5))
            leader.signal(signal.SIGSTOP)
            wait_for(partial(leads, cluster, following), "the other takes over")
            begun = wait_for(partial(first_call_of_another, cluster, own | earlier), "it works")
            work(churn)
            leader.signal(signal.SIGCONT)
            assert leader.wait() == 1, "it ends once it knows"
            asked = operators.fence(leading)
            assert [at for at, may in asked if may and at >= begun] == []
            made = [call for call in changes(cluster) if token(call) in own]
            # those on their way to the cloud when it was stopped may arrive late, and no others
            assert len(made) <= sum(may for _, may in asked)
            refused += sum(not may for _, may in asked)
            cluster.wait_until_settled()
            leader, leading, earlier = successor, following, earlier | own
        assert refused, "no woken leader has even tried to write"
        assert "Traceback" not in operators.log()


def work(churn: Churn) -> None:
    """Give the operator much to do: every port changes, and pods wait."""
    cluster = churn.cluster
    cluster.add_pod(cluster.add_node())
    groups = {group for eni in cluster.enis() for group in eni.spec.security_group_ids}
    churn.cluster.set_groups(["pods"] if len(groups) > 1 else ["pods", "more"])
    churn.add_pods()


def leads(cluster: Cluster, name: str) -> bool:
    try:
        lease = cluster.store.get(LEASES, LEASE, NAMESPACE)
    except NotFoundError:
        return False
    return bool(lease["spec"]["holderIdentity"] == name)


def changes(cluster: Cluster) -> list[Call]:
    """Return the calls that change something in the cloud."""
    calls = list(cluster.cloud.audit.calls)
    return [c for c in calls if c.request.method in CHANGES and c.operation != "connect"]


def token(call: Call) -> str:
    return call.request.headers.get("x-auth-token", "")


def tokens(cluster: Cluster) -> set[str]:
    """Return the tokens of all calls so far."""
    return {token(call) for call in list(cluster.cloud.audit.calls)} - {""}


def first_call_of_another(cluster: Cluster, own: set[str]) -> float:
    """Return when the first call came with none of these tokens; 0 if there is none."""
    calls = [c for c in list(cluster.cloud.audit.calls) if token(c) not in {"", *own}]
    return min((c.at for c in calls), default=0.0)
