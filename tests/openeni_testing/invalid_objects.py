"""Bad objects of each kind, with the field that the API server's message must name."""

from typing import Any

from openeni_testing.objects import port_status

GONE = object()
IPVLAN = {"mode": "IPVlan"}
LONG = "x" * 2000
ONE_OF = "Invalid value: give exactly one of id, name and tags"
DURATION = "Invalid value: {value}: must be a duration such as"

# (what is wrong, where it is put, what is put there, the field that the message must name)
Bad = tuple[str, str, Any, str]

POOLS: list[Bad] = [
    ("no subnets", "spec.subnets", GONE, "spec.subnets: Required"),
    ("an empty list of subnets", "spec.subnets", [], "spec.subnets: Invalid"),
    ("a subnet of a zone alone", "spec.subnets", [{"zone": "az1"}], f"spec.subnets[0]: {ONE_OF}"),
    ("an id and a name", "spec.subnets", [{"id": "a", "name": "b"}], f"spec.subnets[0]: {ONE_OF}"),
    ("a name and tags", "spec.subnets", [{"name": "b", "tags": ["c"]}], f"subnets[0]: {ONE_OF}"),
    ("an empty subnet name", "spec.subnets", [{"name": ""}], "spec.subnets[0].name"),
    ("a long subnet name", "spec.subnets", [{"name": LONG}], "spec.subnets[0].name"),
    ("a long subnet id", "spec.subnets", [{"id": LONG}], "spec.subnets[0].id"),
    ("no tags", "spec.subnets", [{"tags": []}], "spec.subnets[0].tags"),
    ("an empty tag", "spec.subnets", [{"tags": [""]}], "spec.subnets[0].tags[0]"),
    (
        "a tag with a comma",
        "spec.subnets",
        [{"tags": ["a,b"]}],
        'spec.subnets[0].tags[0]: Invalid value: "a,b": must be a Neutron tag without a comma',
    ),
    ("a long tag", "spec.subnets", [{"tags": ["t" * 256]}], "spec.subnets[0].tags[0]: Too long"),
    (
        "a group's tag with a comma",
        "spec.securityGroups",
        [{"tags": ["a,b"]}],
        'Groups[0].tags[0]: Invalid value: "a,b": must be a Neutron tag without a comma',
    ),
    ("a tag twice", "spec.subnets", [{"tags": ["a", "a"]}], "tags[1]: Duplicate"),
    ("17 tags", "spec.subnets", [{"tags": [f"t{i}" for i in range(17)]}], "tags: Too many"),
    ("a subnet twice", "spec.subnets", [{"name": "a"}] * 2, "spec.subnets: Invalid"),
    (
        "a subnet twice in a zone",
        "spec.subnets",
        [{"name": "a", "zone": "z"}] * 2,
        "spec.subnets: Invalid",
    ),
    ("17 subnets", "spec.subnets", [{"name": f"s{i}"} for i in range(17)], "spec.subnets: Too"),
    (
        "a bad zone",
        "spec.subnets",
        [{"name": "a", "zone": "-"}],
        'spec.subnets[0].zone: Invalid value: "-": must be a value of the label',
    ),
    ("no security groups", "spec.securityGroups", GONE, "spec.securityGroups: Required"),
    ("an empty group", "spec.securityGroups", [{}], f"spec.securityGroups[0]: {ONE_OF}"),
    ("a group as a word", "spec.securityGroups", ["pods"], "spec.securityGroups[0]: Invalid"),
    ("a group twice", "spec.securityGroups", [{"id": "a"}] * 2, "spec.securityGroups: Invalid"),
    (
        "a group by name and tags",
        "spec.securityGroups",
        [{"name": "a", "tags": ["b"]}],
        f"spec.securityGroups[0]: {ONE_OF}",
    ),
    ("no datapath", "spec.datapath", GONE, "spec.datapath: Required"),
    ("no mode", "spec.datapath", {}, "spec.datapath.mode: Required"),
    ("an unknown mode", "spec.datapath.mode", "Macvlan", "spec.datapath.mode: Unsupported"),
    ("ipvlan without its mode", "spec.datapath", IPVLAN, "spec.datapath.ipvlan: Required"),
    (
        "an empty ipvlan",
        "spec.datapath",
        IPVLAN | {"ipvlan": {}},
        "spec.datapath.ipvlan.mode: Required",
    ),
    (
        "an unknown ipvlan mode",
        "spec.datapath",
        IPVLAN | {"ipvlan": {"mode": "L4"}},
        "spec.datapath.ipvlan.mode: Unsupported",
    ),
    (
        "an ipvlan mode with veth",
        "spec.datapath.ipvlan",
        {"mode": "L2"},
        "spec.datapath.ipvlan: Forbidden",
    ),
    ("a small MTU", "spec.datapath.mtu", 575, "spec.datapath.mtu"),
    ("a large MTU", "spec.datapath.mtu", 65536, "spec.datapath.mtu"),
    ("an MTU in words", "spec.datapath.mtu", "1500", "spec.datapath.mtu"),
    ("a flag for metadata", "spec.datapath.metadataService", True, "metadataService: Invalid"),
    (
        "metadata for every namespace",
        "spec.datapath.metadataService",
        "Allow",
        "spec.namespaceSelector: Required",
    ),
    (
        "metadata for a selector of everything",
        "spec",
        {
            "subnets": [{"name": "pods"}],
            "securityGroups": [],
            "datapath": {"mode": "Veth", "metadataService": "Allow"},
            "namespaceSelector": {},
        },
        "spec.namespaceSelector: Required",
    ),
    ("an empty cloud", "spec.cloud", "", "spec.cloud"),
    ("a priority in words", "spec.priority", "high", "spec.priority: Invalid"),
    ("a priority too high", "spec.priority", 1001, "spec.priority"),
    ("a priority too low", "spec.priority", -1001, "spec.priority"),
    ("no addresses", "spec.capacity.addressesPerENI", 0, "spec.capacity.addressesPerENI"),
    ("32 addresses", "spec.capacity.addressesPerENI", 32, "spec.capacity.addressesPerENI"),
    ("no ENIs", "spec.capacity.maxENIsPerNode", 0, "spec.capacity.maxENIsPerNode"),
    ("17 ENIs", "spec.capacity.maxENIsPerNode", 17, "spec.capacity.maxENIsPerNode"),
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
    ("a cool-down without a unit", "spec.coolDown", "120", f"spec.coolDown: {DURATION}"),
    ("a cool-down in days", "spec.coolDown", "1d", f"spec.coolDown: {DURATION}"),
    ("a cool-down in milliseconds", "spec.coolDown", "90000ms", f"spec.coolDown: {DURATION}"),
    ("a short cool-down", "spec.coolDown", "29s", f"spec.coolDown: {DURATION}"),
    ("a long cool-down", "spec.coolDown", "1h1s", f"spec.coolDown: {DURATION}"),
    ("an endless cool-down", "spec.coolDown", "9" * 30 + "h", f"spec.coolDown: {DURATION}"),
    ("three endless ones", "spec.coolDown", "999999h" * 3, f"spec.coolDown: {DURATION}"),
    ("many long ones", "spec.coolDown", "9999h" * 6, f"spec.coolDown: {DURATION}"),
    ("a cool-down of 33 letters", "spec.coolDown", "1s" * 17, "spec.coolDown: Too long"),
    ("an unknown policy", "spec.reclaim.policy", "Later", "spec.reclaim.policy: Unsupported"),
    ("a short reclaim", "spec.reclaim.after", "9s", f"spec.reclaim.after: {DURATION}"),
    ("a long reclaim", "spec.reclaim.after", "721h", f"spec.reclaim.after: {DURATION}"),
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
        "spec.podSelector.matchExpressions[0].operator: Unsupported",
    ),
    (
        "a bad value of an expression",
        "spec.podSelector.matchExpressions",
        [{"key": "a", "operator": "In", "values": ["b c"]}],
        "spec.podSelector.matchExpressions[0].values[0]: Invalid",
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
    ("no pool", "spec.poolName", GONE, "spec.poolName: Required"),
    ("no node", "spec.nodeName", GONE, "spec.nodeName: Required"),
    ("a node in capitals", "spec.nodeName", "N1", "spec.nodeName: Invalid"),
    ("no server", "spec.serverID", "", "spec.serverID"),
    ("no network", "spec.networkID", GONE, "spec.networkID: Required"),
    ("three subnets", "spec.subnetIDs", ["a", "b", "c"], "spec.subnetIDs: Too many"),
    (
        "a subnet twice",
        "spec.subnetIDs",
        ["a", "a"],
        "spec.subnetIDs: Invalid value: subnetIDs must be unique",
    ),
    ("a group twice", "spec.securityGroupIDs", ["a", "a"], "spec.securityGroupIDs[1]: Duplicate"),
    ("no MTU", "spec.mtu", GONE, "spec.mtu: Required"),
    ("no addresses", "spec.addressCount", 0, "spec.addressCount"),
    ("ipvlan without its mode", "spec.datapath", IPVLAN, "spec.datapath.ipvlan: Required"),
    ("a retiring name", "spec.retiring", ["web"], "spec.retiring[0]: Invalid"),
    ("leading zeros", "spec.retiring", ["10.98.0.05"], "spec.retiring[0]: Invalid"),
    ("a long form of IPv6", "spec.retiring", ["fd00:0::5"], "spec.retiring[0]: Invalid"),
    ("a retiring subnet", "spec.retiring", ["10.98.0.0/24"], "spec.retiring[0]: Invalid"),
    ("retiring twice", "spec.retiring", ["10.98.0.5"] * 2, "spec.retiring[1]: Duplicate"),
]

