"""Ports without their ENI, for tests of the sweep."""

from dataclasses import replace

from openeni_crds.conditions import Condition, Type, find
from openeni_crds.names import ENIS, port_name, port_tags
from openeni_operator.cloud.api import NewPort, Port
from openeni_operator.sweep.plan import LOOK_INTERVAL
from openeni_testing.controller.process import CLUSTER_ID, RESYNC
from openeni_testing.controller.simulation import Simulation

LONG_AGO = "2025-12-31T00:00:00Z"
ONE_LOOK = LOOK_INTERVAL  # seconds in which there is one look, and no second one
TWO_LOOKS = LOOK_INTERVAL + 2 * RESYNC  # seconds in which there are two, at least


def leak_port(
    sim: Simulation,
    uid: str = "gone",
    *,
    name: str | None = None,
    tags: tuple[str, ...] | None = None,
    server: str = "",
    created_at: str = LONG_AGO,
) -> Port:
    """Create a port of an ENI that is not there, by default with all the marks of its own."""
    wanted = NewPort(
        name=port_name(CLUSTER_ID, uid) if name is None else name,
        network_id=sim.network.id,
        subnet_ids=(sim.subnet.id,),
        count=1,
        security_group_ids=(sim.group.id,),
        tags=port_tags(CLUSTER_ID, uid) if tags is None else tags,
    )
    made = sim.cloud.create_port(wanted)
    leaked = replace(made, device_id=server, created_at=created_at)
    sim.cloud.ports[leaked.id] = leaked
    return leaked


def force_delete_eni(sim: Simulation, name: str) -> None:
    """Delete the ENI as somebody does who takes its finalizer off: its port stays."""
    remove = [{"op": "remove", "path": "/metadata/finalizers"}]
    sim.api.patch(ENIS, name, operations=remove)
    sim.api.delete(ENIS, name)


def ports_owned(sim: Simulation) -> Condition | None:
    return find(sim.pool().status.conditions, Type.PORTS_OWNED)
