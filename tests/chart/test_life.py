"""What operator and agent really write passes the policies, from a pool's beginning to its end."""

from dataclasses import dataclass

import pytest
from msgspec.structs import replace

from openeni_crds.conditions import Reason, Type, find
from openeni_crds.eni import ENI
from openeni_crds.meta import decode
from openeni_crds.names import ENIPOOLS, ENIS, LABEL_IPVLAN, NODES, PODIPS
from openeni_crds.podip import PodIP
from openeni_kube.store import NotFoundError
from openeni_nodeagent.grants.ledger import Grant
from openeni_operator.node.taint import TAINT
from openeni_testing.admission import bodies
from openeni_testing.admission.actors import Agent, Operator, is_ready
from openeni_testing.admission.target import Target, end_pod
from openeni_testing.cloud.memory import MemoryCloud
from openeni_testing.objects import unique
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.cluster


@dataclass(frozen=True)
class Life:
    """A pool, its operator, and the agent of the node that it selects."""

    target: Target
    pool: str
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
            case "all is gone":
                pools = [b["metadata"]["name"] for b in self.target.admin.list(ENIPOOLS).items]
                return not enis and self.pool not in pools
            case _:
                raise AssertionError(condition)


@pytest.fixture
def life(guarded: Target) -> Life:
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
    agent = Agent(guarded.agent, node, operator)
    agent.label()
    assert guarded.admin.get(NODES, node)["metadata"]["labels"][LABEL_IPVLAN] == "true"
    return Life(guarded, name, operator, agent)


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
    assert life.podip().metadata.finalizers == ()


def test_the_operator_taints_the_node_of_a_silent_agent_and_no_longer_than_that(life: Life) -> None:
    life.until("an ENI is ready")
    node = life.target.mine.node
    for silent, taints in ((61.0, [TAINT]), (0.0, [])):
        life.operator.act()
        life.operator.look_at_node(node, silent=silent)
        found = life.target.admin.get(NODES, node)["spec"].get("taints", [])
        assert [t for t in found if t["key"] == TAINT["key"]] == taints
