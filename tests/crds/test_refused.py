"""Bad objects, and what the real API server says of each: a message that names the field."""

import copy
from typing import Any

import pytest

from openeni_crds.meta import Json
from openeni_crds.names import ENIPOOLS, ENIS, PODIPS, Kind
from openeni_kube.client import KubeStore
from openeni_kube.store import InvalidError
from openeni_testing.objects import eni_body, podip_body, pool_body, unique

pytestmark = pytest.mark.cluster

GONE = object()
IPVLAN = {"mode": "IPVlan"}
LONG = "x" * 2000

# (what is wrong, where it is put, what is put there, the field that the message must name)
Bad = tuple[str, str, Any, str]

POOLS: list[Bad] = [
    ("no subnets", "spec.subnets", GONE, "spec.subnets: Required"),
    ("an empty list of subnets", "spec.subnets", [], "spec.subnets: Invalid"),
    ("a subnet without a name", "spec.subnets", [{"zone": "az1"}], "spec.subnets[0].subnet"),
    ("an empty subnet name", "spec.subnets", [{"subnet": ""}], "spec.subnets[0].subnet"),
    ("a long subnet name", "spec.subnets", [{"subnet": LONG}], "spec.subnets[0].subnet"),
    ("a subnet twice", "spec.subnets", [{"subnet": "a"}] * 2, "spec.subnets: Invalid"),
    (
        "a subnet twice in a zone",
        "spec.subnets",
        [{"subnet": "a", "zone": "z"}] * 2,
        "spec.subnets: Invalid",
    ),
    ("17 subnets", "spec.subnets", [{"subnet": f"s{i}"} for i in range(17)], "spec.subnets: Too"),
    ("a bad zone", "spec.subnets", [{"subnet": "a", "zone": "-"}], "spec.subnets[0].zone"),
    ("no security groups", "spec.securityGroups", GONE, "spec.securityGroups: Required"),
    ("an empty group", "spec.securityGroups", [""], "spec.securityGroups[0]"),
    ("a group twice", "spec.securityGroups", ["a", "a"], "spec.securityGroups[1]: Duplicate"),
    ("no datapath", "spec.datapath", GONE, "spec.datapath: Required"),
    ("no mode", "spec.datapath", {}, "spec.datapath.mode: Required"),
    ("an unknown mode", "spec.datapath.mode", "Macvlan", "spec.datapath.mode: Unsupported"),
    ("ipvlan without its mode", "spec.datapath", IPVLAN, "spec.datapath.ipvlanMode: Required"),
    (
        "an unknown ipvlan mode",
        "spec.datapath",
        IPVLAN | {"ipvlanMode": "L4"},
        "spec.datapath.ipvlanMode: Unsupported",
    ),
    (
        "an ipvlan mode with veth",
        "spec.datapath.ipvlanMode",
        "L2",
        "spec.datapath.ipvlanMode: Forbidden",
    ),
    ("a small MTU", "spec.datapath.mtu", 575, "spec.datapath.mtu"),
    ("a large MTU", "spec.datapath.mtu", 9001, "spec.datapath.mtu"),
    ("an MTU in words", "spec.datapath.mtu", "1500", "spec.datapath.mtu"),
    ("a flag for metadata", "spec.datapath.metadataService", True, "metadataService: Invalid"),
    ("an unknown selection", "spec.selection", "Always", "spec.selection: Unsupported"),
    ("an empty cloud", "spec.cloud", "", "spec.cloud"),
    ("an unknown growth", "spec.capacity.growth", "Fast", "spec.capacity.growth: Unsupported"),
    ("no addresses", "spec.capacity.addressesPerENI", 0, "spec.capacity.addressesPerENI"),
    ("32 addresses", "spec.capacity.addressesPerENI", 32, "spec.capacity.addressesPerENI"),
    ("no ENIs", "spec.capacity.maxENIsPerNode", 0, "spec.capacity.maxENIsPerNode"),
    (
        "more than 128 addresses on a node",
        "spec.capacity",
        {"addressesPerENI": 31, "maxENIsPerNode": 5},
        "spec.capacity.maxENIsPerNode: Invalid",
    ),
    ("a negative minimum", "spec.capacity.minAvailable", -1, "spec.capacity.minAvailable"),
    (
        "a minimum over the maximum",
        "spec.capacity",
        {"minAvailable": 5, "maxAvailable": 4},
        "spec.capacity.maxAvailable: Invalid",
    ),
    (
        "a maximum under the default minimum",
        "spec.capacity.maxAvailable",
        1,
        "spec.capacity.maxAvailable: Invalid",
    ),
    (
        "a node with no address",
        "spec.capacity.maxAddressesPerNode",
        0,
        "spec.capacity.maxAddressesPerNode",
    ),
    ("a cool-down without a unit", "spec.coolDown", "120", "spec.coolDown"),
    ("a cool-down in days", "spec.coolDown", "1d", "spec.coolDown"),
    ("a short cool-down", "spec.coolDown", "29s", "spec.coolDown: Invalid"),
    ("a long cool-down", "spec.coolDown", "1h1s", "spec.coolDown: Invalid"),
    ("an endless cool-down", "spec.coolDown", "9" * 30 + "h", "spec.coolDown: Invalid"),
    ("an unknown policy", "spec.reclaim.policy", "Later", "spec.reclaim.policy: Unsupported"),
    ("After without when", "spec.reclaim", {"policy": "After"}, "spec.reclaim.after: Required"),
    (
        "Never with a time",
        "spec.reclaim",
        {"policy": "Never", "after": "15m"},
        "spec.reclaim.after: Forbidden",
    ),
    ("a short reclaim", "spec.reclaim.after", "9s", "spec.reclaim.after: Invalid"),
    (
        "a bad label key",
        "spec.podSelector.matchLabels",
        {"a b": "c"},
        "spec.podSelector.matchLabels: Invalid",
    ),
    (
        "a bad label value",
        "spec.nodeSelector.matchLabels",
        {"a": "b c"},
        "spec.nodeSelector.matchLabels: Invalid",
    ),
    (
        "an unknown operator",
        "spec.podSelector.matchExpressions",
        [{"key": "a", "operator": "Like"}],
        "spec.podSelector.matchExpressions[0].operator",
    ),
    (
        "In without values",
        "spec.namespaceSelector.matchExpressions",
        [{"key": "a", "operator": "In"}],
        "spec.namespaceSelector.matchExpressions[0].values: Required",
    ),
    (
        "Exists with values",
        "spec.namespaceSelector.matchExpressions",
        [{"key": "a", "operator": "Exists", "values": ["b"]}],
        "spec.namespaceSelector.matchExpressions[0].values: Forbidden",
    ),
    ("a name of 41 letters", "metadata.name", "p" * 41, "metadata.name: Too long"),
    ("a name with dots", "metadata.name", "a.b", "metadata.name: Invalid"),
    ("no spec", "spec", GONE, "spec: Required"),
]

