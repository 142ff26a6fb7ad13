"""What neither account can do in the first place: RBAC and the kinds' own rules, without policies.

Policies would hide a right too many, so they are out of force here.
"""

from typing import Any

import pytest

from openeni_crds.names import ENIPOOLS, ENIS, NODES, PODIPS, PODS, Kind
from openeni_kube.store import StoreError
from openeni_kube.wire import object_path
from openeni_lab.product.chart import NAMESPACE
from openeni_testing.admission import bodies
from openeni_testing.admission.target import Attack, Target
from openeni_testing.admission.writes import (
    REMOVE,
    Who,
    Write,
    eni,
    new_eni,
    new_podip,
    node,
    podip,
    pool,
    put,
    store_of,
    unchanged,
)

pytestmark = pytest.mark.cluster

SECRETS = Kind("", "v1", "secrets", "Secret", namespaced=True)
EVIL = "10.98.3.3"


def forbidden(name: str, do: Write) -> Attack:
    return Attack(name, "403: .* is forbidden: User .* cannot", do)


def agent(path: str, value: Any) -> Write:
    return podip(path, value, who="agent")


def delete(kind: Kind, who: Who) -> Write:
    """Delete the target's object of this kind."""

    def write(t: Target) -> None:
        meta = {
            NODES: t.mine.agent_pod["metadata"] | {"name": t.mine.node, "namespace": ""},
            ENIS: t.mine.eni["metadata"],
            ENIPOOLS: t.pool["metadata"],
            PODIPS: t.mine.podip["metadata"],
            PODS: t.mine.pod["metadata"],
        }[kind]
        store_of(t, who).delete(kind, meta["name"], meta.get("namespace", ""))

    return write


def create_node(who: Who) -> Write:
    return lambda t: store_of(t, who).create(NODES, bodies.node("another"))


def patch_pod(who: Who) -> Write:
    def write(t: Target) -> object:
        meta = t.mine.pod["metadata"]
        change = put("/metadata/labels", {"a": "b"})
        return store_of(t, who).patch(PODS, meta["name"], meta["namespace"], operations=change)

    return write


def read(kind: Kind, who: Who, name: str = "openeni-clouds") -> Write:
    space = NAMESPACE if kind.namespaced else ""
    return lambda t: store_of(t, who).get(kind, name, space)


def collection(who: Who) -> Write:
    return lambda t: store_of(t, who).request("DELETE", object_path(PODIPS, namespace=t.space))


BY_RIGHTS = (
    forbidden("agent makes an ENI", new_eni(unchanged, who="agent")),
    forbidden("agent deletes an ENI", delete(ENIS, "agent")),
    forbidden("agent writes an ENI's spec", eni("/spec/retiring", [], who="agent")),
    forbidden("agent writes a pool", pool("/spec/coolDown", "60s", who="agent")),
    forbidden("agent writes a pool's status", pool("/status", {}, who="agent")),
    forbidden("agent deletes a pool", delete(ENIPOOLS, "agent")),
    forbidden("agent makes a Node", create_node("agent")),
    forbidden("agent deletes its Node", delete(NODES, "agent")),
    forbidden(
        "agent writes its Node's status", node("/status/capacity", {"pods": "9"}, sub="status")
    ),
    forbidden("agent labels a pod", patch_pod("agent")),
    forbidden("agent deletes a pod", delete(PODS, "agent")),
    forbidden("agent deletes all PodIPs", collection("agent")),
    forbidden("agent reads the clouds' Secret", read(SECRETS, "agent")),
    forbidden("operator makes a Node", create_node("operator")),
    forbidden("operator deletes a Node", delete(NODES, "operator")),
    forbidden("operator labels a pod", patch_pod("operator")),
    forbidden("operator deletes a pod", delete(PODS, "operator")),
    forbidden("operator makes a PodIP", new_podip(unchanged, who="operator")),
    forbidden("operator deletes a pool", delete(ENIPOOLS, "operator")),
    forbidden("operator reads its Secret past its mount", read(SECRETS, "operator")),
)
BY_THE_KINDS = (
    Attack(
        "another address", "spec.address: .* address is immutable", agent("/spec/address", EVIL)
    ),
    Attack(
        "a second address",
        "spec.address: .* addressIPv6 are immut",
        agent("/spec/addressIPv6", "fd00::5"),
    ),
    Attack("no address", "spec.address: .* has an address", agent("/spec/address", REMOVE)),
    Attack("another ENI", "spec.eniName: .* not replaced", agent("/spec/eniName", "other")),
    Attack("another pool", "spec.poolName: .* immutable", agent("/spec/poolName", "other")),
    Attack("another pod", "spec.podUID: .* immutable", agent("/spec/podUID", "0")),
    Attack("another node", "spec.nodeName: .* outlives its pod", agent("/spec/nodeName", "other")),
    Attack(
        "another datapath",
        "spec.datapathMode: .* immutable",
        agent("/spec/datapathMode", "IPVlanL2"),
    ),
    Attack(
        "idle since a lower-case time",
        "status.node.idleSince",
        eni("/status/node", {"idleSince": "2026-11-24t01:02:03z"}, who="agent"),
    ),
    Attack(
        "more granted than a number holds",
        "status.node.granted: .* less than or equal to 31",
        eni("/status/node", {"granted": 2**31 - 1}, who="agent"),
    ),
    Attack(
        "operator moves an ENI",
        "spec.nodeName: .* immutable",
        eni("/spec/nodeName", "other", who="operator"),
    ),
    Attack(
        "operator moves an ENI to another network",
        "spec.networkID: .* immutable",
        eni("/spec/networkID", "other", who="operator"),
    ),
    Attack(
        "operator moves a PodIP",
        "spec.nodeName: .* outlives its pod",
        podip("/spec/nodeName", "other", who="operator"),
    ),
)


@pytest.mark.parametrize("attack", [*BY_RIGHTS, *BY_THE_KINDS], ids=lambda a: a.name)
def test_it_is_refused_without_the_policies(unguarded: Target, attack: Attack) -> None:
    before = unguarded.snapshot()
    with pytest.raises(StoreError, match=attack.refused):
        attack.do(unguarded)
    assert unguarded.snapshot() == before
