"""A port is ours only if its name and both of its tags say so; an ENI that is named keeps it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeni_crds.names import port_name, port_tags
from openeni_operator.cloud.api import Port
from openeni_operator.sweep.ownership import is_proven, named_enis

CLUSTER = "11111111-2222-3333-4444-555555555555"
TWIN = "11111111-9999-9999-9999-999999999999"  # of the same name's prefix
UID, OTHER = "aaaaaaaa-0000-0000-0000-000000000001", "aaaaaaaa-0000-0000-0000-000000000002"
NAME = port_name(CLUSTER, UID)
CLUSTER_TAG, ENI_TAG = port_tags(CLUSTER, UID)


def a_port(name: str, *tags: str) -> Port:
    return Port("p1", name, "net", "fa:16:3e:00:00:01", tags=frozenset(tags))


def test_name_and_both_tags_are_proof_whatever_tags_people_add() -> None:
    port = a_port(NAME, CLUSTER_TAG, ENI_TAG, "cost-centre=7", "openeni")
    assert is_proven(port, CLUSTER)
    assert named_enis(port, CLUSTER) == {UID}


@pytest.mark.parametrize(
    "port",
    [
        a_port(NAME),
        a_port(NAME, CLUSTER_TAG),
        a_port(NAME, ENI_TAG),
        a_port("", CLUSTER_TAG, ENI_TAG),
        a_port("renamed", CLUSTER_TAG, ENI_TAG),
        a_port(UID, CLUSTER_TAG, ENI_TAG),
        a_port(port_name(CLUSTER, OTHER), CLUSTER_TAG, ENI_TAG),
        a_port(NAME + "x", CLUSTER_TAG, ENI_TAG),
        a_port(port_name(CLUSTER, ""), *port_tags(CLUSTER, "")),
        a_port(NAME, *port_tags(TWIN, UID)),
        a_port(NAME, CLUSTER_TAG, ENI_TAG, port_tags(TWIN, UID)[0]),
        a_port(NAME, CLUSTER_TAG, ENI_TAG, port_tags(CLUSTER, OTHER)[1]),
    ],
    ids=lambda port: f"{port.name} {sorted(port.tags)}",
)
def test_anything_less_is_no_proof(port: Port) -> None:
    assert not is_proven(port, CLUSTER)


def test_a_renamed_port_still_names_its_eni() -> None:
    assert named_enis(a_port("renamed", CLUSTER_TAG, ENI_TAG), CLUSTER) == {UID}


def test_a_port_that_names_two_enis_is_kept_by_either() -> None:
    port = a_port(NAME, CLUSTER_TAG, port_tags(CLUSTER, OTHER)[1])
    assert named_enis(port, CLUSTER) == {UID, OTHER}


@given(
    st.sampled_from([NAME, "renamed", port_name(TWIN, UID), port_name(CLUSTER, OTHER)]),
    st.frozensets(
        st.sampled_from([*port_tags(CLUSTER, UID), *port_tags(TWIN, OTHER), "team=a"]), max_size=5
    ),
)
def test_proof_names_exactly_one_eni_of_this_cluster(name: str, tags: frozenset[str]) -> None:
    port = a_port(name, *tags)
    if is_proven(port, CLUSTER):
        (uid,) = named_enis(port, CLUSTER)
        assert port.name == port_name(CLUSTER, uid)
        assert port.tags >= set(port_tags(CLUSTER, uid))
