"""Looks at every change of a port, and at the end at everything: independent of the operator."""

from collections import defaultdict
from dataclasses import dataclass, field

from openeni_crds.conditions import Type, is_true
from openeni_crds.eni import ENI
from openeni_crds.names import port_name, port_tags
from openeni_operator.cloud.api import ACTIVE
from openeni_testing.controller.process import CLUSTER_ID
from openeni_testing.fake_openstack.resources import PortRecord
from openeni_testing.killed.agents import Agents


@dataclass
class Observer:
    """Is called with the cloud's lock."""

    agents: Agents
    problems: list[str] = field(default_factory=list[str])
    created: int = 0  # ports, so far
    _ids: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # by name

    def port_changed(self, before: PortRecord | None, after: PortRecord | None) -> None:
        """Note what must never happen, not even for a moment.

        The cloud here shows each port sooner than the operator's patience ends, so there is no
        excuse for a second port of an ENI.
        """
        self.problems += self.agents.port_changed(before, after)
        if before is not None:
            self._ids[before.name].discard(before.id)
        if after is None:
            return
        self.created += before is None
        self._ids[after.name].add(after.id)
        if len(self._ids[after.name]) > 1:
            self.problems.append(f"{after.name} is the name of ports {self._ids[after.name]}")


def unsettled(enis: list[ENI], ports: list[PortRecord], servers: dict[str, str]) -> list[str]:
    """Return what has not converged: ENIs that are not Ready, and what has no counterpart.

    `servers` has the server's ID by the node's name.
    """
    by_name = {port.name: port for port in ports}
    wanted = {port_name(CLUSTER_ID, eni.metadata.uid): eni for eni in enis}
    found = [f"{name} is leaked" for name in by_name.keys() - wanted.keys()]
    found += [f"{port.id} doubles another port" for port in ports if by_name[port.name] != port]
    found += [f"{node} has no ENI" for node in servers.keys() - {e.spec.node_name for e in enis}]
    for name, eni in wanted.items():
        port = by_name.get(name)
        if not _is_ready(eni) or port is None or not _agree(eni, port, servers):
            conditions = [f"{c.type}={c.status} {c.reason}" for c in eni.status.conditions]
            state = (
                f"deleting={eni.metadata.deleting} retiring={eni.spec.retiring} "
                f"count={eni.spec.address_count} {eni.status.port} {eni.status.node}"
            )
            found.append(f"{eni.name} {state} {conditions} {port}")
    return found


def _is_ready(eni: ENI) -> bool:
    goes = eni.metadata.deleting or bool(eni.spec.retiring)
    return is_true(eni.status.conditions, Type.READY) and not goes


def _agree(eni: ENI, port: PortRecord, servers: dict[str, str]) -> bool:
    status = eni.status.port
    recorded = {*status.primary, *status.addresses} if status else set[str]()
    return (
        len(recorded) == len(eni.spec.subnet_ids) * (1 + eni.spec.address_count)
        and eni.spec.server_id == servers.get(eni.spec.node_name)
        and (port.device_id, port.status) == (eni.spec.server_id, ACTIVE)
        and set(port.tags) == {*port_tags(CLUSTER_ID, eni.metadata.uid), *eni.spec.port_tags}
        and set(port.groups) == set(eni.spec.security_group_ids)
        and (port.qos_policy_id or "") == eni.spec.qos_policy_id
        and recorded == {address.ip for address in port.addresses}
    )
