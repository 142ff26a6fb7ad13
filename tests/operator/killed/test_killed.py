"""kill -9 of operators at random instants of churn: nothing leaks, doubles, or is taken away.

Each operator is a process of its own, whose clock is fast; the API server, the cloud and the agents
are this process's. OPENENI_KILLS sets how often one is killed, OPENENI_SEED what happens when.
"""

import os
import random
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from openeni_crds.capacity import Growth
from openeni_testing.killed.churn import Churn
from openeni_testing.killed.cluster import Cluster, running_cluster
from openeni_testing.killed.fast_time import FastTime
from openeni_testing.killed.operators import Operators, Replicas
from openeni_testing.killed.troubles import TROUBLES, Trouble, cut_off, end_troubles
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.exhaustive
KILLS: Final = int(os.environ.get("OPENENI_KILLS", "30"))
KILLS_PER_ROUND: Final = 6  # between two settlements, of which some ENIs need a minute
SEED: Final = int(os.environ.get("OPENENI_SEED") or random.SystemRandom().randrange(10**6))
FACTOR: Final = 15.0
NAME: Final = "operator"
SERVING: Final = 0.8  # of the operators call the cloud before they are killed
LONGEST_PAUSE: Final = 0.25  # real seconds, between two changes
SECONDS: Final = 120.0 + 6 * KILLS


@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize(("replicas", "growth"), [(1, Growth.STATIC), (2, Growth.ELASTIC)])
def test_killed_at_random_instants_nothing_leaks_doubles_or_goes_from_under_a_pod(
    tmp_path: Path, replicas: int, growth: Growth
) -> None:
    print(f"OPENENI_SEED={SEED}")  # noqa: T201 shown if the test fails
    dice = random.Random(SEED)  # noqa: S311 no secret
    time = FastTime(FACTOR)
    with (
        running_cluster(tmp_path, time, SEED, growth) as cluster,
        Operators(tmp_path, time) as operators,
    ):
        churn = Churn(cluster, dice)
        running = Replicas(operators, replicas, dice)
        for number in range(KILLS):
            live_dangerously(cluster, churn, dice, number)
            running.kill_one()
            cluster.cloud.audit.clear()
            if (number + 1) % KILLS_PER_ROUND == 0 or number + 1 == KILLS:
                settle(cluster, churn, running)
        cluster.wait_until_idle_enis_are_gone()
        cluster.wait_until_removed()
        assert cluster.observer.created > KILLS / 4, "hardly anything happened"
        running.kill_all()
        assert "Traceback" not in operators.log()


def live_dangerously(cluster: Cluster, churn: Churn, dice: random.Random, number: int) -> None:
    """Let an operator work for a moment, in trouble every second time."""
    trouble = dice.choice(TROUBLES) if number % 2 else None
    end_troubles(cluster)
    if dice.random() < SERVING:  # the others are killed while they start
        wait_for(cluster.is_called, "the operator calls the cloud")
    for _ in range(dice.randint(1, 4)):
        churn.step()
        if trouble is not None:
            churn.restore_node_object()
            trouble(cluster, dice)
        cluster.pause(dice.uniform(0.02, LONGEST_PAUSE))
        if trouble is cut_off:
            return


def settle(cluster: Cluster, churn: Churn, replicas: Replicas) -> None:
    end_troubles(cluster)
    churn.restore_node_object()
    replicas.restart_ended()
    cluster.wait_until_settled()
    replicas.restart_ended()
    cluster.store.compact()


@pytest.mark.timeout(SECONDS)
def test_in_trouble_it_recovers_without_a_restart(tmp_path: Path) -> None:
    print(f"OPENENI_SEED={SEED}")  # noqa: T201 shown if the test fails
    dice = random.Random(SEED)  # noqa: S311 no secret
    time = FastTime(FACTOR)
    with running_cluster(tmp_path, time, SEED) as cluster, Operators(tmp_path, time) as operators:
        churn = Churn(cluster, dice)
        operator = operators.start(NAME)
        cluster.wait_until_settled()
        for trouble in TROUBLES:
            suffer(cluster, churn, dice, trouble)
            pod = cluster.add_pod(cluster.add_node())
            wait_for(partial(is_served, cluster, pod), f"a new node's pod after {trouble.__name__}")
        cluster.wait_until_settled()
        assert operator.runs()
        assert "Traceback" not in operators.log()


def is_served(cluster: Cluster, pod: str) -> bool:
    return pod not in cluster.agents.waiting()


def suffer(cluster: Cluster, churn: Churn, dice: random.Random, trouble: Trouble) -> None:
    """Have much to do, and trouble with it."""
    for _ in range(3):
        churn.step()
    churn.restore_node_object()
    trouble(cluster, dice)
    cluster.pause(1.0)
    end_troubles(cluster)
