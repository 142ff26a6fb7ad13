"""Make the causes of alerts real in a lab, and end them as the alerts' pages say."""

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from openeni_crds.meta import parse_time
from openeni_crds.names import ANNOTATION_BUNDLE_VERSION, TAINT_AGENT_NOT_READY
from openeni_lab.cloud.access import operator_cloud
from openeni_lab.kubernetes.api import MERGE
from openeni_lab.machine.client import Finished
from openeni_lab.product import workloads
from openeni_lab.product.installed_lab import InstalledLab
from openeni_lab.product.pods import DAEMON_SET, DEPLOYMENT
from openeni_operator.process.crd_version import OWN
from openeni_testing.alerts.lab_cloud import LabCloud
from openeni_testing.alerts.prometheus import Labels
from openeni_testing.cloud.clouds_secret import write_clouds_secret
from openeni_testing.lab import installed_lab as lab
from openeni_testing.waiting import wait_for

Json = dict[str, Any]

NOBODY: Final = "http://127.0.0.1:9/v3"  # the discard port: nobody listens
NODE: Final = "n1"  # where ADDs fail and rules vanish
LOST: Final = "n2"  # which loses its agent
NO_NODE: Final = {"matchLabels": {"test.openeni.io/no": "node"}}
BARE: Final = "bare"  # a Node, and the pool that selects it
MEDDLER: Final = "meddler"
CROWD: Final = "crowd"  # pods that start together
STRATEGIC: Final = "application/strategic-merge-patch+json"
RESYNC: Final = "OPENENI_RESYNC_SECONDS"
CRD: Final = "enipools.openeni.io"
_API_SERVER: Final = "/api/v1/namespaces/default/services/kubernetes"
_TABLE: Final = "inet openeni_alerts"
_NARROW: Final = ("10.92.0.0/24", "10.92.0.10", "10.92.0.21")
_DHCP: Final = ("10.91.0.0/24", "10.91.0.10", "10.91.0.200")
# An ADD as of a runtime whose list has another plugin before openeni.
_ADD: Final = {
    "cniVersion": "1.1.0",
    "name": "openeni",
    "type": "openeni",
    "prevResult": {"cniVersion": "1.1.0", "ips": [{"address": "10.90.0.2/24"}]},
}


def alert(name: str, **labels: str) -> Labels:
    return {"alertname": f"OpenENI{name}", **labels}


# By the object that ends with its cause.
OF_POOLS: Final = (
    alert("CloudCredentialsInvalid", pool="refused"),
    alert("PoolNotReady", pool="refused"),
    alert("CloudUnreachable", pool="away"),
    alert("CredentialsExpiring", pool="expiring"),
    alert("PoolNoCapacity", pool="full"),
    alert("PodsWaiting", pool="full"),
    alert("PoolUnsupported", pool="dhcp"),
    alert("PoolPaused", pool="paused"),
    alert("NodesWithoutAgent", pool=BARE),
    alert("SubnetNearlyExhausted"),
    alert("PortQuotaNearlyUsed", cloud="default"),
)
ADD_FAILING: Final = alert("ADDFailing", node=NODE, code="7")
REPAIRS: Final = alert("RepairsRepeated", node=NODE, kind="rule")
OF_NODES: Final = (ADD_FAILING, REPAIRS)
CRD_SKEW: Final = alert("CRDVersionSkew")
ORPHANED: Final = alert("PortsOrphaned")  # which takes two looks of the operator, ten minutes apart
NO_LEADER: Final = alert("NoLeader")
NO_AGENTS: Final = alert("NoAgents")
AGENT_DOWN: Final = alert("AgentDown")
REAL: Final = (*OF_POOLS, *OF_NODES, CRD_SKEW, ORPHANED, NO_LEADER, NO_AGENTS, AGENT_DOWN)


