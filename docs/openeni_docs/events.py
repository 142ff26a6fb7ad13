"""Render docs/events.md from the events of operator and agent."""

from collections.abc import Iterator, Mapping
from typing import Final

from openeni_crds.names import CONTROLLER_AGENT, CONTROLLER_OPERATOR
from openeni_docs.markdown import code, table
from openeni_kube import event_series, events
from openeni_kube.event_series import EventType
from openeni_nodeagent.attachments import pod_events
from openeni_nodeagent.event_reasons import (
    NODE_REASONS,
    POD_REASONS,
    EventReason,
    NodeReason,
    PodReason,
)
from openeni_nodeagent.reports import repair_events
from openeni_operator.process.transitions import ACTIONS, EVENT_TYPES, OTHER_ACTION

_EVENTS: Final = """\
# Kubernetes Events of operator and node agent

Made from operator/openeni_operator/process/transitions.py, kube/openeni_kube/event_series.py and
nodeagent/openeni_nodeagent/event_reasons.py by `make generate`; change it there.

`kubectl describe enipool`, `eni`, `podip`, `pod` and `node` show them, `kubectl events -n
{namespace} --for enipool/pods` shows them alone. They are for people: what is true now stands in
the conditions, and a lost event changes nothing.

Events about cluster-scoped objects, such as ENIPools, ENIs and Nodes, are in namespace
`{namespace}`, those about a PodIP or a pod in its own. Whoever may read Events there reads their
notes, which are one line of at most {note} bytes.

Equal events about one object are one Event (`events.k8s.io/v1`) with a `series`. Its count is
written at the second event, every {refresh} minutes while there are more, and {finish} minutes
after the last. About one object there are at most {burst} different ones at once, then one in
{seconds} s. Up to {queued} wait while the API server is away; then the oldest are dropped.
`openeni_events_dropped_total` counts what was not written.

## Of the operator

An event is recorded when a condition that the operator owns changes to `True` or `False` with one
of the reasons below. Its note is the condition's message. A `Normal` event says that something
wrong is over; a condition that is good from its beginning has none, but for the first `Ready`.
`CapacityAvailable` has a `Warning` for any other reason, too: it is False for one of progress, such
as `AttachUnknown`, only once that has lasted.

`reportingController` is `{operator}`, `reportingInstance` the operator's pod. The `action`
follows from the condition: {actions}, else `{other}`.

[Conditions](conditions.md) says what to do about each reason.

"""
_AGENT: Final = """
## Of the node agent

`reportingController` is `{agent}`, `reportingInstance` the node. All are `Warning`.

A pod has an event when an ADD for it has failed, and already when it has been waiting for an
address for {wait:g} s; `action` is `{action}`. The runtime's own event repeats the error, too, but
not before the ADD has failed, and without a reason that says what kind of error it is. There is
none where the pod's sandbox has ended meanwhile. `{limit}` alone is of a pod that has its address;
each ADD that succeeds records it.

"""
_NODE: Final = """
The Node has an event when openeni's part of its network has been restored at least {times} times
within {window:g} minutes, with {apart:g} s between them; `action` names what, such as
`RestoreRule`.

"""


def page() -> str:
    """Return docs/events.md."""
    text = _EVENTS.format(
        note=event_series.NOTE_LENGTH,
        namespace=event_series.CLUSTER_NAMESPACE,
        refresh=f"{event_series.REFRESH_SECONDS / 60:g}",
        finish=f"{event_series.FINISH_SECONDS / 60:g}",
        burst=f"{event_series.BURST:g}",
        seconds=f"{event_series.SECONDS_PER_EVENT:g}",
        queued=events.MOST_QUEUED,
        operator=CONTROLLER_OPERATOR,
        actions=", ".join(f"`{action}` for `{type_}`" for type_, action in ACTIONS.items()),
        other=OTHER_ACTION,
    )
    return text + table(("reason", "type"), _rows()) + _of_agent()


def _of_agent() -> str:
    pods = _AGENT.format(
        agent=CONTROLLER_AGENT,
        wait=pod_events.WAIT_SECONDS,
        action=pod_events.ACTION,
        limit=PodReason.BANDWIDTH_NOT_LIMITED,
    )
    node = _NODE.format(
        times=repair_events.TIMES,
        window=repair_events.WINDOW_SECONDS / 60,
        apart=repair_events.APART_SECONDS,
    )
    return "".join((pods, _reasons(POD_REASONS), node, _reasons(NODE_REASONS)))


def _reasons(reasons: Mapping[PodReason, EventReason] | Mapping[NodeReason, EventReason]) -> str:
    rows = ((code(reason), entry.meaning, entry.remedy) for reason, entry in reasons.items())
    return table(("reason", "meaning", "what to do"), rows)


def _rows() -> Iterator[tuple[str, str]]:
    for wanted in (EventType.WARNING, EventType.NORMAL):
        for reason, type_ in EVENT_TYPES.items():
            if type_ is wanted:
                yield code(reason), wanted
