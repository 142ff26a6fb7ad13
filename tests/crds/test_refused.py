"""Bad objects, and what the real API server says of each: a message that names the field."""

import copy
import json
from typing import Any

import pytest

from openeni_crds.meta import Json
from openeni_crds.names import ENIPOOLS, ENIS, PODIPS, Kind
from openeni_kube.client import KubeStore
from openeni_kube.store import InvalidError
from openeni_testing import invalid_objects as bad
from openeni_testing import invalid_statuses
from openeni_testing.invalid_objects import Bad
from openeni_testing.objects import eni_body, podip_body, pool_body, unique

pytestmark = pytest.mark.cluster


def cases(table: list[Bad]) -> list[Any]:
    return [pytest.param(*rest, id=what) for what, *rest in table]


def put(body: Json, place: str, value: Any) -> Json:
    """Return a copy with `value` at a dotted place, or with the place gone."""
    changed = copy.deepcopy(body)
    node = changed
    *way, last = place.split(".")
    for step in way:
        node = node.setdefault(step, {})
    if value is bad.GONE:
        node.pop(last)
    else:
        node[last] = value
    return changed


def refused(store: KubeStore, kind: Kind, body: Json, field: str, value: Any) -> None:
    with pytest.raises(InvalidError) as caught:
        store.create(kind, body)
    expected = field.format(value=json.dumps(value)) if "{value}" in field else field
    assert expected in caught.value.message
    assert "no such overload" not in caught.value.message  # CEL's own words help nobody
    assert "type conversion" not in caught.value.message


@pytest.mark.parametrize(("place", "value", "field"), cases(bad.POOLS))
def test_a_bad_pool_is_refused(real_store: KubeStore, place: str, value: Any, field: str) -> None:
    refused(real_store, ENIPOOLS, put(pool_body(unique("pool")), place, value), field, value)


@pytest.mark.parametrize(("place", "value", "field"), cases(bad.ENIS))
def test_a_bad_eni_is_refused(real_store: KubeStore, place: str, value: Any, field: str) -> None:
    refused(real_store, ENIS, put(eni_body(unique("eni")), place, value), field, value)


@pytest.mark.parametrize(("place", "value", "field"), cases(bad.PODIPS))
def test_a_bad_podip_is_refused(real_store: KubeStore, place: str, value: Any, field: str) -> None:
    refused(real_store, PODIPS, put(podip_body(unique("pod")), place, value), field, value)


IMMUTABLES = {
    "poolName": "other",
    "nodeName": "n2",
    "serverID": "other",
    "cloud": "other",
    "networkID": "other",
    "subnetIDs": ["other"],
    "datapath": {"mode": "IPVlan", "ipvlan": {"mode": "L2"}},
    "mtu": 1400,
}


@pytest.mark.parametrize("field", IMMUTABLES)
def test_an_enis_copy_of_its_pool_cannot_be_changed(real_store: KubeStore, field: str) -> None:
    name = unique("eni")
    real_store.create(ENIS, eni_body(name))
    change = [{"op": "replace", "path": f"/spec/{field}", "value": IMMUTABLES[field]}]
    with pytest.raises(InvalidError, match=rf"spec\.{field}: Forbidden: {field} is immutable"):
        real_store.patch(ENIS, name, operations=change)


PODIP_IMMUTABLES = {
    "podUID": "another",
    "nodeName": "n2",
    "eniName": "other",
    "poolName": "other",
    "datapathMode": "IPVlanL2",
    "address": "10.98.0.6",
}


@pytest.mark.parametrize("field", PODIP_IMMUTABLES)
def test_what_a_podip_records_never_changes(real_store: KubeStore, field: str) -> None:
    name = unique("pod")
    real_store.create(PODIPS, podip_body(name))
    change = [{"op": "replace", "path": f"/spec/{field}", "value": PODIP_IMMUTABLES[field]}]
    with pytest.raises(InvalidError, match=rf"spec\.{field}: Forbidden: {field} (is|changes)"):
        real_store.patch(PODIPS, name, "default", operations=change)


def test_a_podip_gets_no_second_address_but_the_containers_name_may_change(
    real_store: KubeStore,
) -> None:
    name = unique("pod")
    real_store.create(PODIPS, podip_body(name))
    second = [{"op": "add", "path": "/spec/addressIPv6", "value": "fd00::5"}]
    with pytest.raises(InvalidError, match="address and addressIPv6 are immutable"):
        real_store.patch(PODIPS, name, "default", operations=second)
    sandbox = [{"op": "replace", "path": "/spec/containerID", "value": "another"}]
    assert (
        real_store.patch(PODIPS, name, "default", operations=sandbox)["spec"]["containerID"]
        == "another"
    )


@pytest.mark.parametrize("after", [{"mode": "IPVlan", "ipvlan": {"mode": "L2"}}, {"mtu": 1400}])
def test_a_pools_datapath_cannot_be_changed(real_store: KubeStore, after: Json) -> None:
    name = unique("pool")
    body = real_store.create(ENIPOOLS, pool_body(name))
    change = [
        {"op": "replace", "path": "/spec/datapath", "value": body["spec"]["datapath"] | after}
    ]
    with pytest.raises(InvalidError, match=r"spec\.datapath: Forbidden: datapath is immutable"):
        real_store.patch(ENIPOOLS, name, operations=change)


@pytest.mark.parametrize(("part", "value", "field"), cases(invalid_statuses.STATUSES))
def test_a_bad_status_is_refused(real_store: KubeStore, part: str, value: Any, field: str) -> None:
    name = unique("eni")
    real_store.create(ENIS, eni_body(name))
    change = [{"op": "add", "path": "/status", "value": {part: value}}]
    with pytest.raises(InvalidError) as caught:
        real_store.patch(ENIS, name, operations=change, subresource="status")
    assert field in caught.value.message
