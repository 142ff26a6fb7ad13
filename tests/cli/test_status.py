"""`openeni status`: problems first, each with its reason, since when, and what to do."""

import json
from typing import Any

import pytest
import yaml

from openeni_crds.conditions import Reason
from openeni_crds.meta import Json
from openeni_crds.names import DAEMONSETS, DEPLOYMENTS, ENIPOOLS, ENIS, LEASES, PODIPS, PODS
from openeni_crds.reasons import REASONS
from openeni_crds.reasons.progress import ALL_IS_WELL, IN_PROGRESS
from openeni_testing.cli_cluster import HOME, READY, CliCluster, ago, condition

Capture = pytest.CaptureFixture[str]


def report(cluster: CliCluster, capsys: Capture) -> Json:
    cluster.run("status", "-o", "json")
    found: Json = json.loads(capsys.readouterr().out)
    return found


def problems(cluster: CliCluster, capsys: Capture) -> list[tuple[str, str, str]]:
    found = report(cluster, capsys)["problems"]
    return [(p["kind"], p["name"], p["reason"]) for p in found]


def test_where_all_is_well_nothing_is_a_problem(cluster: CliCluster, capsys: Capture) -> None:
    cluster.eni("pods-0")
    cluster.podip("web-0")
    assert cluster.run("status") == 0
    text = capsys.readouterr().out
    assert text.startswith("no problems\n")
    assert "1 node, 1 ENI, 1 PodIP" in text


def test_a_problem_has_its_age_its_message_and_the_remedy_of_the_documentation(
    cluster: CliCluster, capsys: Capture
) -> None:
    why = "cloud 'default': Quota exceeded for resources: ['port']"
    bad = condition("PortReady", "QuotaExceeded", since=720, message=why)
    cluster.eni("pods-0", bad, condition("Ready", "QuotaExceeded"))
    assert cluster.run("status") == 1
    text = capsys.readouterr().out
    assert text.startswith("1 problem\n")
    assert f"ENI pods-0: QuotaExceeded (PortReady), for 12m: {why}" in text
    assert f"what to do: {REASONS[Reason.QUOTA_EXCEEDED].plain_remedy}" in text


@pytest.mark.parametrize("reason", [r for r in Reason if r not in ALL_IS_WELL])
def test_every_reason_that_lasts_is_a_problem_with_something_to_do(
    cluster: CliCluster, capsys: Capture, reason: Reason
) -> None:
    cluster.eni("pods-0", condition("PortReady", reason, since=301))
    (problem,) = report(cluster, capsys)["problems"]
    assert problem["reason"] == reason
    assert problem["remedy"] == REASONS[reason].plain_remedy != ""


@pytest.mark.parametrize("reason", IN_PROGRESS)
def test_what_may_still_come_right_is_no_problem_at_first(
    cluster: CliCluster, capsys: Capture, reason: Reason
) -> None:
    cluster.eni("pods-0", condition("Attached", reason, since=200))
    assert cluster.run("status") == 0
    assert f"1 in progress\n\nENI pods-0: {reason} (Attached), for" in capsys.readouterr().out


@pytest.mark.parametrize("reason", ALL_IS_WELL)
def test_a_condition_whose_reason_says_that_all_is_well_is_none(
    cluster: CliCluster, capsys: Capture, reason: Reason
) -> None:
    cluster.podip("web-0", condition("Assigned", reason))
    assert problems(cluster, capsys) == []


def test_a_reason_of_a_newer_release_is_shown(cluster: CliCluster, capsys: Capture) -> None:
    cluster.eni("pods-0", condition("PortReady", "NeverHeardOf"))
    (problem,) = report(cluster, capsys)["problems"]
    assert problem["reason"] == "NeverHeardOf"
    assert "docs/conditions.md" in problem["remedy"]


def test_conditions_of_one_reason_are_one_problem(cluster: CliCluster, capsys: Capture) -> None:
    cluster.pool(
        "other",
        condition("CloudReachable", "CloudUnreachable", message="no route"),
        condition("Supported", "CloudUnreachable", status="Unknown"),
        condition("Ready", "CloudUnreachable"),
    )
    (problem,) = report(cluster, capsys)["problems"]
    assert problem["conditions"] == ["CloudReachable", "Supported"]
    assert problem["message"] == "no route"


def test_a_lost_address_is_a_problem_where_its_condition_is_true(
    cluster: CliCluster, capsys: Capture
) -> None:
    cluster.podip("web-0", READY, condition("AddressLost", "PortLost", status="True"))
    cluster.podip("web-1", READY, condition("AddressLost", "Assigned", status="False"))
    assert problems(cluster, capsys) == [("PodIP", "default/web-0", "PortLost")]


