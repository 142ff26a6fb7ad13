"""Which pool a pod's ADD draws from, and why there is nothing to draw."""

import time

import msgspec
import pytest

from openeni_crds import names
from openeni_crds.conditions import Reason, Type, condition
from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_crds.meta import Json, ObjectMeta, decode
from openeni_crds.status.eni import ENIStatus
from openeni_crds.status.enipool import ENIPoolStatus
from openeni_nodeagent.attachments.grant_errors import no_address
from openeni_nodeagent.attachments.pool_choice import PoolChooser
from openeni_nodeagent.cluster.watches import Caches
from openeni_nodeagent.cni.protocol import CNIError
from openeni_nodeagent.event_reasons import PodReason
from openeni_testing.objects import eni_body, pool_body

ALL: Json = {}
DB = {"matchLabels": {"tier": "db"}}
TEAM = {"matchLabels": {"team": "a"}}
CONFIG_HASH = "kubernetes.io/config.hash"
CONFIG_MIRROR = "kubernetes.io/config.mirror"


class Cluster:
    """The agent's caches of a node that is a server, and its choice of pools."""

    def __init__(self) -> None:
        self.silence = 1.0
        caches = Caches()
        self.nodes, self.pods = caches.nodes, caches.pods
        self.pools, self.namespaces = caches.pools, caches.namespaces
        self.chooser = PoolChooser("n1", caches, silence=lambda: self.silence)
        self.node()

    def node(self, **labels: str) -> None:
        spec = {"providerID": "openstack:///6a2c5b0e"}
        self.nodes.put({"metadata": {"name": "n1", "labels": labels}, "spec": spec})

    def pool(self, name: str, **spec: object) -> None:
        body = pool_body(name)
        body["spec"] |= spec
        self.pools.put(body)

    def pod(self, uid: str, **meta: object) -> None:
        self.pods.put({"metadata": {"name": "p", "namespace": "shop", "uid": uid} | meta})

    def chosen(self, uid: str = "u", seconds: float = 0.2) -> str:
        found = self.chooser.pool_for(uid, "shop/p", time.monotonic() + seconds)
        return found.pool.name + (" (assumed)" if found.assumed else "")


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def test_the_pool_is_chosen_by_the_shared_rule_from_what_the_watches_showed(
    cluster: Cluster,
) -> None:
    cluster.pool("all", podSelector=ALL)
    cluster.pool("labelled", podSelector=DB, priority=1)
    cluster.pool("asked")
    cluster.pool("elsewhere", podSelector=ALL, priority=9, nodeSelector={"matchLabels": {"a": "b"}})
    cluster.pod("a", annotations={names.ANNOTATION_POOL: "asked"}, labels={"tier": "db"})
    cluster.pod("b", labels={"tier": "db"})
    cluster.pod("c")
    assert [cluster.chosen(uid) for uid in "abc"] == ["asked", "labelled", "all"]


def test_a_pool_refuses_pods_of_other_namespaces_and_is_named(cluster: Cluster) -> None:
    cluster.pool("payments", namespaceSelector=TEAM)
    cluster.namespaces.put({"metadata": {"name": "shop", "labels": {"team": "b"}}})
    cluster.pod("u", annotations={names.ANNOTATION_POOL: "payments"})
    with pytest.raises(CNIError) as refused:
        cluster.chosen()
    assert "ENIPool 'payments' does not permit pods of namespace 'shop'" in refused.value.details


def test_a_namespaces_labels_are_waited_for_only_where_a_pool_asks(cluster: Cluster) -> None:
    cluster.pool("all", podSelector=ALL)
    cluster.pod("u")
    assert cluster.chosen() == "all"
    cluster.pool("team", podSelector=ALL, namespaceSelector=TEAM, priority=1)
    cluster.namespaces.put({"metadata": {"name": "shop", "labels": {"team": "a"}}})
    assert cluster.chosen() == "team"


