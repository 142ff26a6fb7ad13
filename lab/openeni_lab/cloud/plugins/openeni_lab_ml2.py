"""ML2 mechanism driver of the lab: binds every port at once and feeds the anti-spoofing rules.

Neutron calls the postcommit methods after its transaction, in the request: a port is allowed to
send before its creation is answered, and a failure is the caller's 500. They take milliseconds.
"""

from lab_hypervisor import HYPERVISOR, AddressPair, PortFacts
from neutron_lib import constants
from neutron_lib.api.definitions import portbindings
from neutron_lib.plugins.ml2 import api


def port_facts(port, network):
    pairs = port.get("allowed_address_pairs") or []
    return PortFacts(
        port_id=port["id"],
        network=network["name"],
        mac=port["mac_address"],
        fixed_ips=tuple(fixed["ip_address"] for fixed in port["fixed_ips"]),
        pairs=tuple(AddressPair(p["mac_address"], str(p["ip_address"])) for p in pairs),
        port_security=port.get("port_security_enabled", True),
    )


class LabMechanismDriver(api.MechanismDriver):
    """Ports are bound as by the OVS agent: vif_type ovs, ACTIVE from the start."""

    def initialize(self):
        pass

    @property
    def connectivity(self):
        return portbindings.CONNECTIVITY_L2

    def bind_port(self, context):
        details = {
            portbindings.CAP_PORT_FILTER: True,
            portbindings.VIF_DETAILS_CONNECTIVITY: portbindings.CONNECTIVITY_L2,
        }
        segment = context.segments_to_bind[0]
        context.set_binding(
            segment[api.ID],
            portbindings.VIF_TYPE_OVS,
            details,
            status=constants.PORT_STATUS_ACTIVE,
        )

    def create_port_postcommit(self, context):
        HYPERVISOR.allow(port_facts(context.current, context.network.current))

    def update_port_postcommit(self, context):
        HYPERVISOR.allow(port_facts(context.current, context.network.current))

    def delete_port_postcommit(self, context):
        HYPERVISOR.forget(context.current["id"])
