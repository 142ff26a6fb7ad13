"""What is read from the status of openeni's pods and workloads, as a kubelet writes it."""

from typing import Any, cast

import pytest

from openeni_lab.kubernetes.api import Api, ApiError
from openeni_lab.product import pods

Json = dict[str, Any]


class Answers:
    """An API server that has these objects and lists these pods."""

    def __init__(self, objects: dict[str, Json], *listed: Json) -> None:
        self._objects, self._listed = objects, list(listed)
        self.events: list[Json] = []

    def get(self, path: str) -> Json | None:
        return self._objects.get(path)

    def request(self, _method: str, _path: str) -> Json:
        return {"text": "no route\n"}

    def items(self, path: str, **_query: str) -> list[Json]:
        return self.events if path == pods.EVENTS else self._listed


def api(objects: dict[str, Json] | None = None, *listed: Json) -> Api:
    return cast("Api", Answers(objects or {}, *listed))


def workload(generation: int, observed: int, **status: int) -> Json:
    return {
        "metadata": {"generation": generation},
        "spec": {"replicas": 1},
        "status": {"observedGeneration": observed, **status},
    }


OPERATOR = workload(2, 2, replicas=1, updatedReplicas=1, availableReplicas=1)
AGENTS = workload(1, 1, desiredNumberScheduled=2, updatedNumberScheduled=2, numberReady=2)


def test_a_rollout_is_complete_when_every_replica_is_new_and_ready() -> None:
    assert pods.rolled_out(api({pods.DEPLOYMENT: OPERATOR, pods.DAEMON_SET: AGENTS}), 2)


@pytest.mark.parametrize(
    ("operator", "agents"),
    [
        (None, AGENTS),
        (OPERATOR, None),
        (workload(3, 2, replicas=1, updatedReplicas=1, availableReplicas=1), AGENTS),
        (workload(2, 2, replicas=2, updatedReplicas=1, availableReplicas=1), AGENTS),
        (workload(2, 2, replicas=1, updatedReplicas=1), AGENTS),
        (workload(2, 2), AGENTS),
        (OPERATOR, workload(1, 0)),
        (OPERATOR, workload(1, 1)),
        (OPERATOR, workload(1, 1, desiredNumberScheduled=2, updatedNumberScheduled=2)),
        (
            OPERATOR,
            workload(1, 1, desiredNumberScheduled=2, updatedNumberScheduled=1, numberReady=2),
        ),
        (
            OPERATOR,
            workload(1, 1, desiredNumberScheduled=1, updatedNumberScheduled=1, numberReady=1),
        ),
    ],
)
def test_otherwise_it_is_not(operator: Json | None, agents: Json | None) -> None:
    there = {pods.DEPLOYMENT: operator, pods.DAEMON_SET: agents}
    assert not pods.rolled_out(api({path: o for path, o in there.items() if o}), 2)


def pod(component: str, status: Json | None = None, **metadata: str) -> Json:
    labels = {"app.kubernetes.io/component": component}
    return {
        "metadata": {"name": f"openeni-{component}-x", "uid": "u1", "labels": labels, **metadata},
        "spec": {"nodeName": "n1", "containers": [{"image": f"{component}:1"}]},
        "status": {"containerStatuses": [status]} if status else {},
    }


RUNNING: Json = {
    "containerID": "containerd://abc",
    "ready": True,
    "started": True,
    "restartCount": 0,
    "state": {"running": {}},
}


def ended(code: int, reason: str = "Error") -> Json:
    end = {"exitCode": code, "reason": reason, "finishedAt": "2026-11-26T10:00:00Z"}
    return RUNNING | {"restartCount": 3, "lastState": {"terminated": end}}


def test_a_running_container_is_described() -> None:
    (found,) = pods.containers(api({}, pod("agent", RUNNING)))
    assert (found.component, found.node, found.runtime_id) == ("agent", "n1", "abc")
    assert found.ready
    assert found.waiting == ""
    assert pods.hindrances(api({}, pod("agent", RUNNING))) == ""


def test_a_pod_that_is_being_deleted_does_not_count() -> None:
    going = pod("agent", RUNNING, deletionTimestamp="2026-11-26T10:00:00Z")
    assert pods.containers(api({}, going)) == []


def test_what_hinders_a_rollout_is_said_for_each_container() -> None:
    waiting = {"reason": "ErrImageNeverPull", "message": "not present"}
    listed = (
        pod("operator", {"state": {"waiting": waiting}}),
        pod("agent", RUNNING | {"ready": False}),
        pod("agent"),
    )
    assert pods.hindrances(api({}, *listed)) == (
        "operator on n1: ErrImageNeverPull: not present; agent on n1: not ready; "
        "agent on n1: starting"
    )


def test_an_api_server_that_does_not_answer_hinders_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_query: object) -> list[Json]:
        raise ApiError(0, "the API server does not answer")

    monkeypatch.setattr(Answers, "items", refuse)
    assert pods.hindrances(api()) == "the API server does not answer"


@pytest.mark.parametrize(
    ("code", "reason", "how"),
    [
        (1, "Error", "ended with 1"),
        (137, "OOMKilled", "ended by SIGKILL (signal 9) (OOMKilled)"),
        (139, "Error", "ended by SIGSEGV (signal 11)"),
        (255, "Error", "ended with 255"),
        (0, "Completed", "ended with 0"),
    ],
)
def test_the_end_of_a_container_is_named(code: int, reason: str, how: str) -> None:
    ((key, line),) = pods.exits(api({}, pod("operator", ended(code, reason))))
    assert key == "u1/3"
    assert line.startswith("operator on n1: ")
    assert f" {how}; " in line


def test_with_the_end_of_a_container_stands_what_its_probes_have_said() -> None:
    answers = Answers({}, pod("agent", ended(0, "Completed")))
    answers.events = [{"count": 3, "message": "Liveness probe failed: timed out\n"}]
    ((_, line),) = pods.exits(cast("Api", answers))
    assert "ended with 0; 3 times: Liveness probe failed: timed out; see " in line


def test_a_container_that_ends_again_and_again_is_no_use_waiting_for() -> None:
    down = ended(1) | {"ready": False}
    said = pods.crashes(api({}, pod("agent", down)), {"agent:1"})
    assert said.startswith("agent on n1: ")
    assert said.endswith(" ended with 1, 3 times; its last line: no route")
    assert pods.crashes(api({}, pod("agent", ended(1))), {"agent:1"}) == ""  # it runs again
    assert pods.crashes(api({}, pod("agent", down | {"restartCount": 1})), {"agent:1"}) == ""
    assert pods.crashes(api({}, pod("agent", down)), {"agent:2"}) == ""  # it will be replaced
    lost = ended(255, "ContainerStatusUnknown") | {"ready": False}
    assert pods.crashes(api({}, pod("agent", lost)), {"agent:1"}) == ""


def test_a_container_that_ended_with_its_node_ended_as_expected() -> None:
    assert list(pods.exits(api({}, pod("agent", ended(255, "Unknown"))))) == []
    assert list(pods.exits(api({}, pod("agent", RUNNING)))) == []


def test_an_operator_that_ended_since_another_leads_ended_as_designed() -> None:
    assert list(pods.exits(api({}, pod("operator", ended(pods.SUPERSEDED))))) == []
    assert list(pods.exits(api({}, pod("agent", ended(pods.SUPERSEDED)))))