def test_an_address_that_is_kept_is_no_problem(cluster: CliCluster, capsys: Capture) -> None:
    kept = [condition(t, "Retained") for t in ("Ready", "Assigned", "DatapathReady")]
    cluster.podip("web-0", *kept, condition("Retained", "Retained", status="True"))
    assert problems(cluster, capsys) == []


def test_an_object_without_a_status_is_a_problem_after_a_minute(
    cluster: CliCluster, capsys: Capture
) -> None:
    body: Json = {"subnets": [{"name": "a"}], "securityGroups": [], "datapath": {"mode": "Veth"}}
    cluster.put(ENIPOOLS, {"metadata": {"name": "new"}, "spec": body}, created=30)
    cluster.put(ENIPOOLS, {"metadata": {"name": "old"}, "spec": body}, created=90)
    assert problems(cluster, capsys) == [("ENIPool", "old", "NoStatus")]


def test_an_object_of_another_release_is_a_problem_and_no_other_command_passes_it_over(
    cluster: CliCluster, capsys: Capture
) -> None:
    cluster.eni("pods-0")
    cluster.podip("web-0")
    for kind, name in ((ENIS, "mtu"), (PODIPS, "datapathMode")):
        (body,) = cluster.store.list(kind).items
        cluster.store.damage(body, "spec", name, "of the future")
    found = problems(cluster, capsys)
    assert found == [("ENI", "pods-0", "Unreadable"), ("PodIP", "default/web-0", "Unreadable")]
    for words in (["drain-node", "n1"], ["plan"], ["trace", "pod", "default/web-0"]):
        assert cluster.run(*words) == 3
        assert "use this command of the operator's release" in capsys.readouterr().err


def test_of_many_objects_with_one_reason_the_text_shows_some(
    cluster: CliCluster, capsys: Capture
) -> None:
    for i in range(8):
        cluster.eni(f"pods-{i}", condition("Attached", "NoHotplugSlot"))
        cluster.podip(f"web-{i}", condition("DatapathReady", "KernelRefused"))
    cluster.run("status")
    text = capsys.readouterr().out
    assert text.startswith("2 problems with 16 objects\n")
    assert text.count("ENI pods-") == 5
    assert "ENI: 3 more with NoHotplugSlot; -o json has them" in text
    assert "PodIP: 3 more with KernelRefused" in text


def test_yaml_and_json_say_the_same(cluster: CliCluster, capsys: Capture) -> None:
    cluster.eni("pods-0", condition("Attached", "NoHotplugSlot", message="Flavor: 2 NICs\tonly"))
    as_json = report(cluster, capsys)
    cluster.run("status", "-o", "yaml")
    as_yaml = yaml.safe_load(capsys.readouterr().out)
    assert as_yaml["problems"] == as_json["problems"]
    assert as_yaml["pools"] == as_json["pools"]


# openeni's own workloads, and nodes


def test_a_cluster_without_openeni_is_told_so(capsys: Capture) -> None:
    assert problems(CliCluster(), capsys) == [("Deployment", "openeni-operator", "NotInstalled")]


def waiting(reason: str, **more: Any) -> Json:
    state = {"waiting": {"reason": reason, "message": f"{reason} it says"}}
    return {"name": "agent", "restartCount": 3, "state": state, **more}


@pytest.mark.parametrize(
    ("status", "reason", "says"),
    [
        (
            waiting(
                "CrashLoopBackOff",
                lastState={"terminated": {"reason": "OOMKilled", "exitCode": 137}},
            ),
            "CrashLoopBackOff",
            "ended last by OOMKilled (exit code 137)",
        ),
        (waiting("ImagePullBackOff"), "ImagePullBackOff", "ImagePullBackOff it says"),
        (waiting("ContainerCreating"), "NotReady", "on node n2"),
    ],
)
def test_a_pod_of_openeni_that_is_not_ready_says_why(
    cluster: CliCluster, capsys: Capture, status: Json, reason: str, says: str
) -> None:
    cluster.workload_pod(
        "openeni-agent-n2",
        "agent",
        "n2",
        conditions=[condition("Ready", "ContainersNotReady", since=600)],
        containerStatuses=[status],
    )
    (problem,) = report(cluster, capsys)["problems"]
    assert (problem["kind"], problem["name"]) == ("Pod", f"{HOME}/openeni-agent-n2")
    assert problem["reason"] == reason
    assert says in problem["message"]
    assert problem["remedy"]


