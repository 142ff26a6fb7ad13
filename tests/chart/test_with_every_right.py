"""Attacks with accounts that RBAC was too kind to: the policies hold without its help."""

from collections.abc import Iterator
from typing import Any

import pytest

from openeni_crds.names import ENIPOOLS, ENIS, NODES, PODIPS
from openeni_lab.product.chart import NAMESPACE
from openeni_testing.admission import bodies
from openeni_testing.admission.cluster import (
    ROLE_BINDINGS,
    Cluster,
    grant_everything,
    may_do_everything,
)
from openeni_testing.admission.target import Attack, Target
from openeni_testing.admission.writes import (
    Write,
    eni,
    new_eni,
    new_podip,
    node,
    pool,
    unchanged,
)
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.cluster
ACCOUNTS = ("openeni-agent", "openeni-operator")


@pytest.fixture(scope="module", autouse=True)
def _every_right(cluster: Cluster) -> Iterator[None]:
    """Bind cluster-admin to both accounts."""
    subjects: list[dict[str, Any]] = [
        {"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE} for name in ACCOUNTS
    ]
    grant_everything(cluster, "too-kind", subjects)
    stores = [cluster.account(name) for name in ACCOUNTS]
    wait_for(lambda: all(map(may_do_everything, stores)), "the accounts' rights")
    yield
    cluster.admin.delete(ROLE_BINDINGS, "too-kind")
    wait_for(lambda: not any(map(may_do_everything, stores)), "the end of the accounts' rights")


def _delete_node(t: Target) -> None:
    t.agent.delete(NODES, t.mine.node)


def _delete_anothers_node(t: Target) -> None:
    t.agent.delete(NODES, t.other.node)


def _make_a_node(t: Target) -> object:
    return t.agent.create(NODES, bodies.node("another"))


def _delete_eni(t: Target) -> None:
    t.agent.delete(ENIS, t.mine.eni_name)


def _make_a_pool(t: Target) -> object:
    return t.operator.create(ENIPOOLS, bodies.pool("another"))


def _delete_the_pool(t: Target) -> None:
    t.operator.delete(ENIPOOLS, t.pool_name)


def _delete_a_podip(t: Target) -> None:
    meta = t.mine.podip["metadata"]
    t.operator.delete(PODIPS, meta["name"], meta["namespace"])


def agents_eni(path: str, value: object) -> Write:
    return eni(path, value, who="agent")


NO_NODE = "an agent makes and deletes no Node and writes no status of one"
NO_ENI = "of an ENI an agent writes status.node and the conditions"
NO_POOL = "the operator makes and deletes no ENIPool"
NO_PODIP = "the operator makes no PodIP, and deletes none that goes with its pod"
ATTACKS = (
    Attack("agent deletes its Node", NO_NODE, _delete_node),
    Attack("agent deletes another Node", NO_NODE, _delete_anothers_node),
    Attack("agent makes a Node", NO_NODE, _make_a_node),
    Attack(
        "agent writes its Node's status",
        NO_NODE,
        node("/status/capacity", {"pods": "9"}, sub="status"),
    ),
    Attack("agent makes an ENI", NO_ENI, new_eni(unchanged, who="agent")),
    Attack("agent deletes an ENI", NO_ENI, _delete_eni),
    Attack("agent writes an ENI's spec", NO_ENI, agents_eni("/spec/retiring", ["10.98.0.11"])),
    Attack("agent labels an ENI", NO_ENI, agents_eni("/metadata/labels/a", "b")),
    Attack("agent takes an ENI's finalizer off", NO_ENI, agents_eni("/metadata/finalizers", [])),
    Attack(
        "agent writes a pool's status",
        "status: of an ENIPool it is written by",
        pool("/status", {"eniCount": 9}, who="agent"),
    ),
    Attack(
        "agent takes a pool's finalizer off",
        "metadata.finalizers: openeni.io/enis",
        pool("/metadata/finalizers", [], who="agent"),
    ),
    Attack("operator makes a pool", NO_POOL, _make_a_pool),
    Attack("operator deletes a pool", NO_POOL, _delete_the_pool),
    Attack("operator makes a PodIP", NO_PODIP, new_podip(unchanged, who="operator")),
    Attack("operator deletes a PodIP", NO_PODIP, _delete_a_podip),
)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)
def test_without_the_policies_it_succeeds(unguarded: Target, attack: Attack) -> None:
    attack.succeeds(unguarded)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)
def test_with_the_policies_it_is_refused(guarded: Target, attack: Attack) -> None:
    attack.is_refused(guarded)
