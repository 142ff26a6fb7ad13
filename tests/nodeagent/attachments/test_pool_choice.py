"""The selection of a pod's pool, and the explanation of why it has no address."""

import time

import pytest

from openeni_crds import names
from openeni_crds.conditions import Reason, Type, condition
from openeni_crds.eni import ENI, ENIStatus
from openeni_crds.enipool import ENIPool, ENIPoolStatus
from openeni_crds.meta import Json, decode
from openeni_nodeagent.attachments.grant_errors import explain_no_address
from openeni_nodeagent.attachments.pool_choice import PoolSelector
from openeni_nodeagent.cluster.cache import Cache, by_uid
from openeni_nodeagent.cluster.objects import Namespace, Pod
from openeni_nodeagent.cni.protocol import CniError
from openeni_testing.objects import eni_body, pool_body


class Cluster:
    def __init__(self) -> None:
        self.watch_age = 1.0
        self.pods = Cache(names.POD, Pod, by_uid)
        self.pools = Cache(names.ENIPOOL, ENIPool)
        self.namespaces = Cache(names.NAMESPACE, Namespace)
        self.selector = PoolSelector(self.pods, self.pools, self.namespaces, lambda: self.watch_age)

    def pool(self, name: str, **spec: object) -> None:
        body = pool_body(name)
        body["spec"] |= spec
        self.pools.put(body)

    def pod(self, uid: str, **meta: object) -> None:
        self.pods.put({"metadata": {"name": uid, "namespace": "shop", "uid": uid} | meta})

    def chosen(self, uid: str = "u", seconds: float = 0.2) -> str:
        found = self.selector.select(uid, "shop/p", time.monotonic() + seconds)
        return found.pool.name + (" (assumed)" if found.assumed else "")


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def test_the_annotation_the_selector_and_the_default_decide_in_this_order(cluster: Cluster) -> None:
    cluster.pool("default", selection="Default")
    cluster.pool("labelled", podSelector={"matchLabels": {"tier": "db"}})
    cluster.pool("asked")
    cluster.pod("a", annotations={names.ANNOTATION_POOL: "asked"}, labels={"tier": "db"})
    cluster.pod("b", labels={"tier": "db"})
    cluster.pod("c")
    assert [cluster.chosen(uid) for uid in "abc"] == ["asked", "labelled", "default"]


def test_a_namespaces_labels_are_waited_for_only_where_a_pool_asks(cluster: Cluster) -> None:
    cluster.pool("default", selection="Default")
    cluster.pod("u")
    assert cluster.chosen() == "default"
    cluster.pool("team", namespaceSelector={"matchLabels": {"team": "a"}})
    cluster.namespaces.put({"metadata": {"name": "shop", "labels": {"team": "a"}}})
    assert cluster.chosen() == "team"


def test_with_the_watch_alive_an_unknown_pod_is_not_guessed_at(cluster: Cluster) -> None:
    cluster.pool("default", selection="Default")
    with pytest.raises(CniError, match="has not been seen on this node yet"):
        cluster.chosen()


def test_with_the_api_server_away_the_default_pool_is_assumed_and_marked(cluster: Cluster) -> None:
    cluster.watch_age = 1000
    cluster.pool("default", selection="Default")
    assert cluster.chosen() == "default (assumed)"


def test_with_the_api_server_away_nothing_is_assumed_where_labels_decide(cluster: Cluster) -> None:
    cluster.watch_age = 1000
    cluster.pool("default", selection="Default")
    cluster.pool("labelled", podSelector={"matchLabels": {"tier": "db"}})
    with pytest.raises(CniError, match="labels, which decide its pool"):
        cluster.chosen()


def test_with_the_api_server_away_and_no_default_pool_it_fails_with_the_cause(
    cluster: Cluster,
) -> None:
    cluster.watch_age = 1000
    cluster.pool("one")
    with pytest.raises(CniError, match="there is no Default pool"):
        cluster.chosen()


def test_an_object_that_cannot_be_read_is_as_good_as_not_there(cluster: Cluster) -> None:
    cluster.pool("default", selection="Default")
    broken = pool_body("default")
    broken["spec"]["datapath"] = {"mode": "Warp"}
    cluster.pools.put(broken)
    cluster.pod("u")
    with pytest.raises(CniError, match="no ENIPool selects this pod"):
        cluster.chosen()


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
    assert explain_no_address(pool(), [eni(quota, guest, link)]) == (
        "ENI pods-0: QuotaExceeded: 10 of 10 ports"
    )
    assert explain_no_address(pool(), [eni(guest, link)]) == "ENI pods-0: WaitingForAttach"


def test_the_pools_own_condition_is_named_too() -> None:
    gone = condition(Type.CLOUD_REACHABLE, Reason.CREDENTIALS_INVALID, "401", status=False)
    made = pool()
    wrong = ENIPool(made.metadata, made.spec, ENIPoolStatus(conditions=(gone,)))
    assert explain_no_address(wrong, []) == "ENIPool pods: CredentialsInvalid: 401"


def test_with_nothing_wrong_no_eni_exists_yet_or_all_addresses_are_taken() -> None:
    assert explain_no_address(pool(), []) == "ENIPool pods has no ENI on this node yet"
    assert "granted or cooling down" in explain_no_address(pool(), [eni()])
