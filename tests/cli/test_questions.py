"""`diagnose`, `preflight` and `sweep`: what pods answer is shown, and what keeps them from it."""

import json
from typing import Any

import pytest
import yaml

from openeni_crds.conditions import Reason
from openeni_crds.meta import Json
from openeni_crds.names import LEASES, PODS
from openeni_crds.reasons import REASONS
from openeni_kube.answers import (
    FAILED,
    PASSED,
    UNKNOWN,
    WARNED,
    Check,
    CloudSweep,
    Diagnosis,
    Preflight,
    SweepForecast,
    Unanswered,
    difference,
)
from openeni_kube.command_line import ExitCode
from openeni_kube.containers.exec import ExecResult
from openeni_kube.store import NotFoundError, StoreError, UnreachableError
from openeni_testing.cli_cluster import HOME, CliCluster, condition

Capture = pytest.CaptureFixture[str]
OPERATOR = "openeni-operator-x"
AGENT = "openeni-agent-n1"
LOST = difference("ENI", "pods-0", Reason.PORT_LOST, "Neutron has no port 5")
LOST_TOO = difference("ENI", "pods-1", Reason.PORT_LOST, "Neutron has no port 6")
LEFT = difference("Node", "n1", None, "the kernel has 10.98.0.5", "read the agent's log")


@pytest.fixture
def answered(cluster: CliCluster) -> CliCluster:
    """Return a cluster whose operator and agent find nothing wrong."""
    cluster.execs.answer(OPERATOR, Diagnosis(compared={"ENIs": 1, "ports": 1}))
    cluster.execs.answer(AGENT, Diagnosis(compared={"pods": 3}))
    return cluster


def output(cluster: CliCluster, capsys: Capture, *words: str) -> tuple[int, Json]:
    code = cluster.run(*words, "-o", "json")
    found: Json = json.loads(capsys.readouterr().out)
    return code, found


def test_where_nothing_differs_the_exit_code_says_so(answered: CliCluster, capsys: Capture) -> None:
    assert answered.run("diagnose") == 0
    text = capsys.readouterr().out
    assert text.startswith("no differences\n")
    assert "operator compared 1 ENIs, 1 ports" in text
    assert "n1 compared 3 pods" in text


def test_the_programs_are_run_as_their_images_have_them(answered: CliCluster) -> None:
    answered.run("diagnose", "--timeout", "7")
    asked = {(a.namespace, a.pod, a.container, a.command, a.seconds) for a in answered.execs.asked}
    assert asked == {
        (HOME, OPERATOR, "operator", ("python", "-m", "openeni_operator", "ask", "diagnose"), 7),
        (HOME, AGENT, "agent", ("python", "-m", "openeni_nodeagent", "ask", "diagnose"), 7),
    }


def test_differences_are_shown_with_what_to_do_once_for_each_reason(
    answered: CliCluster, capsys: Capture
) -> None:
    answered.execs.answer(OPERATOR, Diagnosis((LOST, LOST_TOO)), 1)
    answered.execs.answer(AGENT, Diagnosis((LEFT,)), 1)
    assert answered.run("diagnose") == ExitCode.FOUND
    text = capsys.readouterr().out
    assert text.startswith("3 differences\n")
    assert "ENI pods-0: PortLost: Neutron has no port 5\nENI pods-1: PortLost:" in text
    assert text.count(f"what to do: {REASONS[Reason.PORT_LOST].plain_remedy}") == 1
    assert "Node n1: the kernel has 10.98.0.5\n    what to do: read the agent's log" in text


def test_programs_get_the_same_as_json_and_yaml(answered: CliCluster, capsys: Capture) -> None:
    answered.execs.answer(OPERATOR, Diagnosis((LOST,)), 1)
    code, found = output(answered, capsys, "diagnose")
    assert (code, [d["name"] for d in found["differences"]]) == (1, ["pods-0"])
    assert answered.run("diagnose", "-o", "yaml") == 1
    assert yaml.safe_load(capsys.readouterr().out) == found


def test_one_node_can_be_asked_for(answered: CliCluster, capsys: Capture) -> None:
    answered.node("n2")
    answered.workload_pod("openeni-agent-n2", "agent", "n2")
    assert output(answered, capsys, "diagnose", "--node", "n1")[0] == 0
    assert {a.pod for a in answered.execs.asked} == {OPERATOR, AGENT}
    assert answered.run("diagnose", "--node", "n7") == ExitCode.UNAVAILABLE
    assert "no agent runs on a node 'n7'" in capsys.readouterr().err


FORBIDDEN = StoreError(403, 'pods "x" is forbidden: User "eve" cannot create resource "pods/exec"')
TROUBLES: list[tuple[ExecResult | StoreError, str]] = [
    (FORBIDDEN, 'cannot create resource "pods/exec"; have an administrator of the cluster bind'),
    (NotFoundError(404, f'pods "{OPERATOR}" not found'), "not found"),
    (UnreachableError(0, "the connection ended before the program did"), "the connection ended"),
    (ExecResult(3, b'{"error":"the clouds.yaml is missing"}\n', ""), "the clouds.yaml is missing"),
    (
        ExecResult(2, b"", "usage: x\nopeneni-operator: error: invalid choice: 'diagnose'\n"),
        "invalid choice: 'diagnose'; it is of another release",
    ),
    (ExecResult(137, b"", "some noise\nKilled\n"), "it ends with status 137: Killed"),
    (ExecResult(0, b"warning\n", ""), "answers with what is no Diagnosis"),
]


