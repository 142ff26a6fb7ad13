"""Operations of system tests on an installed lab: objects, Neutron's ports, kernels, programs."""

import json
import sys
from collections.abc import Callable
from typing import Any, Final

import yaml

from openeni_crds.names import CONTROLLER_AGENT, LINK_PREFIX
from openeni_lab import layout
from openeni_lab.cloud.access import client_environment
from openeni_lab.machine.client import Machine
from openeni_lab.product import pods, workloads
from openeni_lab.product.chart import NAMESPACE
from openeni_lab.product.installed_lab import InstalledLab
from openeni_lab.product.pods import AGENT, OPERATOR, ProductContainer
from openeni_lab.product.reach import is_ready
from openeni_testing.waiting import wait_for

Json = dict[str, Any]
Kill = Callable[..., None]  # kill(component, node="n1"), of the fixture of that name
Start = Callable[..., None]  # start(name, program, *words), in Python

GROUP: Final = "/apis/openeni.io/v1alpha1"
POOLS: Final = f"{GROUP}/enipools"
ENIS: Final = f"{GROUP}/enis"
PODIPS: Final = f"{GROUP}/podips"
DEPLOYMENTS: Final = "/apis/apps/v1/namespaces/default/deployments"
PODS: Final = "/api/v1/namespaces/default/pods"
UNINSTALL_JOB: Final = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs/openeni-uninstall"
CONFLIST: Final = "/etc/cni/net.d/10-openeni.conflist"
LEASE: Final = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/openeni-operator"
PATIENCE: Final = 180.0
# Of the fixture `deployed`, which many tests share.
VETH: Final = "veth"
WEB: Final = "web"
REPLICAS: Final = 4


# `openstack port list` says the same, and takes seconds for it.
_LIST_PORTS: Final = """
import json, sys, urllib.request as http
auth_url, ports_url, identity = json.load(sys.stdin)
body = json.dumps({"auth": {"identity": identity}}).encode()
headers = {"Content-Type": "application/json"}
asked = http.Request(f"{auth_url}/auth/tokens", body, headers)
token = http.urlopen(asked, timeout=30).headers["X-Subject-Token"]
listed = http.Request(ports_url, headers={"X-Auth-Token": token})
print(http.urlopen(listed, timeout=30).read().decode())
"""


def neutron_ports(installed: InstalledLab) -> dict[str, Json]:
    """Return openeni's ports by id, as Neutron has them."""
    clouds = yaml.safe_load(installed.lab.layout.clouds_yaml.read_text())["clouds"]
    auth = clouds["openeni"]["auth"]
    credential = {
        "id": auth["application_credential_id"],
        "secret": auth["application_credential_secret"],
    }
    identity = {"methods": ["application_credential"], "application_credential": credential}
    ports_url = f"http://127.0.0.1:{layout.NEUTRON_PORT}/v2.0/ports"
    asked = json.dumps([auth["auth_url"], ports_url, identity]).encode()
    words = [sys.executable, "-S", "-c", _LIST_PORTS]
    listed = json.loads(installed.lab.machine.check(words, stdin=asked, timeout=90))["ports"]
    return {p["id"]: p for p in listed if p["name"].startswith("openeni-")}


def openstack(installed: InstalledLab, *words: str) -> None:
    """Run OpenStack's command line client in the lab, as the ENIs' project."""
    program = str(installed.lab.built.openstack_venv / "bin" / "openstack")
    environment = client_environment(installed.lab.layout)
    installed.lab.machine.check([program, *words], env=environment, timeout=120)


def deploy(installed: InstalledLab, name: str, pool: str, replicas: int) -> list[Json]:
    """Create a Deployment on a pool; return its pods once all of them are ready."""
    installed.api.apply([workloads.deployment(name, pool, replicas)])
    return wait_for_pods(installed, name, replicas)


def start_on(installed: InstalledLab, node: str, name: str, pool: str = "") -> Json:
    """Start a pod on a node, past the scheduler; return it once it is ready."""
    body = workloads.deployment(name, pool, 1)
    body["spec"]["template"]["spec"]["nodeName"] = node
    installed.api.apply([body])
    (pod,) = wait_for_pods(installed, name, 1)
    return pod


