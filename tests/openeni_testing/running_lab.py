"""What system tests ask of a running lab: objects, Neutron's ports, kernels, programs."""

import json
from typing import Any, Final

from openeni_lab import workloads
from openeni_lab.demonstration import Running
from openeni_lab.machine import Machine
from openeni_lab.openeni import AGENT, OPERATOR
from openeni_lab.openstack import client_environment
from openeni_lab.progress import Lines
from openeni_lab.reach import is_ready
from openeni_lab.steps import run as run_steps
from openeni_testing.waiting import wait_for

Json = dict[str, Any]

GROUP: Final = "/apis/openeni.io/v1alpha1"
POOLS: Final = f"{GROUP}/enipools"
ENIS: Final = f"{GROUP}/enis"
PODIPS: Final = f"{GROUP}/podips"
DEPLOYMENTS: Final = "/apis/apps/v1/namespaces/default/deployments"
PODS: Final = "/api/v1/namespaces/default/pods"
PATIENCE: Final = 180.0


def neutron_ports(running: Running) -> dict[str, Json]:
    """openeni's ports by id, as `openstack port list` in the lab shows them."""
    openstack = str(running.lab.built.openstack_venv / "bin" / "openstack")
    words = [openstack, "port", "list", "--long", "--format", "json"]
    environment = client_environment(running.lab.layout)
    listed = json.loads(running.lab.machine.check(words, env=environment, timeout=120))
    return {p["ID"]: p for p in listed if p["Name"].startswith("openeni-")}


def deploy(running: Running, name: str, pool: str, replicas: int) -> list[Json]:
    """A Deployment on a pool; returns its pods once all of them are ready."""
    running.api.apply([workloads.deployment(name, pool, replicas)])
    return wait_for_pods(running, name, replicas)


def scale(running: Running, name: str, replicas: int) -> None:
    body = {"spec": {"replicas": replicas}}
    path = f"{DEPLOYMENTS}/{name}/scale"
    running.api.request("PATCH", path, body, "application/merge-patch+json")


def wait_for_pods(running: Running, name: str, count: int) -> list[Json]:
    def found() -> list[Json]:
        pods = running.api.items(PODS, labelSelector=f"app={name}")
        assert len(pods) == count, f"{len(pods)} pods"
        waiting = [p["metadata"]["name"] for p in pods if not is_ready(p)]
        assert not waiting, f"not ready: {waiting}"
        return pods

    return wait_for(found, f"{count} ready pods of {name}", PATIENCE) if count else []


def remove(running: Running, *deployments: str, pools: tuple[str, ...] = ()) -> None:
    """Delete them and wait until nothing of them is left in the API."""
    for name in deployments:
        running.api.delete(f"{DEPLOYMENTS}/{name}")
        running.api.delete(f"/api/v1/namespaces/default/services/{name}")
    wait_for(lambda: not running.api.items(PODIPS), "no PodIP left", PATIENCE)
    for pool in pools:
        running.api.delete(f"{POOLS}/{pool}")
    if pools:
        wait_for(lambda: not running.api.items(ENIS), "no ENI left", PATIENCE)
        wait_for(lambda: not running.api.items(POOLS), "no ENIPool left", PATIENCE)


def condition(running: Running, pool: str, type_: str) -> Json:
    """A condition of a pool; an AssertionError while it is not there."""
    found = running.api.get(f"{POOLS}/{pool}") or {}
    for c in found.get("status", {}).get("conditions", ()):
        if c["type"] == type_:
            there: Json = c
            return there
    raise AssertionError(f"{pool} has no condition {type_}")


def wait_for_condition(running: Running, pool: str, type_: str, status: str, reason: str) -> str:
    """Wait for it; returns its message."""

    def as_wanted() -> Json:
        c = condition(running, pool, type_)
        assert (c["status"], c["reason"]) == (status, reason), str(c)
        return c

    found = wait_for(as_wanted, f"{pool}: {type_}={status} {reason}", PATIENCE)
    return str(found["message"])


def kernel_state(machine: Machine) -> list[str]:
    """Everything on a node that carries openeni's marks: links, routes, rules."""
    links = json.loads(machine.check(["ip", "-json", "-details", "link"]))
    found = [f"link {li['ifname']}" for li in links if li["ifname"].startswith("oe")]
    for family in ("-4", "-6"):
        for words in (["route", "show", "table", "all", "proto", "94"], ["rule", "show"]):
            lines = machine.check(["ip", family, *words]).splitlines()
            wanted = (li for li in lines if words[0] == "route" or "proto 94" in li)
            found += [f"{words[0]} {line}" for line in wanted]
    return found


def kill(machine: Machine, program: str) -> None:
    """SIGKILL to a program of a machine."""
    machine.check(["kill", "-KILL", str(machine.list()[program].pid)])
    wait_for(lambda: not machine.running(program), f"{program} is dead", 20)


def restart(running: Running, component: str, node: str = "n1") -> None:
    """Start the operator or a node's agent again, as the chart says, and wait until it is ready."""
    place = next(n for n in running.lab.layout.nodes if n.name == node)
    run_steps([running.installation.start(component, place)], Lines())


def machine_of(running: Running, component: str, node: str) -> Machine:
    return running.lab.machine if component == OPERATOR else running.installation.nodes[node]


COMPONENTS: Final = ((OPERATOR, "n1"), (AGENT, "n1"), (AGENT, "n2"))