@pytest.mark.parametrize(("trouble", "says"), TROUBLES)
def test_what_keeps_the_operator_from_an_answer_is_said_and_agents_answer_all_the_same(
    answered: CliCluster, capsys: Capture, trouble: ExecResult | StoreError, says: str
) -> None:
    answered.execs.results[OPERATOR] = trouble
    code, found = output(answered, capsys, "diagnose")
    assert code == ExitCode.UNAVAILABLE
    (said,) = found["unread"]
    assert says in said
    assert f"{HOME}/{OPERATOR}" in said
    assert found["compared"] == {"n1": {"pods": 3}}
    answered.execs.answer(AGENT, Diagnosis((LEFT,)), 1)
    assert answered.run("diagnose") == ExitCode.FOUND


@pytest.mark.parametrize(("trouble", "says"), TROUBLES[:6])
def test_where_nobody_answers_it_is_one_line(
    answered: CliCluster, capsys: Capture, trouble: ExecResult | StoreError, says: str
) -> None:
    answered.execs.results[OPERATOR] = trouble
    assert answered.run("preflight") == ExitCode.UNAVAILABLE
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("openeni: ")
    assert says in line


def test_an_operator_that_does_not_lead_is_asked_first(cluster: CliCluster) -> None:
    cluster.workload_pod("openeni-operator-y", "operator", "n1")  # x leads
    for pod in (OPERATOR, "openeni-operator-y"):
        cluster.execs.answer(pod, checks(PASSED))
    assert cluster.run("preflight") == 0
    cluster.store.refused[LEASES] = FORBIDDEN
    assert cluster.run("preflight") == 0
    assert [a.pod for a in cluster.execs.asked] == ["openeni-operator-y", OPERATOR]


def test_noise_on_standard_error_is_no_matter(answered: CliCluster, capsys: Capture) -> None:
    answered.execs.answer(OPERATOR, Diagnosis(), stderr="WARNING cloud call failed\n" * 9)
    assert output(answered, capsys, "diagnose")[0] == 0


def test_pods_that_are_not_ready_are_not_asked(cluster: CliCluster, capsys: Capture) -> None:
    for pod in (OPERATOR, AGENT):
        unready: Json = {"conditions": [condition("Ready", "")], "phase": "Running"}
        change = [{"op": "replace", "path": "/status", "value": unready}]
        cluster.store.patch(PODS, pod, HOME, operations=change, subresource="status")
    assert cluster.run("diagnose") == ExitCode.UNAVAILABLE
    said = capsys.readouterr().err
    assert "none of the 1 pods of the operator is ready to answer: `openeni status` says" in said
    assert "the agent of node n1 is not ready" in said
    assert cluster.execs.asked == []


def checks(*verdicts: str) -> Preflight:
    return Preflight(
        tuple(Check("quota", "default", v, f"it {v}", "QuotaExceeded", "ask") for v in verdicts)
    )


@pytest.mark.parametrize(
    ("verdicts", "code", "head"),
    [
        ((PASSED,), 0, "the cloud is fit\n"),
        ((PASSED, WARNED, WARNED), 0, "the cloud is fit, with 2 warnings\n"),
        ((WARNED, UNKNOWN), 3, "it is not known whether the cloud is fit: 1 check could not be"),
        ((UNKNOWN, FAILED, PASSED), 1, "the cloud is not fit: 1 check failed\n"),
    ],
)
def test_a_preflight_ends_as_its_worst_check_does(
    cluster: CliCluster, capsys: Capture, verdicts: tuple[str, ...], code: int, head: str
) -> None:
    cluster.execs.answer(OPERATOR, checks(*verdicts), 1)
    assert cluster.run("preflight") == code
    text = capsys.readouterr().out
    assert text.startswith(head)
    remedies = sum(v != PASSED for v in verdicts)
    assert text.count("    what to do: ask") == remedies


def test_a_canary_is_tried_only_where_a_node_is_named(cluster: CliCluster) -> None:
    cluster.execs.answer(OPERATOR, checks(PASSED))
    cluster.run("preflight")
    cluster.run("preflight", "--node", "n1")
    program = ("python", "-m", "openeni_operator", "ask", "preflight")
    assert [a.command for a in cluster.execs.asked] == [program, (*program, "--node", "n1")]


def sweep(**more: Any) -> SweepForecast:
    return SweepForecast((CloudSweep("default", "Report", 7, 6, **more),))


@pytest.mark.parametrize(
    ("answer", "code", "says"),
    [
        (sweep(), 0, "cloud default: no port is left over\n"),
        (sweep(left=("p1",), deletions=("p1",)), 1, "would be deleted: p1"),
        (sweep(lost=("pods-0",)), 1, "no port is listed for ENI pods-0"),
        (sweep(error="no route"), 3, "cloud default: not known: no route"),
        (SweepForecast(), 0, "no cloud has an ENIPool or an ENI"),
    ],
)
def test_a_sweep_tells_what_is_left_over(
    cluster: CliCluster, capsys: Capture, answer: SweepForecast, code: int, says: str
) -> None:
    cluster.execs.answer(OPERATOR, answer, int(bool(code)))
    assert cluster.run("sweep", "--dry-run") == code
    assert says in capsys.readouterr().out


def test_a_sweep_that_deletes_is_the_operators(cluster: CliCluster, capsys: Capture) -> None:
    assert cluster.run("sweep") == ExitCode.USAGE
    assert "only --dry-run" in capsys.readouterr().err
    assert cluster.execs.asked == []


def test_an_error_is_no_empty_answer(cluster: CliCluster, capsys: Capture) -> None:
    cluster.execs.answer(OPERATOR, Unanswered("Keystone is down"), 3)
    assert cluster.run("sweep", "--dry-run") == ExitCode.UNAVAILABLE
    assert "Keystone is down" in capsys.readouterr().err
