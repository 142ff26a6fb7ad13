"""Causes of alerts about what is slow or stands still: work of an agent, or of the operator."""

from collections.abc import Callable
from typing import Final

from openeni_crds.names import NFT_TABLE
from openeni_lab.product import workloads
from openeni_lab.product.pods import AGENT
from openeni_testing.alerts.causes import CROWD, NODE, RESYNC, Causes, alert
from openeni_testing.lab import installed_lab as lab

ROOM: Final = "room"  # a pool, and the pod that shows its ENI to be ready
SLOW: Final = alert("ADDSlow", node=NODE)
FAILING: Final = alert("LookFailing", node=NODE)
AGENT_STALLED: Final = alert("AgentQueueStalled", node=NODE, queue="podips")
OPERATOR_STALLED: Final = alert("QueueStalled", lane="cloud-default")
STALLS: Final = (SLOW, FAILING, AGENT_STALLED, OPERATOR_STALLED)
_PODS: Final = 4
_PERIOD_US: Final = 100_000
_QUOTAS_US: Final = (2_000, 5_000, 12_000)  # a slow machine's agent answers at none below
_UNLIMITED: Final = -1
_RUNC_STATE: Final = "/run/containerd/runc/k8s.io"
_OWNER: Final = "owner"
_READS: Final = "OPENENI_CLOUD_READS_PER_SECOND"


class StallCauses(Causes):
    """The causes in one lab; `clean` ends those that a failed test has left."""

    def start(self) -> None:
        """Have an ENI and a pod on `NODE`."""
        self.installed.api.apply([workloads.pool(ROOM, addresses=_PODS + 2, enis=1)])
        lab.start_on(self.installed, NODE, ROOM, ROOM)

    def throttle(self, wait: Callable[[], None]) -> None:
        """Limit the agent of `NODE` to 2 % of a processor, as `agent.resources` may; start pods.

        Then wait for what follows, with a higher limit while `wait` raises AssertionError.
        """
        self._cleaning.append(self.unthrottle)
        self._limit(_QUOTAS_US[0])
        self._start_crowd(ROOM, _PODS)
        for quota in _QUOTAS_US[1:]:
            try:
                return wait()
            except AssertionError:
                self._limit(quota)
        return wait()

    def unthrottle(self) -> None:
        self._limit(_UNLIMITED)

    def end_pods(self) -> None:
        """End the pods of `CROWD`: their PodIPs are to be deleted."""
        lab.wait_for_pods(self.installed, CROWD, _PODS)
        lab.scale(self.installed, CROWD, 0)

    def take_table(self) -> None:
        """Have another program own openeni's table: the kernel refuses all others any change."""
        self._cleaning.append(self.give_table)
        taken = f"delete table inet {NFT_TABLE}; add table inet {NFT_TABLE} {{ flags owner; }}"
        shell = f"(echo '{taken}'; sleep 600) | nft -i"
        log = self.installed.lab.layout.logs / f"{_OWNER}.log"
        self.installed.nodes[NODE].start(_OWNER, ["sh", "-c", shell], log=log)

    def give_table(self) -> None:
        self.installed.nodes[NODE].stop(_OWNER)

    def limit_reads(self) -> None:
        """Let operators read the cloud once in ten seconds, and have them want to more often."""
        self._cleaning.append(self.lift_limit)
        self._patch_operators({RESYNC: "5", _READS: "0.1"})

    def lift_limit(self) -> None:
        """Do as `helm upgrade --set operator.cloud.readsPerSecond=20`."""
        self._patch_operators({RESYNC: "300", _READS: "20"})

    def _limit(self, quota: int) -> None:
        """Set the agent's processor time as a kubelet does."""
        node = self.installed.lab.node(NODE)
        agent = lab.container(self.installed, AGENT, NODE)
        words = ["update", f"--cpu-period={_PERIOD_US}", f"--cpu-quota={quota}", agent.runtime_id]
        node.machine.check([str(node.control_plane.program("runc")), "--root", _RUNC_STATE, *words])
