"""`pytest --every-reason` fails if no test has a reason set by each of its setters."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from openeni_crds.conditions import Reason, Type
from openeni_crds.eni import ENI
from openeni_crds.meta import decode
from openeni_crds.names import ENIS
from openeni_crds.owners import CONDITIONS, Setter
from openeni_crds.reasons import REASONS
from openeni_operator.cluster_state import ClusterState
from openeni_operator.objects.status_writer import write_status
from openeni_testing.agent.parts import AgentParts
from openeni_testing.objects import REPOSITORY, condition, eni_body, status_of
from openeni_testing.plugins.reason_coverage import OPTION, SetCondition, faults, recorded
from openeni_testing.store.memory import MemoryStore

pytestmark = pytest.mark.slow

SECONDS: Final = 100


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> set[SetCondition]:
    """Return what is recorded during the test."""
    found: set[SetCondition] = set()
    monkeypatch.setattr(MemoryStore, "apply", recorded(MemoryStore.apply, found.update))
    return found


def test_what_a_component_writes_is_recorded(tmp_path: Path, seen: set[SetCondition]) -> None:
    parts = AgentParts(tmp_path)
    parts.create_objects()
    parts.status.reconcile("pods-0")
    assert seen == {
        SetCondition("agent", "ENI", "CNIConfigured", "Configured"),
        SetCondition("agent", "ENI", "GuestPrepared", "Prepared"),
        SetCondition("agent", "ENI", "LinkReady", "LinkUp"),
    }


def test_what_a_test_writes_in_a_components_name_is_not(seen: set[SetCondition]) -> None:
    store = MemoryStore()
    store.create(ENIS, eni_body("e"))
    body = status_of("e", conditions=[condition("LinkReady")])
    written = store.apply(ENIS, body, manager="openeni-agent", subresource="status")
    metadata = decode(written, ENI).metadata
    status = {"conditions": [condition("Attached")]}
    write_status(store, ClusterState(lambda _: None), ENIS, metadata, status)
    assert seen == set()


def everything() -> Iterator[SetCondition]:
    """Yield what operator and agent write if every reason and every condition is set."""
    for reason, entry in REASONS.items():
        for setter in entry.setters:
            for type_ in types_of(setter):
                yield SetCondition(setter.component, setter.kind, type_, reason)


def types_of(setter: Setter) -> list[Type]:
    return [type_ for type_, entry in CONDITIONS.items() if setter in entry.owners]


def test_the_tables_have_no_fault_if_everything_was_set() -> None:
    assert [*faults(everything())] == []


@pytest.mark.parametrize(
    ("missing", "fault"),
    [
        (
            {s for s in everything() if (s.component, s.reason) == ("agent", "ModeUnsupported")},
            "no test has the agent set ModeUnsupported on ENI",
        ),
        (
            {s for s in everything() if (s.kind, s.type) == ("PodIP", Type.ADDRESS_LOST)},
            "no test has the operator set AddressLost on PodIP",
        ),
    ],
)
def test_what_no_test_has_set_is_named(missing: set[SetCondition], fault: str) -> None:
    assert fault in faults(set(everything()) - missing)


def test_what_the_tables_lack_is_named() -> None:
    undocumented = SetCondition("agent", "ENI", Type.LINK_READY, Reason.NODE_LIMIT)
    foreign = SetCondition("operator", "ENI", Type.LINK_READY, Reason.ATTACHED)
    assert [*faults([*everything(), undocumented, foreign])] == [
        "openeni_crds.reasons lacks: the agent sets NodeLimit on ENI",
        "openeni_crds.owners lacks: the operator sets LinkReady on ENI",
    ]


def test_a_reason_that_is_repeated_need_not_be_in_the_tables() -> None:
    repeated = SetCondition("operator", "ENIPool", Type.CAPACITY_AVAILABLE, Reason.NIC_MISSING)
    assert [*faults([*everything(), repeated])] == []


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run pytest as `make fast` does, on a part of the suite."""
    outer = ("PYTEST_", "COVERAGE_")  # this run's own
    environment = {k: v for k, v in os.environ.items() if not k.startswith(outer)}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def test_a_run_fails_for_each_reason_that_its_workers_have_not_set() -> None:
    done = run("-n", "1", OPTION, "tests/operator/podip/test_podips.py")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    assert "no test has the agent set NICMissing on ENI" in done.stdout
    assert "no test has the operator set NodeLimit on ENIPool" in done.stdout
    assert "the operator set PortLost on PodIP" not in done.stdout


def test_a_run_without_the_option_does_not() -> None:
    assert run("tests/operator/podip/test_podip_plan.py").returncode == pytest.ExitCode.OK
