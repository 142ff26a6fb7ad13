"""Render docs/reference/cloud-calls.md: every call of OpenStack, when it is made, what it costs."""

import re
from typing import Final, NamedTuple

from openeni_crds.names import TAG_CLUSTER
from openeni_docs.markdown import code, table
from openeni_operator.cloud.access_rules import ACCESS_RULES, COMPUTE, NETWORK
from openeni_operator.eni import timing
from openeni_operator.settings import Settings
from openeni_operator.sweep import plan as sweep

_IDENTITY, _CREDENTIALS = "identity", "application_credentials"
_READS, _WRITES, _ATTACHES = "reads", "writes", "attaches"


class _Text(NamedTuple):
    """When a call is made, which budget pays for it, and what it costs the cloud."""

    budget: str
    when: str
    cost: str


_HEADER: Final = """\
# Calls of the cloud and what they cost

Made from operator/openeni_operator/cloud/access_rules.py and
docs/openeni_docs/reference/cloud_calls.py by `make generate`; change it there. A test compares the
rules with what the operator really calls.

Only the operator that leads calls the cloud, and no call is made for a pod that finds a free
address on its node. Each call has a time limit (`operator.cloud.timeoutSeconds`) and belongs to one
budget; there is one of each for each user or application credential in a region, however many
entries of clouds.yaml have it:

"""
_CALLS: Final = """
One call for each port, and one attachment for each server, is in flight at a time. Where the cloud
answers that it is too busy, the operator calls less often by itself and speeds up again slowly;
`openeni_cloud_throttle_ratio` of the [metrics](../metrics.md) shows it.

## The calls

"""
# By service, method and path of the access rule.
_TEXTS: Final[dict[tuple[str, str, str], _Text]] = {
    (_IDENTITY, "GET", f"users/{{user_id}}/{_CREDENTIALS}/{{application_credential_id}}"): _Text(
        _READS,
        "once an hour: when does the credential expire?",
        "one row",
    ),
    (NETWORK, "GET", "networks/{network_id}"): _Text(
        _READS,
        "a pool is resolved: its network's MTU and project",
        "one row",
    ),
    (NETWORK, "GET", "subnets"): _Text(
        _READS,
        "a pool is resolved: when it changes, and once in a resync",
        "one for each term, one for all subnets of the network",
    ),
    (NETWORK, "GET", "security-groups"): _Text(_READS, "a pool is resolved", "one for each term"),
    (NETWORK, "GET", "qos/policies"): _Text(
        _READS,
        "a pool with `ports.qosPolicy` is resolved",
        "one",
    ),
    (NETWORK, "GET", "extensions/{alias}"): _Text(
        _READS,
        "the operator finds out whether ports can be resized",
        "nothing to speak of",
    ),
    (NETWORK, "GET", "quotas/{project_id}/details"): _Text(
        _READS,
        "a pool is resolved, and when the quota is used up",
        "Neutron counts the project's resources",
    ),
    (NETWORK, "GET", "ports"): _Text(
        _READS,
        "one list of the network for all pools and ready ENIs, once in a resync; by name, while an "
        f"ENI is not ready; by the tag `{TAG_CLUSTER}`, every {sweep.LOOK_INTERVAL / 60:g} minutes",
        "the list grows with the ports of the network, of which each has all its fixed IPs",
    ),
    (NETWORK, "POST", "ports"): _Text(
        _WRITES,
        "an ENI is created: one port with all its addresses",
        "Neutron reads all allocations of the subnet once for each address: the time grows with "
        "both. Several subnets of a /22 to a /20 are faster than one /16",
    ),
    (NETWORK, "GET", "ports/{port_id}"): _Text(
        _READS,
        "an ENI's port is not found under its name",
        "one row",
    ),
    (NETWORK, "PUT", "ports/{port_id}"): _Text(
        _WRITES,
        "security groups, port security or QoS policy differ from the pool's; an elastic ENI grows "
        "or shrinks; the operator finds out, once an hour, whether it may",
        "Neutron tells Nova of each change of an attached port, and Nova then reads the server's "
        "ports. So addresses are changed in batches, never for one pod",
    ),
    (NETWORK, "DELETE", "ports/{port_id}"): _Text(_WRITES, "an ENI has gone", "one port"),
    (NETWORK, "PUT", "ports/{port_id}/tags/{tag}"): _Text(
        _WRITES,
        "a tag is missing, as where Neutron drops tags at creation",
        "one for each tag",
    ),
    (NETWORK, "DELETE", "ports/{port_id}/tags/{tag}"): _Text(
        _WRITES,
        "a tag of the pool has been taken out of it",
        "one for each tag",
    ),
    (COMPUTE, "GET", "servers/{server_id}"): _Text(
        _READS,
        "before an attachment, unless it was just seen; when a node has gone",
        "one server",
    ),
    (COMPUTE, "POST", "servers/{server_id}/os-interface"): _Text(
        _ATTACHES,
        "a port is attached",
        "the most expensive: Nova holds the request until its compute service has plugged the NIC, "
        f"seconds to a minute. After {timing.ATTACH_TIMEOUT:g} s without an answer the operator "
        "looks whether it has happened, and asks again only if not",
    ),
    (COMPUTE, "DELETE", "servers/{server_id}/os-interface/{port_id}"): _Text(
        _ATTACHES,
        "a port is detached",
        f"answered at once, done by the guest: up to {timing.DETACH_TIMEOUT:g} s",
    ),
}


def page() -> str:
    """Return docs/reference/cloud-calls.md. Raises KeyError for a call without a text."""
    default = Settings()
    budgets = table(
        ("budget", "calls a second", "chart's value"),
        (
            (_READS, f"{default.cloud_reads:g}", code("operator.cloud.readsPerSecond")),
            (_WRITES, f"{default.cloud_writes:g}", code("operator.cloud.writesPerSecond")),
            (_ATTACHES, f"{default.cloud_attaches:g}", code("operator.cloud.attachesPerSecond")),
        ),
    )
    rows: list[tuple[str, ...]] = []
    for rule in ACCESS_RULES:
        path = _short(rule.path)
        budget, when, cost = _TEXTS[rule.service, rule.method, path]
        rows.append((rule.service, code(f"{rule.method} {path}"), when, budget, cost))
    calls = table(("service", "call", "when", "budget", "cost"), rows)
    return f"{_HEADER}{budgets}{_CALLS}{calls}{_JOBS}"


def _short(path: str) -> str:
    """Return a rule's path without the API's version and what stands before it."""
    return re.sub(r"^/\*\*v[\d.]+/(?:\*\*)?", "", path)


_JOBS: Final = """
Logging in needs no rule and counts as a read.
[`openeni credentials`](../cli.md#openeni-credentials) prints an application credential that permits
these calls and no other.

## What a common event costs

| event | calls that change something |
|---|---|
| a pod starts or ends on a node with a free address | none |
| a node joins | one `POST` of a port and one attachment for each pool that selects it |
| a node leaves | for each of its ENIs a detachment, if the server is there, and a `DELETE` |
| a burst of pods on one node, `growth: Elastic` | one `PUT` for each ENI that it touches |
| a security group is changed in a pool | one `PUT` for each of its ports, at the rate of writes |
| the operator restarts, or another leads | none |
"""