def test_a_static_pod_is_found_by_the_uid_that_kubelet_has_given_it(cluster: Cluster) -> None:
    """Its object has another: of the mirror pod at the API server."""
    cluster.pool("all", podSelector=ALL)
    hash_ = "9d1f0a7c2b4e4f6a8c0d1e2f3a4b5c6d"
    mirror = {CONFIG_HASH: hash_, CONFIG_MIRROR: hash_}
    cluster.pod("8b7c0c1e", annotations=mirror)
    found = cluster.chooser.pool_for(hash_, "shop/p", time.monotonic() + 0.2)
    assert (found.pool.name, found.pod_uid) == ("all", "8b7c0c1e")
    cluster.pod("f00d", annotations=mirror)  # kubelet has made it anew
    cluster.pods.remove({"metadata": {"name": "p", "namespace": "shop", "uid": "8b7c0c1e"}})
    assert cluster.chooser.pool_for(hash_, "shop/p", time.monotonic()).pod_uid == "f00d"
    cluster.pods.remove({"metadata": {"name": "p", "namespace": "shop", "uid": "f00d"}})
    with pytest.raises(CNIError, match="has not been seen on this node yet"):
        cluster.chosen(hash_)


def test_no_annotation_makes_a_pod_another_one(cluster: Cluster) -> None:
    cluster.pool("all", podSelector=ALL)
    cluster.pool("secret", podSelector=DB, priority=1)
    cluster.pod("mine")
    claims = {"labels": {"tier": "db"}, "annotations": {CONFIG_HASH: "mine", CONFIG_MIRROR: "mine"}}
    cluster.pod("theirs", **claims)
    assert cluster.chosen("mine") == "all"
    cluster.pod("theirs", name="other", annotations={CONFIG_HASH: "new", CONFIG_MIRROR: "new"})
    with pytest.raises(CNIError, match="has not been seen on this node yet"):
        cluster.chosen("new")
    cluster.pod("plain", annotations={CONFIG_HASH: "new"})
    with pytest.raises(CNIError, match="has not been seen on this node yet"):
        cluster.chosen("new")


def test_no_pod_of_another_namespace_takes_the_place_of_a_static_pod(cluster: Cluster) -> None:
    """Its annotations name the static pod's UID, before the static pod's own do and after."""
    cluster.pool("all", podSelector=ALL)
    forged = {CONFIG_HASH: "9d1f0a7c", CONFIG_MIRROR: "9d1f0a7c"}
    cluster.pod("f00d", namespace="tenant", annotations=forged)
    cluster.pod("8b7c0c1e", annotations=forged)
    cluster.pod("f00f", namespace="tenant", name="q", annotations=forged)
    found = cluster.chooser.pool_for("9d1f0a7c", "shop/p", time.monotonic())
    assert found.pod_uid == "8b7c0c1e"
    cluster.pods.remove({"metadata": {"name": "q", "namespace": "tenant", "uid": "f00f"}})
    assert cluster.chooser.pool_for("9d1f0a7c", "shop/p", time.monotonic()) == found


def test_with_the_watch_alive_an_unknown_pod_is_not_guessed_at(cluster: Cluster) -> None:
    cluster.pool("all", podSelector=ALL)
    with pytest.raises(CNIError, match="has not been seen on this node yet"):
        cluster.chosen()


def test_with_the_api_server_away_the_only_pool_of_every_pod_is_assumed(cluster: Cluster) -> None:
    cluster.silence = 1000
    cluster.pool("all", podSelector=ALL)
    cluster.pool("elsewhere", podSelector=ALL, nodeSelector={"matchLabels": {"a": "b"}})
    assert cluster.chosen() == "all (assumed)"


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
def test_with_the_api_server_away_nothing_else_is_assumed(cluster: Cluster, pools: Json) -> None:
    cluster.silence = 1000
    for name, spec in pools.items():
        cluster.pool(name, **spec)
    with pytest.raises(CNIError, match="the API server is away and pod shop/p is unknown"):
        cluster.chosen()


def test_without_its_node_the_agent_chooses_nothing(cluster: Cluster) -> None:
    cluster.nodes.remove({"metadata": {"name": "n1"}})
    cluster.pool("all", podSelector=ALL)
    cluster.pod("u")
    with pytest.raises(CNIError, match="has not seen Node n1"):
        cluster.chosen()