ENIS: list[Bad] = [
    ("no pool", "spec.pool", GONE, "spec.pool: Required"),
    ("no node", "spec.nodeName", GONE, "spec.nodeName: Required"),
    ("a node in capitals", "spec.nodeName", "N1", "spec.nodeName: Invalid"),
    ("no server", "spec.serverID", "", "spec.serverID"),
    ("three subnets", "spec.subnets", ["a", "b", "c"], "spec.subnets: Too many"),
    ("a subnet twice", "spec.subnets", ["a", "a"], "spec.subnets[1]: Duplicate"),
    ("no MTU", "spec.mtu", GONE, "spec.mtu: Required"),
    ("no addresses", "spec.addresses", 0, "spec.addresses"),
    ("ipvlan without its mode", "spec.datapath", IPVLAN, "spec.datapath.ipvlanMode: Required"),
    ("a retiring name", "spec.retiring", ["web"], "spec.retiring[0]: Invalid"),
    ("leading zeros", "spec.retiring", ["10.98.0.05"], "spec.retiring[0]: Invalid"),
    ("a long form of IPv6", "spec.retiring", ["fd00:0::5"], "spec.retiring[0]: Invalid"),
    ("a retiring subnet", "spec.retiring", ["10.98.0.0/24"], "spec.retiring[0]: Invalid"),
    ("retiring twice", "spec.retiring", ["10.98.0.5"] * 2, "spec.retiring[1]: Duplicate"),
]

PODIPS: list[Bad] = [
    ("no pod", "spec.podUID", GONE, "spec.podUID: Required"),
    ("no container", "spec.containerID", "", "spec.containerID"),
    ("no addresses", "spec.addresses", [], "spec.addresses"),
    (
        "three addresses",
        "spec.addresses",
        ["10.0.0.1", "10.0.0.2", "fd00::1"],
        "spec.addresses: Too many",
    ),
    ("two of one family", "spec.addresses", ["10.0.0.1", "10.0.0.2"], "spec.addresses: Invalid"),
    ("no address at all", "spec.addresses", ["none"], "spec.addresses[0]: Invalid"),
    ("an unknown mode", "spec.mode", "Macvlan", "spec.mode: Invalid"),
    ("an unknown retention", "spec.retention", "Keep", "spec.retention: Invalid"),
    ("an endless retention", "spec.retention", "9000h", "spec.retention: Invalid"),
]


def cases(bad: list[Bad]) -> list[Any]:
    return [pytest.param(*rest, id=what) for what, *rest in bad]


def put(body: Json, place: str, value: Any) -> Json:
    """Return a copy with `value` at a dotted place, or with the place gone."""
    changed = copy.deepcopy(body)
    node = changed
    *way, last = place.split(".")
    for step in way:
        node = node.setdefault(step, {})
    if value is GONE:
        node.pop(last)
    else:
        node[last] = value
    return changed


