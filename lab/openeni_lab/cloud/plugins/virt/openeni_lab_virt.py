"""Nova's virt driver of the lab: servers are Nova's fake ones, their NICs are real.

What libvirt's driver would do to a guest's NICs, this one asks of the lab's hypervisor, with the
port's id, MAC, network and MTU, and fails when that fails. Found as `nova.virt.openeni_lab_virt`.
"""

import uuid

from lab_hypervisor import HYPERVISOR, PlugError
from nova import exception
from nova.compute import power_state, task_states, vm_states
from nova.virt import fake
from oslo_log import log as logging

LOG = logging.getLogger(__name__)
KEPT_STATES = (power_state.RUNNING, power_state.SHUTDOWN, power_state.PAUSED)
GONE_STATES = (vm_states.BUILDING, vm_states.DELETED, vm_states.SOFT_DELETED)


def node_uuid(node):
    """Stable, unlike the stock driver's: nova-compute refuses to start under another one."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, "openeni-lab." + node))


def plug(instance, vif):
    network = vif["network"]
    mtu = network.get_meta("mtu") or 1450
    HYPERVISOR.plug(instance.uuid, vif["id"], vif["address"], network["label"], int(mtu))


class LabDriver(fake.FakeDriver):
    def get_nodenames_by_uuid(self, refresh=False):
        return {node_uuid(node): node for node in self.get_available_nodes()}

    def get_available_resource(self, nodename):
        resources = super().get_available_resource(nodename)
        if resources:
            resources["uuid"] = node_uuid(nodename)
        return resources

    def get_host_uptime(self):
        # GET os-hypervisors/detail asks; the stock driver raises NotImplementedError.
        return " 10:00:00 up 1 day, 0 users, load average: 0.00, 0.00, 0.00"

    def plug_vifs(self, instance, network_info):
        # Nova calls this for every server when it starts: what the last process knew is gone.
        self._adopt(instance)
        for vif in network_info or []:
            self._interfaces[vif["id"]] = vif
            plug(instance, vif)

    def get_info(self, instance, use_cache=True):
        mine = instance.host == self._host and instance.vm_state not in GONE_STATES
        if mine and instance.task_state != task_states.DELETING:
            self._adopt(instance)
        return super().get_info(instance, use_cache=use_cache)

    def spawn(self, context, instance, *args, **kwargs):
        for vif in kwargs.get("network_info") or []:
            plug(instance, vif)
        super().spawn(context, instance, *args, **kwargs)

    def destroy(self, context, instance, network_info, *args, **kwargs):
        super().destroy(context, instance, network_info, *args, **kwargs)
        for nic in HYPERVISOR.records.nics(instance.uuid):
            self._interfaces.pop(nic.port_id, None)
        HYPERVISOR.unplug_all(instance.uuid)

    def attach_interface(self, context, instance, image_meta, vif):
        super().attach_interface(context, instance, image_meta, vif)
        try:
            plug(instance, vif)
        except PlugError as error:
            self._interfaces.pop(vif["id"], None)
            LOG.error("attach: %s", error, instance=instance)
            raise exception.InterfaceAttachFailed(instance_uuid=instance.uuid)

    def detach_interface(self, context, instance, vif):
        try:
            HYPERVISOR.unplug(vif["id"])
        except PlugError as error:
            LOG.error("detach: %s", error, instance=instance)
            raise exception.InterfaceDetachFailed(instance_uuid=instance.uuid)
        super().detach_interface(context, instance, vif)

    def _adopt(self, instance):
        if instance.uuid in self.instances:
            return
        state = instance.power_state if instance.power_state in KEPT_STATES else power_state.RUNNING
        flavor = instance.flavor
        self.resources.claim(vcpus=flavor.vcpus, mem=flavor.memory_mb, disk=flavor.root_gb)
        self.instances[instance.uuid] = fake.FakeInstance(instance.name, state, instance.uuid)
