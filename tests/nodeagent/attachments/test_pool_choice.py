"""Which pool a pod's ADD draws from, and why there is nothing to draw."""

import time

import pytest

from openeni_crds import names
from openeni_crds.conditions import Reason, Type, condition
from openeni_crds.eni import ENI, ENIStatus
from openeni_crds.enipool import ENIPool
from openeni_crds.enipool_status import ENIPoolStatus
from openeni_crds.meta import Json, decode
from openeni_nodeagent.attachments.grant_errors import why_empty
from openeni_nodeagent.attachments.pool_choice import PoolChooser
from openeni_nodeagent.cluster.cache import Cache, by_uid
from openeni_nodeagent.cluster.objects import Namespace, Node, Pod
from openeni_nodeagent.cni.protocol import CniError
from openeni_testing.objects import eni_body, pool_body

ALL: Json = {}
DB = {"matchLabels": {"tier": "db"}}
TEAM = {"matchLabels": {"team": "a"}}


class World:
    """The agent's caches of a node that is a server, and its choice of pools."""

    def __init__(self) -> None:
        self.silence = 1.0
        self.nodes = Cache(names.NODES, Node)
        self.pods = Cache(names.PODS, Pod, by_uid)
        self.pools = Cache(names.ENIPOOLS, ENIPool)
        self.namespaces = Cache(names.NAMESPACES, Namespace)
        self.chooser = PoolChooser(
            "n1",
            nodes=self.nodes,
            pods=self.pods,
            pools=self.pools,
            namespaces=self.namespaces,
            silence=lambda: self.silence,
        )
        self.node()

    def node(self, **labels: str) -> None:
        spec = {"providerID": "openstack:///6a2c5b0e"}
        self.nodes.take({"metadata": {"name": "n1", "labels": labels}, "spec": spec})

    def pool(self, name: str, **spec: object) -> None:
        body = pool_body(name)
        body["spec"] |= spec
        self.pools.take(body)

    def pod(self, uid: str, **meta: object) -> None:
        self.pods.take({"metadata": {"name": uid, "namespace": "shop", "uid": uid} | meta})

    def chosen(self, uid: str = "u", seconds: float = 0.2) -> str:
        found = self.chooser.pool_for(uid, "shop/p", time.monotonic() + seconds)
        return found.pool.name + (" (assumed)" if found.assumed else "")


@pytest.fixture
def world() -> World:
    return World()


def test_the_pool_is_chosen_by_the_shared_rule_from_what_the_watches_showed(world: World) -> None:
    world.pool("all", podSelector=ALL)
    world.pool("labelled", podSelector=DB, priority=1)
    world.pool("asked")
    world.pool("elsewhere", podSelector=ALL, priority=9, nodeSelector={"matchLabels": {"a": "b"}})
    world.pod("a", annotations={names.ANNOTATION_POOL: "asked"}, labels={"tier": "db"})
    world.pod("b", labels={"tier": "db"})
    world.pod("c")
    assert [world.chosen(uid) for uid in "abc"] == ["asked", "labelled", "all"]


def test_a_pool_refuses_pods_of_other_namespaces_and_is_named(world: World) -> None:
    world.pool("payments", namespaceSelector=TEAM)
    world.namespaces.take({"metadata": {"name": "shop", "labels": {"team": "b"}}})
    world.pod("u", annotations={names.ANNOTATION_POOL: "payments"})
    with pytest.raises(CniError) as refused:
        world.chosen()
    assert "ENIPool 'payments' does not permit pods of namespace 'shop'" in refused.value.details


def test_a_namespaces_labels_are_waited_for_only_where_a_pool_asks(world: World) -> None:
    world.pool("all", podSelector=ALL)
    world.pod("u")
    assert world.chosen() == "all"
    world.pool("team", podSelector=ALL, namespaceSelector=TEAM, priority=1)
    world.namespaces.take({"metadata": {"name": "shop", "labels": {"team": "a"}}})
    assert world.chosen() == "team"


def test_with_the_watch_alive_an_unknown_pod_is_not_guessed_at(world: World) -> None:
    world.pool("all", podSelector=ALL)
    with pytest.raises(CniError, match="has not been seen on this node yet"):
        world.chosen()


def test_with_the_api_server_away_the_only_pool_of_every_pod_is_assumed(world: World) -> None:
    world.silence = 1000
    world.pool("all", podSelector=ALL)
    world.pool("elsewhere", podSelector=ALL, nodeSelector={"matchLabels": {"a": "b"}})
    assert world.chosen() == "all (assumed)"


@pytest.mark.parametrize(
    "pools",
    [
        {},
        {"on-request": {}},
        {"by-label": {"podSelector": DB}},
        {"tenant": {"podSelector": ALL, "namespaceSelector": TEAM}},
        {"all": {"podSelector": ALL}, "another": {}},
    ],
    ids=lambda pools: "+".join(pools) or "none",
)
def test_with_the_api_server_away_nothing_else_is_assumed(world: World, pools: Json) -> None:
    world.silence = 1000
    for name, spec in pools.items():
        world.pool(name, **spec)
    with pytest.raises(CniError, match="the API server is away and pod shop/p is unknown"):
        world.chosen()


def test_without_its_node_the_agent_chooses_nothing(world: World) -> None:
    world.nodes.drop({"metadata": {"name": "n1"}})
    world.pool("all", podSelector=ALL)
    world.pod("u")
    with pytest.raises(CniError, match="has not seen Node n1"):
        world.chosen()


def test_an_object_that_cannot_be_read_is_as_good_as_not_there(world: World) -> None:
    world.pool("all", podSelector=ALL)
    broken = pool_body("all")
    broken["spec"]["datapath"] = {"mode": "Warp"}
    world.pools.take(broken)
    world.pod("u")
    with pytest.raises(CniError) as refused:
        world.chosen()
    assert "no ENIPool serves this node" in refused.value.details


def pool(**status: object) -> ENIPool:
    body: Json = pool_body("pods") | {"status": status}
    return decode(body, ENIPool)


def eni(*given: object) -> ENI:
    made = decode(eni_body("pods-0"), ENI)
    return ENI(made.metadata, made.spec, ENIStatus(conditions=given))  # type: ignore[arg-type]


def test_the_first_thing_that_is_wrong_is_named() -> None:
    quota = condition(Type.PORT_READY, Reason.QUOTA_EXCEEDED, "10 of 10 ports", status=False)
    guest = condition(Type.GUEST_PREPARED, Reason.PREPARED, status=True)
    link = condition(Type.LINK_READY, Reason.WAITING_FOR_ATTACH, status=False)
    assert why_empty(pool(), [eni(quota, guest, link)]) == (
        "ENI pods-0: QuotaExceeded: 10 of 10 ports"
    )
    assert why_empty(pool(), [eni(guest, link)]) == "ENI pods-0: WaitingForAttach"


def test_the_pools_own_trouble_is_named_too() -> None:
    gone = condition(Type.CLOUD_REACHABLE, Reason.CREDENTIALS_INVALID, "401", status=False)
    made = pool()
    wrong = ENIPool(made.metadata, made.spec, ENIPoolStatus(conditions=(gone,)))
    assert why_empty(wrong, []) == "ENIPool pods: CredentialsInvalid: 401"


def test_with_nothing_wrong_there_is_no_eni_yet_or_all_is_taken() -> None:
    assert why_empty(pool(), []) == "ENIPool pods has no ENI on this node yet"
    assert "granted or cooling down" in why_empty(pool(), [eni()])
