"""Reasons that lie on a node."""

from typing import Final

from openeni_crds.conditions import Reason
from openeni_crds.owners import AGENT_ENI, AGENT_PODIP, OPERATOR_ENI, OPERATOR_PODIP, OPERATOR_POOL
from openeni_crds.reasons.entry import ReasonEntry, Reasons

NODE: Final[Reasons] = {
    Reason.NIC_MISSING: ReasonEntry(
        "the NIC has not appeared in the guest for a minute after Nova attached it",
        "see the agent's log and the hypervisor's",
        (AGENT_ENI,),
    ),
    Reason.NO_CARRIER: ReasonEntry(
        "the NIC has had no carrier for three seconds: nothing passes, and no pod gets an address "
        "of the ENI meanwhile",
        "see the port's interface on the server's host: a link or a tap that is down, or a virtual "
        "function whose link state is `disable`",
        (AGENT_ENI, AGENT_PODIP),
    ),
    Reason.GATEWAY_UNREACHABLE: ReasonEntry(
        "a subnet's gateway has not answered the node for five seconds, so pods reach nothing "
        "beyond their subnet",
        "give the subnet a router (`openstack router add subnet`), or see why its port is not "
        "ACTIVE; where pods need none, `openstack subnet set --gateway none`, then delete the ENI: "
        "another one takes its place once its pods have ended",
        (AGENT_ENI,),
    ),
    Reason.ARP_UNANSWERED: ReasonEntry(
        "the gateway asks the node for an address of the port by ARP: the network does not answer "
        "for pods, so nobody beyond the node reaches those of mode L3",
        "use `L3S` in a new pool, or a network that answers ARP itself, as ML2/OVN does where it "
        "has no provider network",
        (AGENT_ENI,),
    ),
    Reason.GUEST_NOT_PREPARED: ReasonEntry(
        "the agent could not write the files that keep NetworkManager, networkd and udev off the "
        "NIC, or their folder was moved or removed on the node, so the port is not attached",
        "correct what the message names, or see the agent's log",
        (AGENT_ENI,),
    ),
    Reason.KERNEL_REFUSED: ReasonEntry(
        "the kernel refused to configure the NIC, a pod's datapath is not as planned, or a rule, a "
        "route or a sysctl of the node's own would cut the ENI's pods off; the agent retries",
        "follow the kernel's error, stop the program that changes what the message names, or do "
        "what the message says",
        (AGENT_ENI, AGENT_PODIP),
    ),
    Reason.OTHER_CNI: ReasonEntry(
        "another CNI plugin is configured on the node, and pods there do not use the pool",
        "[migrate the node](migration.md): remove that plugin, its configuration in "
        "`/etc/cni/net.d` too, or exclude the node by `spec.nodeSelector`",
        (AGENT_ENI, OPERATOR_POOL),
    ),
    Reason.INSTALL_FAILED: ReasonEntry(
        "the agent could not install the CNI executable or its configuration, their folder or "
        "`/run/openeni` was moved or removed on the node, or nothing there can be executed",
        "do what the message says: move the folder back (only if it is gone for good, delete the "
        "agent's pod: without what was in `/run/openeni`, cool-downs are lost), make it writable "
        "for the agent, or mount it with `exec`; see the chart's `agent.cniBinDir` and "
        "`agent.cniConfDir`",
        (AGENT_ENI,),
    ),
    Reason.ADDRESS_NOT_ON_PORT: ReasonEntry(
        "the pod's address has left the ENI's port, or one that is kept is on no port any more",
        "restart the pod; what is kept is asked for again when its pod is back",
        (AGENT_PODIP, OPERATOR_PODIP),
    ),
    Reason.AGENT_REPORT_INVALID: ReasonEntry(
        "the agent's report is impossible and is not used",
        "see the agent's log, and make sure that nobody else writes the ENI's status",
        (OPERATOR_ENI,),
    ),
}