def test_an_object_that_cannot_be_read_is_as_good_as_not_there(cluster: Cluster) -> None:
    cluster.pool("all", podSelector=ALL)
    broken = pool_body("all")
    broken["spec"]["datapath"] = {"mode": "Warp"}
    cluster.pools.put(broken)
    cluster.pod("u")
    with pytest.raises(CNIError) as refused:
        cluster.chosen()
    assert "no ENIPool serves this node" in refused.value.details


def pool(**status: object) -> ENIPool:
    body: Json = pool_body("pods") | {"status": status}
    return decode(body, ENIPool)


def eni(*given: object) -> ENI:
    made = decode(eni_body("pods-0"), ENI)
    return ENI(made.metadata, made.spec, ENIStatus(conditions=given))  # type: ignore[arg-type]


def explained(of: ENIPool, *enis: ENI) -> tuple[str, PodReason | None]:
    error = no_address("default/web", of, enis)
    assert error.message == "no address for pod default/web"
    return error.details, error.reason


def test_the_first_thing_that_is_wrong_is_named() -> None:
    quota = condition(Type.PORT_READY, Reason.QUOTA_EXCEEDED, "10 of 10 ports", status=False)
    guest = condition(Type.GUEST_PREPARED, Reason.PREPARED, status=True)
    link = condition(Type.LINK_READY, Reason.WAITING_FOR_ATTACH, status=False)
    assert explained(pool(), eni(quota, guest, link)) == (
        "ENI pods-0: QuotaExceeded: 10 of 10 ports",
        PodReason.NO_ENI_READY,
    )
    assert explained(pool(), eni(guest, link)) == (
        "ENI pods-0: WaitingForAttach",
        PodReason.NO_ENI_READY,
    )


def test_an_eni_that_is_ready_makes_it_a_lack_of_addresses_whatever_hinders_the_next() -> None:
    quota = condition(Type.PORT_READY, Reason.QUOTA_EXCEEDED, "10 of 10 ports", status=False)
    next_eni = eni(quota)
    others = msgspec.structs.replace(next_eni, metadata=ObjectMeta(name="pods-1"))
    assert explained(pool(), eni(), others) == (
        "ENI pods-1: QuotaExceeded: 10 of 10 ports",
        PodReason.ADDRESSES_EXHAUSTED,
    )


def test_the_enis_of_another_pool_explain_nothing() -> None:
    other = decode(eni_body("batch-0", pool="batch"), ENI)
    assert explained(pool(), other) == (
        "ENIPool pods has no ENI on this node yet",
        PodReason.NO_ENI_READY,
    )


def test_the_pools_own_trouble_is_named_too() -> None:
    gone = condition(Type.CLOUD_REACHABLE, Reason.CREDENTIALS_INVALID, "401", status=False)
    made = pool()
    wrong = ENIPool(made.metadata, made.spec, ENIPoolStatus(conditions=(gone,)))
    assert explained(wrong)[0] == "ENIPool pods: CredentialsInvalid: 401"


def test_with_nothing_wrong_there_is_no_eni_yet_or_all_is_taken() -> None:
    assert explained(pool()) == (
        "ENIPool pods has no ENI on this node yet",
        PodReason.NO_ENI_READY,
    )
    text, reason = explained(pool(), eni())
    assert "granted or cooling down" in text
    assert reason is PodReason.ADDRESSES_EXHAUSTED


def test_labels_that_a_node_gets_later_count() -> None:
    cluster = Cluster()
    cluster.pool("a", podSelector=ALL, nodeSelector={"matchLabels": {"rack": "1"}})
    cluster.pool("b", podSelector=ALL, nodeSelector={"matchLabels": {"rack": "2"}})
    cluster.pod("u")
    for rack, pool in (("1", "a"), ("2", "b"), ("1", "a")):
        cluster.node(rack=rack)
        assert cluster.chosen() == pool
