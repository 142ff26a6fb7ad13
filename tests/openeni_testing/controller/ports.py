"""Ports of one ENI, for tests of its rules."""

from openeni_operator.cloud.api import Port

HERE, ELSEWHERE = "server-1", "server-2"
TAGS = frozenset({"openeni-cluster=c", "openeni-eni=e"})
NONE = frozenset[str]()


def a_port(
    name: str = "p1", *, device_id: str = "", status: str = "DOWN", tags: frozenset[str] = TAGS
) -> Port:
    return Port(
        name,
        "openeni-c-e",
        "net",
        "fa:16:3e:00:00:01",
        status,
        device_id,
        tags=tags,
        created_at=name,
    )