def pod_events(installed: InstalledLab, app: str) -> list[Json]:
    """Return the Events that agents have recorded about the pods of an app."""
    events = installed.api.items("/apis/events.k8s.io/v1/namespaces/default/events")
    return [
        e
        for e in events
        if e.get("reportingController") == CONTROLLER_AGENT
        and e["regarding"]["name"].startswith(f"{app}-")
    ]


def has_file(installed: InstalledLab, node: str, path: str) -> bool:
    """Return whether a node has a file."""
    return installed.nodes[node].run(["test", "-e", path]).code == 0


def scale(installed: InstalledLab, name: str, replicas: int) -> None:
    body = {"spec": {"replicas": replicas}}
    path = f"{DEPLOYMENTS}/{name}/scale"
    installed.api.request("PATCH", path, body, "application/merge-patch+json")


def wait_for_pods(installed: InstalledLab, name: str, count: int) -> list[Json]:
    def found() -> list[Json]:
        pods = installed.api.items(PODS, labelSelector=f"app={name}")
        assert len(pods) == count, f"{len(pods)} pods"
        waiting = [p["metadata"]["name"] for p in pods if not is_ready(p)]
        assert not waiting, f"not ready: {waiting}"
        return pods

    return wait_for(found, f"{count} ready pods of {name}", PATIENCE) if count else []


def enis_of(installed: InstalledLab, *pools: str) -> list[Json]:
    return [eni for eni in installed.api.items(ENIS) if eni["spec"]["poolName"] in pools]


def podips_on(installed: InstalledLab, enis: list[Json]) -> list[Json]:
    names = {eni["metadata"]["name"] for eni in enis}
    return [podip for podip in installed.api.items(PODIPS) if podip["spec"].get("eniName") in names]


def addresses_of(podip: Json) -> list[str]:
    """Return a PodIP's addresses, IPv4 first."""
    spec = podip["spec"]
    return [spec[field] for field in ("address", "addressIPv6") if field in spec]


def pod_addresses(pod: Json) -> list[str]:
    """Return a Pod's addresses, as Kubernetes shows them."""
    return [ip["ip"] for ip in pod["status"].get("podIPs", ())]


def wait_until_gone(installed: InstalledLab, pool: str) -> None:
    """Wait until a deleted pool and its ENIs are gone."""
    wait_for(lambda: installed.api.get(f"{POOLS}/{pool}") is None, f"{pool} is gone", PATIENCE)
    assert enis_of(installed, pool) == []


def wait_until_all_agree(installed: InstalledLab, pool: str) -> None:
    """Wait until pods, PodIPs, ENIs and Neutron agree on a pool's addresses."""

    def agree() -> bool:
        enis = enis_of(installed, pool)
        owned = _owned_addresses(enis, neutron_ports(installed))
        podips = podips_on(installed, enis)
        granted = [address for podip in podips for address in addresses_of(podip)]
        assert len(granted) == len(set(granted)), f"granted twice: {sorted(granted)}"
        for podip in podips:
            stray = {*addresses_of(podip)} - owned[podip["spec"]["eniName"]]
            assert not stray, f"{stray} is not on {podip['spec']['eniName']}"
        found = {(_name(podip), *addresses_of(podip)) for podip in podips}
        pods = {(_name(p), *pod_addresses(p)) for p in _pods_of(installed, pool)}
        assert found == pods, f"PodIPs {sorted(found)}, pods {sorted(pods)}"
        return True

    wait_for(agree, f"all agree on {pool}", PATIENCE)


def _owned_addresses(enis: list[Json], ports: dict[str, Json]) -> dict[str, set[str]]:
    """Return the addresses for pods by ENI; raise AssertionError if Neutron disagrees."""
    assert enis, "no ENI"
    owned: dict[str, set[str]] = {}
    for eni in enis:
        known = eni.get("status", {}).get("port", {})
        port = ports.get(known.get("id", ""))
        assert port, f"{eni['metadata']['name']} has no port"
        neutron = port["mac_address"], port["status"], {f["ip_address"] for f in port["fixed_ips"]}
        ours = known["macAddress"], "ACTIVE", {*known["addresses"], *known["primary"]}
        assert neutron == ours, f"Neutron has {neutron}, the ENI {ours}"
        owned[eni["metadata"]["name"]] = set(known["addresses"])
    return owned


def _name(found: Json) -> str:
    return f"{found['metadata']['namespace']}/{found['metadata']['name']}"