def refused(store: KubeStore, kind: Kind, body: Json, field: str) -> None:
    with pytest.raises(InvalidError) as caught:
        store.create(kind, body)
    assert field in caught.value.message


@pytest.mark.parametrize(("place", "value", "field"), cases(POOLS))
def test_a_bad_pool_is_refused(real_store: KubeStore, place: str, value: Any, field: str) -> None:
    refused(real_store, ENIPOOLS, put(pool_body(unique("pool")), place, value), field)


@pytest.mark.parametrize(("place", "value", "field"), cases(ENIS))
def test_a_bad_eni_is_refused(real_store: KubeStore, place: str, value: Any, field: str) -> None:
    refused(real_store, ENIS, put(eni_body(unique("eni")), place, value), field)


@pytest.mark.parametrize(("place", "value", "field"), cases(PODIPS))
def test_a_bad_podip_is_refused(real_store: KubeStore, place: str, value: Any, field: str) -> None:
    refused(real_store, PODIPS, put(podip_body(unique("pod")), place, value), field)


IMMUTABLES = {
    "pool": "other",
    "nodeName": "n2",
    "serverID": "other",
    "cloud": "other",
    "network": "other",
    "subnets": ["other"],
    "securityGroups": [],
    "datapath": {"mode": "IPVlan", "ipvlan": {"mode": "L2"}},
    "mtu": 1400,
}


@pytest.mark.parametrize("field", IMMUTABLES)
def test_an_enis_copy_of_its_pool_cannot_be_changed(real_store: KubeStore, field: str) -> None:
    name = unique("eni")
    real_store.create(ENIS, eni_body(name))
    change = [{"op": "replace", "path": f"/spec/{field}", "value": IMMUTABLES[field]}]
    with pytest.raises(InvalidError, match=rf"spec\.{field}: Forbidden: {field} is immutable"):
        real_store.patch(ENIS, name, change)


@pytest.mark.parametrize("field", ["podUID", "nodeName"])
def test_a_podip_stays_with_its_pod_and_node(real_store: KubeStore, field: str) -> None:
    name = unique("pod")
    real_store.create(PODIPS, podip_body(name))
    change = [{"op": "replace", "path": f"/spec/{field}", "value": "another"}]
    with pytest.raises(InvalidError, match=rf"spec\.{field}: Forbidden: {field} is immutable"):
        real_store.patch(PODIPS, name, change, "default")


CONDITION = {"type": "Ready", "status": "True", "reason": "Ready"}
PORT = {
    "id": "b7a1f2de",
    "name": "openeni-1c0ffee1-0b9f8e7d",
    "macAddress": "fa:16:3e:5e:30:01",
    "revision": 4,
    "mtu": 1450,
    "subnets": [{"id": "5b1f7c1a", "cidr": "10.98.0.0/22"}],
    "primary": ["10.98.0.10"],
    "addresses": ["10.98.0.11"],
}
NO_MASK = {"subnets": [{"id": "a", "cidr": "10.98.0.0"}]}
STATUSES: list[Bad] = [
    ("a small letter", "conditions", [CONDITION | {"status": "true"}], "[0].status: Unsupported"),
    (
        "a reason in words",
        "conditions",
        [CONDITION | {"reason": "not yet"}],
        "conditions[0].reason",
    ),
    ("a long message", "conditions", [CONDITION | {"message": LONG}], "conditions[0].message"),
    (
        "a time in words",
        "conditions",
        [CONDITION | {"lastTransitionTime": "now"}],
        "TransitionTime: Inv",
    ),
    ("a MAC in capitals", "port", PORT | {"macAddress": "FA:16:3E:5E:30:01"}, "port.macAddress"),
    ("no primary", "port", PORT | {"primary": []}, "port.primary"),
    ("a bad address", "port", PORT | {"addresses": ["10.98.0"]}, "port.addresses[0]"),
    (
        "a bad cidr",
        "port",
        PORT | {"subnets": [{"id": "a", "cidr": "10.98.0.0"}]},
        "subnets[0].cidr",
    ),
    ("a long device", "node", {"device": "d" * 16}, "node.device"),
    ("a negative count", "node", {"granted": -1}, "node.granted"),
    (
        "an answer without its generation",
        "node",
        {"retired": [{"address": "10.98.0.5"}]},
        "node.retired[0].generation",
    ),
]


@pytest.mark.parametrize(("part", "value", "field"), cases(STATUSES))
def test_a_bad_status_is_refused(real_store: KubeStore, part: str, value: Any, field: str) -> None:
    name = unique("eni")
    real_store.create(ENIS, eni_body(name))
    change = [{"op": "add", "path": "/status", "value": {part: value}}]
    with pytest.raises(InvalidError) as caught:
        real_store.patch(ENIS, name, change, subresource="status")
    assert field in caught.value.message