PODIPS: list[Bad] = [
    ("no pod", "spec.podUID", GONE, "spec.podUID: Required"),
    ("no container", "spec.containerID", "", "spec.containerID"),
    ("no ENI", "spec.eniName", GONE, "spec.eniName: Required"),
    ("no pool", "spec.poolName", GONE, "spec.poolName: Required"),
    ("no address", "spec.address", GONE, "spec.address: Required"),
    ("an address in words", "spec.address", "none", "spec.address: Invalid"),
    ("leading zeros", "spec.address", "10.98.0.05", "spec.address: Invalid"),
    ("IPv6 as IPv4", "spec.address", "fd00::5", "spec.address: Invalid"),
    ("IPv4 as IPv6", "spec.addressIPv6", "10.98.0.5", "spec.addressIPv6: Invalid"),
    ("a long form of IPv6", "spec.addressIPv6", "fd00:0::5", "spec.addressIPv6: Invalid"),
    ("an unknown mode", "spec.datapathMode", "Macvlan", "spec.datapathMode: Unsupported"),
]


CONDITION = {
    "type": "Ready",
    "status": "True",
    "reason": "Ready",
    "message": "",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}
PORT = port_status("openeni-1c0ffee1-0b9f8e7d")
NO_MASK = {"subnets": [{"id": "a", "cidr": "10.98.0.0"}]}
STATUSES: list[Bad] = [
    ("a small letter", "conditions", [CONDITION | {"status": "true"}], "[0].status: Unsupported"),
    (
        "a reason in words",
        "conditions",
        [CONDITION | {"reason": "not yet"}],
        "conditions[0].reason",
    ),
    ("a long message", "conditions", [CONDITION | {"message": LONG * 20}], "conditions[0].message"),
    (
        "no time",
        "conditions",
        [{k: v for k, v in CONDITION.items() if k != "lastTransitionTime"}],
        "conditions[0].lastTransitionTime: Required",
    ),
    ("a type in words", "conditions", [CONDITION | {"type": "not yet!"}], "conditions[0].type"),
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
    ("a count beyond any port", "node", {"granted": 32}, "node.granted"),
    ("a time in small letters", "node", {"idleSince": "2026-01-01t00:00:00z"}, "node.idleSince"),
    ("a time of another zone", "node", {"idleSince": "2026-01-01T00:00:00+01:00"}, "idleSince"),
    (
        "an answer without its generation",
        "node",
        {"retired": [{"address": "10.98.0.5"}]},
        "node.retired[0].generation",
    ),
]