def _pods_of(installed: InstalledLab, pool: str) -> list[Json]:
    """Return the pods that name this pool."""

    def asks(metadata: Json) -> bool:
        annotations: dict[str, str] = metadata.get("annotations", {})
        return annotations.get("openeni.io/pool") == pool

    return [pod for pod in installed.api.items("/api/v1/pods") if asks(pod["metadata"])]


def condition(installed: InstalledLab, pool: str, type_: str) -> Json:
    """Return a condition of a pool; raise AssertionError if it is missing."""
    found = installed.api.get(f"{POOLS}/{pool}") or {}
    for c in found.get("status", {}).get("conditions", ()):
        if c["type"] == type_:
            there: Json = c
            return there
    raise AssertionError(f"{pool} has no condition {type_}")


def wait_for_condition(
    installed: InstalledLab, pool: str, type_: str, status: str, reason: str
) -> str:
    """Wait for a condition; return its message."""

    def as_wanted() -> Json:
        c = condition(installed, pool, type_)
        assert (c["status"], c["reason"]) == (status, reason), str(c)
        return c

    found = wait_for(as_wanted, f"{pool}: {type_}={status} {reason}", PATIENCE)
    return str(found["message"])


def kernel_state(machine: Machine) -> list[str]:
    """Return the links, routes and rules on a node that have openeni's marks."""
    links = json.loads(machine.check(["ip", "-json", "-details", "link"]))
    found = [f"link {li['ifname']}" for li in links if li["ifname"].startswith(LINK_PREFIX)]
    for family in ("-4", "-6"):
        for words in (["route", "show", "table", "all", "proto", "94"], ["rule", "show"]):
            lines = machine.check(["ip", family, *words]).splitlines()
            wanted = (li for li in lines if words[0] == "route" or "proto 94" in li)
            found += [f"{words[0]} {line}" for line in wanted]
    return found


def kill(installed: InstalledLab, component: str, node: str = "", signal: str = "KILL") -> str:
    """Kill a component (as for `container`), and wait until the kubelet's next one is ready.

    Returns the id of its exit, as `pods.exits` has it.
    """
    killed = container(installed, component, node)
    send(installed, killed, signal)

    def ready_again() -> ProductContainer | None:
        now = container(installed, component, killed.node)
        return now if now.ready and now.restarts > killed.restarts else None

    now = wait_for(ready_again, f"the next {component}", PATIENCE)
    return f"{now.uid}/{now.restarts}"


def send(installed: InstalledLab, to: ProductContainer, signal: str) -> None:
    """Send a signal to a container's first process."""
    installed.lab.node(to.node).ctr("tasks", "kill", "--signal", signal, to.runtime_id)


def container(installed: InstalledLab, component: str, node: str = "") -> ProductContainer:
    """Return a component's container on a node, or else the operator that leads.

    It is as its pod's status has it, as soon as there is one: a pod may just be replaced.
    """

    def only() -> ProductContainer:
        leads = "" if node else leader(installed)
        found = [c for c in pods.containers(installed.api) if c.component == component]
        matching = [c for c in found if c.node == node or c.pod == leads]
        assert len(matching) == 1, f"there are {len(matching)}"
        return matching[0]

    return wait_for(only, f"one {component}", PATIENCE)


def leader(installed: InstalledLab) -> str:
    """Return the pod's name of the operator that leads, as soon as one does."""

    def held() -> str:
        lease = installed.api.get(LEASE) or {"spec": {}}
        return str(lease["spec"].get("holderIdentity", ""))

    return wait_for(held, "an operator leads", PATIENCE)


def log_of(installed: InstalledLab, component: str, node: str = "") -> str:
    """Return the log of a component's container (as for `container`) since it started."""
    pod = container(installed, component, node).pod
    path = f"{pods.PODS}/{pod}/log?container={component}"
    return str(installed.api.request("GET", path)["text"])


def kernel_pid(installed: InstalledLab, found: ProductContainer) -> int:
    """Return the process id of a container's first process, on its node."""
    listed = installed.lab.node(found.node).ctr("tasks", "list")
    (pid,) = (line.split()[1] for line in listed.splitlines() if found.runtime_id in line)
    return int(pid)


COMPONENTS: Final = tuple((c, node) for c in (OPERATOR, AGENT) for node in ("n1", "n2"))
