"""Ports of one ENI, for tests of its rules."""

from openeni_operator.cloud.api import Port
from openeni_operator.eni.port_settings import PortSettings

HERE, ELSEWHERE = "server-1", "server-2"
TAGS = frozenset({"openeni-cluster=c", "openeni-eni=e"})
GROUPS = frozenset({"group-1"})
NONE = frozenset[str]()
SETTINGS = PortSettings(GROUPS)


def a_port(
    name: str = "p1",
    *,
    device_id: str = "",
    status: str = "DOWN",
    tags: frozenset[str] = TAGS,
    groups: frozenset[str] = GROUPS,
    policy: str = "",
    enabled: bool = True,
    security: bool | None = None,
) -> Port:
    return Port(
        name,
        "openeni-c-e",
        "net",
        "fa:16:3e:00:00:01",
        status,
        device_id,
        tags=tags,
        security_group_ids=groups,
        port_security=security,
        qos_policy_id=policy,
        enabled=enabled,
        created_at=name,
    )