@dataclass
class Causes:
    """The causes in one lab; `clean` ends those that a failed test has left."""

    installed: InstalledLab
    _cleaning: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])

    @property
    def cloud(self) -> LabCloud:
        return LabCloud(self.installed)

    def clean(self) -> None:
        """Put back whatever is not removed with the test's pools and nodes."""
        while self._cleaning:
            self._cleaning.pop()()

    def spoil_pools(self) -> None:
        """Have a pool for each thing that can be wrong with one."""
        self._cleaning += [self.cloud.clean, self.mend_clouds]
        soon = (datetime.now(UTC) + timedelta(days=10)).strftime("%Y-%m-%dT%H:%M:%S")
        self._write_clouds(
            refused={"application_credential_secret": "no"},
            away={"auth_url": NOBODY},
            expiring=self.cloud.expiring_credential(soon),
        )
        narrow, dhcp = (
            self.cloud.create_subnet(*_NARROW),
            self.cloud.create_subnet(*_DHCP, dhcp=True),
        )
        bare = {"matchLabels": {"test.openeni.io/bare": "yes"}}
        none: Json = {"nodeSelector": NO_NODE}
        real: Json = {"nodeSelector": {"matchLabels": {"kubernetes.io/os": "linux"}}}
        self.installed.api.apply(
            [
                _node(),
                workloads.pool("roomy", addresses=6, enis=1, **real),
                workloads.pool("full", addresses=1, enis=1, **real),
                workloads.pool("refused", cloud="refused", **none),
                workloads.pool("away", cloud="away", **none),
                workloads.pool("expiring", cloud="expiring", **none),
                workloads.pool("narrow", subnets=[{"name": narrow}], **none),
                workloads.pool("dhcp", subnets=[{"name": dhcp}], **none),
                workloads.pool("paused", paused=True, **none),
                workloads.pool(BARE, nodeSelector=bare),
            ]
        )
        self._start_crowd("full", 2)

    def use_up_quota(self) -> None:
        self.cloud.set_port_quota(0.95)

    def mend_pools(self) -> None:
        """Do what the pages of `OF_POOLS` say."""
        self.cloud.set_port_quota(0.2)
        self.mend_clouds()
        self.cloud.change_subnet(
            f"openeni-alerts-{_NARROW[0].partition('/')[0]}",
            allocation_pools=[{"start": "10.92.0.10", "end": "10.92.0.250"}],
        )
        self.cloud.change_subnet(
            f"openeni-alerts-{_DHCP[0].partition('/')[0]}", is_dhcp_enabled=False
        )
        self._patch_pool("full", {"capacity": {"maxENIsPerNode": 2}})
        self._patch_pool("paused", {"paused": False})
        self._patch_pool(BARE, {"nodeSelector": NO_NODE})

    def mend_clouds(self) -> None:
        self._write_clouds(refused={}, away={}, expiring={})

    def look_often(self) -> None:
        """Have operators that look at the cloud every five seconds."""
        self._cleaning.append(lambda: self._patch_operators({RESYNC: "300"}))
        self._patch_operators({RESYNC: "5"})

    def replace_the_operators(self, meanwhile: Callable[[], None]) -> None:
        """Have no operator for a while, then some that look often and find what is amiss."""
        replicas = self.installed.api.request("GET", DEPLOYMENT)["spec"]["replicas"]
        self._cleaning += [
            lambda: self._set_crd_version(OWN[CRD]),
            lambda: self._patch_operators({RESYNC: "300"}, replicas=replicas),
        ]
        self.cloud.create_orphan(str(uuid.uuid4()))
        self._set_crd_version("of another build")
        self._patch_operators({RESYNC: "5"}, replicas=0)
        meanwhile()
        self._patch_operators({RESYNC: "5"}, replicas=replicas)

    def mend_starts(self) -> None:
        """Do what the pages of `CRD_SKEW` and `ORPHANED` say."""
        self.cloud.remove_orphans()
        self._set_crd_version(OWN[CRD])
        self._patch_operators({RESYNC: "300"}, restarted=datetime.now(UTC).isoformat())

    def take_agents(self, selector: str | None) -> None:
        """Have agents on one node alone, on none (""), or on all (None)."""
        if selector is not None:
            self._cleaning.append(lambda: self.take_agents(None))
        chosen = {"nodeSelector": {"kubernetes.io/hostname": selector}}
        body = {"spec": {"template": {"spec": chosen}}}
        self.installed.api.request("PATCH", DAEMON_SET, body, STRATEGIC)

    def age_taint(self) -> None:
        """Wait for the taint of the node without an agent, and make it half an hour older."""
        path = f"/api/v1/nodes/{LOST}"

        def aged() -> bool:
            taints = self.installed.api.request("GET", path)["spec"].get("taints", [])
            found: list[Json] = [t for t in taints if t["key"] == TAINT_AGENT_NOT_READY]
            assert found, "it has no taint"
            (ours,) = found
            older = parse_time(ours["timeAdded"]) - timedelta(minutes=30)
            ours["timeAdded"] = older.strftime("%Y-%m-%dT%H:%M:%SZ")
            self.installed.api.request("PATCH", path, {"spec": {"taints": taints}}, MERGE)
            return True

        wait_for(aged, f"{LOST} is tainted", lab.PATIENCE)

    def trouble_the_node(self) -> None:
        """Have another program delete a rule again and again."""
        self._cleaning.append(self.mend_the_node)
        loop = "while :; do ip rule del priority 500 2>&-; sleep 0.1; done"
        log = self.installed.lab.layout.logs / f"{MEDDLER}.log"
        self.installed.nodes[NODE].start(MEDDLER, ["sh", "-c", loop], log=log)

    def fail_adds(self, count: int) -> None:
        """Ask as a runtime whose list of plugins has another one before openeni."""
        for _ in range(count):
            answer = self.call("ADD", _ADD)
            assert answer.code, answer.text

    def call(self, command: str, stdin: Json) -> Finished:
        """Call the CNI executable on `NODE` for a container that nobody else knows."""
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": uuid.uuid4().hex,
            "CNI_NETNS": "/proc/self/ns/net",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": "/opt/cni/bin",
            "CNI_ARGS": f"K8S_POD_NAMESPACE=default;K8S_POD_NAME=w;K8S_POD_UID={uuid.uuid4()}",
        }
        program = "/opt/cni/bin/openeni"
        stdin_bytes = json.dumps(stdin).encode()
        return self.installed.nodes[NODE].run([program], env=environment, stdin=stdin_bytes)

    def cut_off(self) -> None:
        """Drop what the agent of `NODE` sends to the API server."""
        self._cleaning.append(self.connect)
        service = self.installed.api.request("GET", _API_SERVER)
        address = service["spec"]["clusterIP"]
        rules = f"""table {_TABLE} {{
            chain output {{
                type filter hook output priority raw
                meta skuid 0 ip daddr {address} drop
            }}
        }}"""
        self.installed.nodes[NODE].check(["nft", "-f", "-"], stdin=rules.encode())

    def connect(self) -> None:
        self.installed.nodes[NODE].run(["nft", "delete", "table", *_TABLE.split()])

    def mend_the_node(self) -> None:
        """Stop the other program."""
        self.installed.nodes[NODE].stop(MEDDLER)

    def _start_crowd(self, pool: str, count: int) -> None:
        """Start pods on `NODE`, past the scheduler."""
        body = workloads.deployment(CROWD, pool, count)
        body["spec"]["template"]["spec"] |= {"nodeName": NODE, "topologySpreadConstraints": []}
        self.installed.api.apply([body])

    def _write_clouds(self, **entries: dict[str, str]) -> None:
        known = operator_cloud(self.installed.lab.layout)
        clouds = {
            name: {**known, "auth": {**known["auth"], **changed}}
            for name, changed in {"default": {}, **entries}.items()
        }
        write_clouds_secret(self.installed, clouds)

    def _patch_pool(self, name: str, spec: Json) -> None:
        self.installed.api.request("PATCH", f"{lab.POOLS}/{name}", {"spec": spec}, MERGE)

    def _patch_operators(
        self, environment: Mapping[str, str], *, replicas: int | None = None, restarted: str = ""
    ) -> None:
        changed = [{"name": name, "value": value} for name, value in environment.items()]
        container = {"name": "operator", "env": changed}
        template: Json = {"spec": {"containers": [container]}}
        if restarted:  # as `kubectl rollout restart` does
            marks = {"kubectl.kubernetes.io/restartedAt": restarted}
            template["metadata"] = {"annotations": marks}
        spec: Json = {"template": template}
        if replicas is not None:
            spec["replicas"] = replicas
        self.installed.api.request("PATCH", DEPLOYMENT, {"spec": spec}, STRATEGIC)

    def _set_crd_version(self, version: str) -> None:
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{CRD}"
        marks = {"metadata": {"annotations": {ANNOTATION_BUNDLE_VERSION: version}}}
        self.installed.api.request("PATCH", path, marks, MERGE)


def _node() -> Json:
    """Return a Node that no agent has seen."""
    labels = {"test.openeni.io/bare": "yes"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": BARE, "labels": labels},
        "spec": {"providerID": f"openstack:///{uuid.uuid4()}", "unschedulable": True},
    }
