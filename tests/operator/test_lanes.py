"""Keys are put into lanes by their cloud, and the number of lanes is bounded."""

from openeni_crds.meta import Json
from openeni_crds.names import ENIPOOLS, ENIS, NODES, PODIPS
from openeni_operator.cluster_state import ClusterState
from openeni_operator.keys import Key
from openeni_operator.lanes import MAX_LANES, NO_CLOUD, SHARED, Lanes
from openeni_testing.objects import eni_body, pool_body


def known(name: str, cloud: str, body: Json) -> Json:
    body["spec"]["cloud"] = cloud
    body["metadata"] |= {"name": name, "resourceVersion": "1", "uid": name}
    return body


def state_of(*clouds: str) -> ClusterState:
    state = ClusterState(lambda _: None)
    for cloud in clouds:
        state.put(ENIS, known(f"eni-{cloud}", cloud, eni_body("x")))
        state.put(ENIPOOLS, known(f"pool-{cloud}", cloud, pool_body("x")))
    return state


def test_an_eni_and_its_pool_are_in_the_lane_of_their_cloud() -> None:
    lanes = Lanes(state_of("a", "b"), lambda _: 0.0)
    of_a = {lanes.lane_of(Key(ENIS, "eni-a")), lanes.lane_of(Key(ENIPOOLS, "pool-a"))}
    assert len(of_a) == 1
    assert lanes.lane_of(Key(ENIS, "eni-b")) not in of_a | {NO_CLOUD}


def test_what_needs_no_cloud_has_a_lane_of_its_own() -> None:
    lanes = Lanes(state_of("a"), lambda _: 1.0)
    keys = (Key(NODES, "n1"), Key(PODIPS, "n1"), Key(ENIS, "gone"), Key(ENIPOOLS, "gone"))
    assert {lanes.lane_of(key) for key in keys} == {NO_CLOUD}
    assert lanes.pause_of(NO_CLOUD) == 0


def test_many_clouds_share_the_last_lane_and_the_first_ones_keep_theirs() -> None:
    clouds = [f"c{n}" for n in range(MAX_LANES + 5)]
    lanes = Lanes(state_of(*clouds), lambda _: 0.0)
    first = [lanes.lane_of(Key(ENIS, f"eni-{cloud}")) for cloud in clouds]
    assert len(set(first)) == MAX_LANES + 1
    assert set(first[MAX_LANES:]) == {SHARED}
    assert [lanes.lane_of(Key(ENIPOOLS, f"pool-{cloud}")) for cloud in clouds] == first


def test_a_lane_pauses_as_its_cloud_does() -> None:
    lanes = Lanes(state_of("a", "b"), lambda cloud: {"a": 3.0, "b": 0.0}[cloud])
    pauses = [lanes.pause_of(lanes.lane_of(Key(ENIS, f"eni-{cloud}"))) for cloud in "ab"]
    assert pauses == [3.0, 0.0]
    assert lanes.pause_of(SHARED) == 0


def test_a_cloud_may_be_named_as_the_shared_lane_is() -> None:
    lanes = Lanes(state_of(SHARED, "a"), lambda cloud: 5.0 if cloud == SHARED else 0.0)
    assert lanes.lane_of(Key(ENIS, f"eni-{SHARED}")) != SHARED
    assert lanes.pause_of(lanes.lane_of(Key(ENIS, f"eni-{SHARED}"))) == 5.0
