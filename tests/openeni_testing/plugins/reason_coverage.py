"""`pytest --every-reason`: fail unless the tests have each reason set by each of its setters.

This pytest plugin records the conditions that the product's own code writes to a MemoryStore, and
compares them with the tables of `owners` and `reasons`. Workers of xdist send theirs to the
controller. What a test writes in a component's name does not count.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any, Final, NamedTuple

import pytest

from openeni_crds.conditions import Reason, Type
from openeni_crds.meta import Json
from openeni_crds.names import Kind
from openeni_crds.owners import CONDITIONS, Component, Setter
from openeni_crds.reasons import REASONS
from openeni_testing.store.memory import MemoryStore

OPTION: Final = "--every-reason"
PACKAGES: Final = {
    "openeni_operator": Component.OPERATOR,
    "openeni_nodeagent": Component.AGENT,
}
STATUS_WRITER: Final = "openeni_operator.objects.status_writer"  # writes what its caller decided
STORES: Final = "openeni_testing.store."
# They show reasons of other conditions and objects, too.
REPEATING: Final = (Type.READY, Type.CAPACITY_AVAILABLE, Type.UP_TO_DATE)
WORKER_OUTPUT: Final = "set_conditions"


class SetCondition(NamedTuple):
    """A condition as a component wrote it, in words that xdist can send."""

    component: str
    kind: str
    type: str
    reason: str


class ReasonCoverage:
    """The plugin."""

    def __init__(self) -> None:
        self.seen: set[SetCondition] = set()
        self._faults: list[str] = []
        self._patch = pytest.MonkeyPatch()

    def pytest_sessionstart(self) -> None:
        self._patch.setattr(MemoryStore, "apply", recorded(MemoryStore.apply, self.seen.update))

    @pytest.hookimpl(optionalhook=True)  # xdist's
    def pytest_testnodedown(self, node: Any) -> None:
        """Take over what a worker has recorded."""
        output: dict[str, Any] = getattr(node, "workeroutput", {})  # a crashed one has none
        self.seen.update(SetCondition(*found) for found in output.get(WORKER_OUTPUT, ()))

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        self._patch.undo()
        output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
        if output is not None:
            # execnet sends plain strings only
            output[WORKER_OUTPUT] = [tuple(map(str, found)) for found in self.seen]
        elif exitstatus == pytest.ExitCode.OK:  # a failed test has not set what it sets
            self._faults = [*faults(self.seen)]
            session.exitstatus = pytest.ExitCode.TESTS_FAILED if self._faults else exitstatus

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._faults:
            terminalreporter.section(f"reasons of conditions ({OPTION})", red=True)
        for fault in self._faults:
            terminalreporter.line(fault)


def faults(seen: Iterable[SetCondition]) -> Iterator[str]:
    """Yield how the tables of `owners` and `reasons` differ from what was written."""
    written = [(Setter(Component(s.component), s.kind), Type(s.type), s.reason) for s in seen]
    documented = {(setter, r) for r, entry in REASONS.items() for setter in entry.setters}
    owned = {(owner, type_) for type_, entry in CONDITIONS.items() for owner in entry.owners}
    found = {(setter, Reason(r)) for setter, type_, r in written if type_ not in REPEATING}
    repeated = {(setter, Reason(r)) for setter, _, r in written}
    types = {(setter, type_) for setter, type_, _ in written}
    for setter, reason in sorted(documented - repeated, key=str):
        yield f"no test has the {setter.component} set {reason} on {setter.kind}"
    for setter, reason in sorted(found - documented, key=str):
        yield f"openeni_crds.reasons lacks: the {setter.component} sets {reason} on {setter.kind}"
    for owner, type_ in sorted(owned - types, key=str):
        yield f"no test has the {owner.component} set {type_} on {owner.kind}"
    for owner, type_ in sorted(types - owned, key=str):
        yield f"openeni_crds.owners lacks: the {owner.component} sets {type_} on {owner.kind}"


def recorded(
    apply: Callable[..., Json], record: Callable[[Iterable[SetCondition]], None]
) -> Callable[..., Json]:
    """Return `MemoryStore.apply` that records the conditions which the product writes."""

    def apply_and_record(store: MemoryStore, kind: Kind, body: Json, **arguments: Any) -> Json:
        written = apply(store, kind, body, **arguments)
        here = inspect.currentframe()
        component = _writer(here.f_back if here else None)
        conditions: Iterable[Json] = body.get("status", {}).get("conditions", ())
        if component is not None:
            record(
                SetCondition(component, kind.name, str(c["type"]), str(c["reason"]))
                for c in conditions
            )
        return written

    return apply_and_record


def _writer(frame: FrameType | None) -> Component | None:
    """Return the component whose code writes a status; None if it is a test's."""
    module = ""
    while frame is not None:
        module = str(frame.f_globals["__name__"])
        if module != STATUS_WRITER and not module.startswith(STORES):
            break
        frame = frame.f_back
    return PACKAGES.get(module.partition(".")[0])
