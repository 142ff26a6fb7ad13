"""What operator and agent really write passes the policies, from a pool's beginning to its end."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest
from msgspec.structs import replace

from openeni_crds.conditions import Reason, Type, find, is_true
from openeni_crds.eni import ENI
from openeni_crds.meta import decode
from openeni_crds.names import ENIPOOLS, ENIS, LABEL_IPVLAN, NODES, PODIPS
from openeni_crds.podip import PodIP
from openeni_kube.store import NotFoundError
from openeni_nodeagent.grants.grant import Grant
from openeni_operator.node.taint import TAINT
from openeni_operator.podip.placement import ClearENI, MoveToNode, SetENI
from openeni_operator.podip.watched import operations_of
from openeni_testing.admission import bodies
from openeni_testing.admission.actors import Agent, Operator, is_ready
from openeni_testing.admission.target import Target, end_pod
from openeni_testing.cloud.memory import MemoryCloud
from openeni_testing.objects import unique
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.cluster
T = TypeVar("T")


@dataclass(frozen=True)
class Life:
    """A pool, its operator, and the agent of the node that it selects."""

    target: Target
    pool: str
    cloud: MemoryCloud
    operator: Operator
    agent: Agent

    def enis(self) -> list[ENI]:
        found = (decode(body, ENI) for body in self.target.admin.list(ENIS).items)
        return [eni for eni in found if eni.spec.pool_name == self.pool]

    def grant(self, container: str = "5d1b") -> Grant:
        """Return a grant of one address of the ENI to the pod that has none."""
        (eni,) = self.enis()
        assert eni.status.port
        made = bodies.grant(self.target.bare, eni.name, self.pool, container)
        return replace(made, addresses=eni.status.port.addresses[:1])

    def podip(self) -> PodIP:
        meta = self.target.bare["metadata"]
        return decode(self.target.admin.get(PODIPS, meta["name"], meta["namespace"]), PodIP)

    def until(self, condition: str) -> None:
        """Let both act until the condition holds."""

        def acted() -> bool:
            self.operator.act()
            self.agent.report()
            return self.holds(condition)

        wait_for(acted, condition)

    def holds(self, condition: str) -> bool:
        enis = self.enis()
        match condition:
            case "an ENI is ready":
                return bool(enis) and all(map(is_ready, enis))
            case "the agent has refused":
                return any(e.status.node and e.status.node.refused for e in enis)
            case "the port has what the pool asks for":
                eni, port = one(enis), one(self.cloud.ports.values())
                applied = eni.status.applied
                return applied is not None and port.tags >= set(applied.port_tags) == {"b"}
            case "all is gone":
                pools = [b["metadata"]["name"] for b in self.target.admin.list(ENIPOOLS).items]
                return not enis and self.pool not in pools
            case _:
                raise AssertionError(condition)


def one(found: Iterable[T]) -> T:
    (only,) = found
    return only


@pytest.fixture
def life(guarded: Target, tmp_path: Path) -> Life:
    """An administrator makes a pool for one node; the agent has labelled it."""
    cloud = MemoryCloud()
    network = cloud.add_network()
    cloud.add_subnet(network, "pods", "10.98.0.0/22")
    cloud.add_group("pods")
    server = cloud.add_server()
    node, name = guarded.mine.node, unique("life")
    provider = [{"op": "add", "path": "/spec/providerID", "value": f"openstack:///{server}"}]
    guarded.admin.patch(NODES, node, operations=provider)
    body = bodies.pool(name)
    del body["metadata"]["finalizers"]
    body["spec"] |= {
        "nodeSelector": {"matchLabels": {"kubernetes.io/hostname": node}},
        "capacity": {"addressesPerENI": 3, "maxENIsPerNode": 1, "minAvailable": 1},
        "coolDown": "30s",
    }
    guarded.alice.create(ENIPOOLS, body)
    operator = Operator(guarded.operator, cloud, name)
    agent = Agent(guarded.agent, node, operator, tmp_path / "journal")
    agent.label()
    assert guarded.admin.get(NODES, node)["metadata"]["labels"][LABEL_IPVLAN] == "true"
    return Life(guarded, name, cloud, operator, agent)


def test_a_pool_lives_and_ends(life: Life) -> None:
    life.until("an ENI is ready")
    grant = life.grant()
    life.agent.take(grant)
    assert life.podip().spec.container_id == grant.attachment.container_id
    again = life.grant("6e2c")
    life.agent.take(again)
    assert life.podip().spec.container_id == "6e2c"
    life.agent.publish(f"{grant.namespace}/{grant.name}")  # its status, seen by the cache
    assert find(life.podip().status.conditions, Type.READY)
    life.target.alice.delete(ENIPOOLS, life.pool)
    life.until("the agent has refused")
    life.agent.end(again)
    with pytest.raises(NotFoundError):
        life.podip()
    life.until("all is gone")


def test_the_operator_changes_the_settings_of_a_port(life: Life) -> None:
    life.until("an ENI is ready")
    policy = life.cloud.add_policy("gold")
    for tag in ("a", "b"):
        ports = {"tags": [tag], "qosPolicy": {"id": policy.id}}
        change = [{"op": "add", "path": "/spec/ports", "value": ports}]
        life.target.alice.patch(ENIPOOLS, life.pool, operations=change)
        for _ in range(5):
            life.operator.act()
    life.until("the port has what the pool asks for")
    assert one(life.cloud.ports.values()).qos_policy_id == policy.id


def test_the_operator_tells_a_lost_address(
    life: Life,
) -> None:
    life.until("an ENI is ready")
    foreign = replace(life.grant(), addresses=("10.98.3.77",))
    life.agent.take(foreign)
    life.operator.act()
    lost = find(life.podip().status.conditions, Type.ADDRESS_LOST)
    assert lost
    assert lost.reason == Reason.PORT_LOST


def test_the_operator_releases_the_podips_of_a_node_that_is_gone(life: Life) -> None:
    life.until("an ENI is ready")
    life.agent.take(life.grant())
    life.target.admin.delete(NODES, life.target.mine.node)
    end_pod(life.target.admin, life.target.bare)
    life.operator.act()
    assert life.podip().metadata.finalizers, "its kubelet may register it again"
    for _ in range(20):
        life.operator.act()
    assert life.podip().metadata.finalizers == ()


def test_a_podip_outlives_its_pod_moves_and_ends(life: Life) -> None:
    life.until("an ENI is ready")
    grant = replace(life.grant(), retention="Forever")
    life.agent.take(grant)
    assert life.podip().metadata.owner_references == ()
    end_pod(life.target.admin, life.target.bare)
    life.agent.end(grant)
    life.operator.act()
    assert is_true(life.podip().status.conditions, Type.RETAINED)
    there = life.target.other.node
    for change in (ClearENI(), MoveToNode(there), SetENI("another"), ClearENI()):
        podip = life.podip()
        operations = operations_of(podip, change)
        life.target.operator.patch(PODIPS, podip.name, podip.namespace, operations=operations)
    assert life.podip().spec.node_name == there
    back = operations_of(life.podip(), MoveToNode(life.target.mine.node))
    life.target.operator.patch(PODIPS, podip.name, podip.namespace, operations=back)
    life.agent.publish(podip.key)
    life.target.alice.delete(ENIPOOLS, life.pool)
    life.operator.act()
    assert life.podip().metadata.deleting
    life.agent.publish(podip.key)
    with pytest.raises(NotFoundError):
        life.podip()


def test_the_operator_taints_the_node_of_a_silent_agent_and_no_longer_than_that(life: Life) -> None:
    life.until("an ENI is ready")
    node = life.target.mine.node
    for silent, count in ((61.0, 1), (0.0, 0)):
        life.operator.act()
        life.operator.look_at_node(node, silent=silent)
        found = life.target.admin.get(NODES, node)["spec"].get("taints", [])
        ours = [t for t in found if t["key"] == TAINT["key"]]
        assert len(ours) == count
        assert all(t.items() >= TAINT.items() and t["timeAdded"] for t in ours)
