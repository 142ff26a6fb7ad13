"""Bad parts of an ENI's status, with the field that the API server's message must name."""

from openeni_testing.invalid_objects import LONG, Bad
from openeni_testing.objects import port_status

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
