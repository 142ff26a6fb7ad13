"""Which pool a pod's ADD draws from, and why there is nothing to draw."""

import time

import pytest

from openeni_crds import names
from openeni_crds.conditions import Reason, Type, condition
from openeni_crds.eni import ENI, ENIStatus
from openeni_crds.enipool import ENIPool, ENIPoolStatus
from openeni_crds.meta import Json, decode
from openeni_nodeagent.attachments.grant_errors import why_empty
from openeni_nodeagent.attachments.pool_choice import Choice
from openeni_nodeagent.cluster.cache import Cache, by_uid
from openeni_nodeagent.cluster.objects import Namespace, Pod
from openeni_nodeagent.cni.protocol import CniError
from openeni_testing.objects import eni_body, pool_body


class World:
    def __init__(self) -> None:
        self.silence = 1.0
        self.pods = Cache(names.PODS, Pod, by_uid)
        self.pools = Cache(names.ENIPOOLS, ENIPool)
        self.namespaces = Cache(names.NAMESPACES, Namespace)
        self.choice = Choice(self.pods, self.pools, self.namespaces, lambda: self.silence)

    def pool(self, name: str, **spec: object) -> None:
        body = pool_body(name)
        body["spec"] |= spec
        self.pools.take(body)

    def pod(self, uid: str, **meta: object) -> None:
        self.pods.take({"metadata": {"name": uid, "namespace": "shop", "uid": uid} | meta})

    def chosen(self, uid: str = "u", seconds: float = 0.2) -> str:
        found = self.choice.pool_for(uid, "shop/p", time.monotonic() + seconds)
        return found.pool.name + (" (assumed)" if found.assumed else "")


@pytest.fixture
def world() -> World:
    return World()


def test_the_annotation_the_selector_and_the_default_decide_in_this_order(world: World) -> None:
    world.pool("default", selection="Default")
    world.pool("labelled", podSelector={"matchLabels": {"tier": "db"}})
    world.pool("asked")
    world.pod("a", annotations={names.ANNOTATION_POOL: "asked"}, labels={"tier": "db"})
    world.pod("b", labels={"tier": "db"})
    world.pod("c")
    assert [world.chosen(uid) for uid in "abc"] == ["asked", "labelled", "default"]


def test_a_namespaces_labels_are_waited_for_only_where_a_pool_asks(world: World) -> None:
    world.pool("default", selection="Default")
    world.pod("u")
    assert world.chosen() == "default"
    world.pool("team", namespaceSelector={"matchLabels": {"team": "a"}})
    world.namespaces.take({"metadata": {"name": "shop", "labels": {"team": "a"}}})
    assert world.chosen() == "team"


def test_with_the_watch_alive_an_unknown_pod_is_not_guessed_at(world: World) -> None:
    world.pool("default", selection="Default")
    with pytest.raises(CniError, match="has not been seen on this node yet"):
        world.chosen()


def test_with_the_api_server_away_the_default_pool_is_assumed_and_said_so(world: World) -> None:
    world.silence = 1000
    world.pool("default", selection="Default")
    assert world.chosen() == "default (assumed)"


def test_with_the_api_server_away_nothing_is_assumed_where_labels_decide(world: World) -> None:
    world.silence = 1000
    world.pool("default", selection="Default")
    world.pool("labelled", podSelector={"matchLabels": {"tier": "db"}})
    with pytest.raises(CniError, match="labels, which decide its pool"):
        world.chosen()


def test_with_the_api_server_away_and_no_default_pool_it_says_so(world: World) -> None:
    world.silence = 1000
    world.pool("one")
    with pytest.raises(CniError, match="there is no Default pool"):
        world.chosen()


def test_an_object_that_cannot_be_read_is_as_good_as_not_there(world: World) -> None:
    world.pool("default", selection="Default")
    broken = pool_body("default")
    broken["spec"]["datapath"] = {"mode": "Warp"}
    world.pools.take(broken)
    world.pod("u")
    with pytest.raises(CniError, match="no ENIPool selects this pod"):
        world.chosen()


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