def test_a_pod_that_finds_no_node_has_the_schedulers_words(
    cluster: CliCluster, capsys: Capture
) -> None:
    why = "0/3 nodes are available: 3 Insufficient memory."
    unscheduled = condition("PodScheduled", "Unschedulable", message=why)
    cluster.workload_pod("openeni-operator-y", "operator", "", conditions=[unscheduled])
    (problem,) = report(cluster, capsys)["problems"]
    assert problem["reason"] == "Unschedulable"
    assert problem["message"] == why


@pytest.mark.parametrize("phase", ["Failed", "Succeeded"])
def test_what_is_left_of_an_evicted_pod_is_no_problem(
    cluster: CliCluster, capsys: Capture, phase: str
) -> None:
    cluster.workload_pod("openeni-operator-y", "operator", "n1", phase=phase, conditions=[])
    assert problems(cluster, capsys) == []


def test_a_pod_that_has_just_started_is_no_problem(cluster: CliCluster, capsys: Capture) -> None:
    unready = condition("Ready", "ContainersNotReady", since=20)
    cluster.workload_pod("openeni-agent-n2", "agent", "n2", conditions=[unready])
    assert problems(cluster, capsys) == []


@pytest.mark.parametrize("spec", [{"renewTime": ago(300), "holderIdentity": "x"}, {}, None])
def test_without_a_leader_nothing_goes_on(
    cluster: CliCluster, capsys: Capture, spec: Json | None
) -> None:
    cluster.store.delete(LEASES, "openeni-operator", HOME)
    if spec is not None:
        meta = {"name": "openeni-operator", "namespace": HOME}
        cluster.put(LEASES, {"metadata": meta, "spec": spec})
    assert problems(cluster, capsys) == [("Lease", f"{HOME}/openeni-operator", "NoLeader")]


def test_a_rollout_without_its_pods_has_the_controllers_words(
    cluster: CliCluster, capsys: Capture
) -> None:
    cluster.store.delete(DEPLOYMENTS, "openeni-operator", HOME)
    cluster.store.delete(DAEMONSETS, "openeni-agent", HOME)
    labels = {"app.kubernetes.io/name": "openeni"}
    failure = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: small"}
    body: Json = {
        "metadata": {"name": "openeni-operator", "namespace": HOME, "labels": labels},
        "spec": {"replicas": 2},
        "status": {"replicas": 0, "conditions": [failure]},
    }
    cluster.put(DEPLOYMENTS, body)
    (problem,) = report(cluster, capsys)["problems"]
    assert (problem["reason"], problem["message"]) == ("PodsMissing", "exceeded quota: small")


def test_a_node_of_a_pool_without_an_agent_is_a_problem(
    cluster: CliCluster, capsys: Capture
) -> None:
    cluster.node("n2")
    cluster.node("bare-metal", providerID="")
    assert problems(cluster, capsys) == [("Node", "n2", "NoAgent")]


def test_a_node_with_openenis_taint_is_a_problem(cluster: CliCluster, capsys: Capture) -> None:
    taint = {"key": "node.openeni.io/agent-not-ready", "timeAdded": ago(90)}
    cluster.node("n2", taints=[taint])
    cluster.workload_pod("openeni-agent-n2", "agent", "n2")
    (problem,) = report(cluster, capsys)["problems"]
    assert (problem["name"], problem["reason"]) == ("n2", "AgentNotReady")
    assert problem["since"] == taint["timeAdded"]


def test_the_operator_comes_first_then_pools_then_what_depends_on_them(
    cluster: CliCluster, capsys: Capture
) -> None:
    cluster.podip("web-0", condition("DatapathReady", "KernelRefused"))
    cluster.eni("pods-0", condition("Attached", "NoHotplugSlot"))
    cluster.pool("other", condition("Ready", "NotFound"))
    cluster.node("n2")
    cluster.store.delete(LEASES, "openeni-operator", HOME)
    kinds = [kind for kind, _, _ in problems(cluster, capsys)]
    assert kinds == ["Lease", "ENIPool", "Node", "ENI", "PodIP"]


def test_pods_of_others_are_not_read(cluster: CliCluster) -> None:
    body: Json = {"metadata": {"name": "web", "namespace": "shop"}, "spec": {}}
    cluster.put(PODS, body, {"phase": "Pending"})
    assert cluster.run("status") == 0
    assert PODIPS in cluster.store.asked
