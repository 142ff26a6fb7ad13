"""Causes of alerts about what lasts: for an absent agent, a silent API server, missing rights."""

from dataclasses import dataclass, field
from typing import Any, Final

from openeni_lab.kubernetes.api import MERGE
from openeni_lab.product import pods, workloads
from openeni_lab.product.pods import AGENT
from openeni_testing.alerts import lab_cloud
from openeni_testing.alerts.causes import LOST, NODE, Causes, alert
from openeni_testing.lab import installed_lab as lab
from openeni_testing.waiting import wait_for

Json = dict[str, Any]

IDLE: Final = "idle"  # a pool of which a node's ENI has no pod
LATE: Final = "late"  # a pool that the node's agent cannot hear of
GUEST: Final = "guest"
GROUPS: Final = tuple(f"{lab_cloud.OWN}-{name}" for name in ("kept", "lost"))
STUCK: Final = alert("StuckDeleting", pool=IDLE)
UNHEARD: Final = (alert("WatchSilent", node=NODE), alert("NotReady", pool=LATE))
QUEUED: Final = alert("DELsQueued", node=NODE)
FAILING: Final = alert("ReconcileFailing", kind="ENIPool")
OUTDATED: Final = alert("PortsOutdated", pool=IDLE)
LASTING: Final = (STUCK, *UNHEARD, QUEUED, FAILING, OUTDATED)
_ROLE: Final = "/apis/rbac.authorization.k8s.io/v1/clusterroles/openeni-operator"
_OF_POOLS: Final = "enipools/status"
_TAGGED: Final = [{"tags": [lab_cloud.OWN]}]
_JOURNAL: Final = "/run/openeni/journal"
_DEL: Final = {"cniVersion": "1.1.0", "name": "openeni", "type": "openeni"}


@dataclass
class LastingCauses(Causes):
    """The causes in one lab; `clean` ends those that a failed test has left."""

    _rules: list[Json] = field(default_factory=list[Json])  # of the operator, before some are taken

    def start(self) -> None:
        """Have ENIs on every node, a pod on `NODE`, and operators that look often."""
        self._cleaning += [self.cloud.clean, self._remove_pools]
        self.look_often()
        self.cloud.create_groups(*GROUPS)
        pool = workloads.pool(IDLE, addresses=3, enis=1, securityGroups=_TAGGED)
        self.installed.api.apply([pool])
        lab.start_on(self.installed, NODE, GUEST, IDLE)
        wait_for(lambda: self._eni_of(LOST), f"an ENI on {LOST}", lab.PATIENCE)

    def leave_an_eni(self) -> None:
        """Delete the ENI without pods of a node whose agent is gone."""
        self.take_agents(NODE)
        eni = self._eni_of(LOST)
        wait_for(lambda: self._agents() == [NODE], f"no agent on {LOST}", lab.PATIENCE)
        self.installed.api.delete(f"{lab.ENIS}/{eni}")

    def want_an_eni(self) -> None:
        """Create a pool on `NODE`: its agent is to hear of it."""
        selector = {"matchLabels": {"kubernetes.io/hostname": NODE}}
        pool = workloads.pool(LATE, enis=1, securityGroups=_TAGGED, nodeSelector=selector)
        self.installed.api.apply([pool])

    def queue_a_del(self) -> str:
        """Ask while the agent is replaced, which knows nothing of its pods: the journal is lost.

        Returns the id of the agent's exit, as `pods.exits` has it.
        """
        self.installed.nodes[NODE].check(["rm", _JOURNAL])
        killed = lab.container(self.installed, AGENT, NODE)
        lab.send(self.installed, killed, "KILL")
        answer = self.call("DEL", _DEL)
        assert answer.code == 0, answer.text
        return f"{killed.uid}/{killed.restarts + 1}"

    def take_rights(self) -> None:
        """Take from the operator what an older release has not needed; all pools change then.

        One that does not would be reconciled with success every few seconds, and those that fail
        seldom: they are put off by up to 30 s.
        """
        self._rules = self.installed.api.request("GET", _ROLE)["rules"]
        self._cleaning.append(self.give_rights)
        less = [
            {**rule, "resources": [one for one in rule["resources"] if one != _OF_POOLS]}
            for rule in self._rules
        ]
        self._patch_role(less)
        self.cloud.tag_group(GROUPS[-1])

    def give_rights(self) -> None:
        """Do as `helm upgrade`: the role is as it was."""
        self._patch_role(self._rules)

    def restore_group(self) -> None:
        self.cloud.tag_group(GROUPS[-1], lab_cloud.OWN)

    def _remove_pools(self) -> None:
        """Remove the pools, whose ports have the security groups."""
        self.installed.api.delete(f"{lab.DEPLOYMENTS}/{GUEST}")
        for pool in (IDLE, LATE):
            self.installed.api.delete(f"{lab.POOLS}/{pool}")
        for pool in (IDLE, LATE):
            lab.wait_until_gone(self.installed, pool)

    def _patch_role(self, rules: list[Json]) -> None:
        self.installed.api.request("PATCH", _ROLE, {"rules": rules}, MERGE)

    def _eni_of(self, node: str) -> str:
        """Return the name of the idle pool's ENI on a node. Raises AssertionError if not Ready."""
        enis = lab.enis_of(self.installed, IDLE)
        found = [eni for eni in enis if eni["spec"]["nodeName"] == node]
        assert len(found) == 1, f"there are {len(found)}"
        (eni,) = found
        conditions = {c["type"]: c["status"] for c in eni["status"]["conditions"]}
        assert conditions["Ready"] == "True", conditions
        name: str = eni["metadata"]["name"]
        return name

    def _agents(self) -> list[str]:
        return [c.node for c in pods.containers(self.installed.api) if c.component == AGENT]
