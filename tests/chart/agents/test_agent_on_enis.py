"""What the holder of an agent's token may try on ENIs."""

import pytest

from openeni_crds.meta import Json
from openeni_crds.names import ENIS
from openeni_testing.admission import bodies
from openeni_testing.admission.target import Attack, Target
from openeni_testing.admission.writes import REMOVE, Write, eni

pytestmark = pytest.mark.cluster

ITS_PART = (
    "of an ENI an agent writes status.node and the conditions "
    "CNIConfigured, GatewayReachable, GuestPrepared and LinkReady only"
)
WHOLE_SECONDS = "lastTransitionTime is a time in UTC with whole seconds"
MINE, RETIRING, FOREIGN = bodies.ADDRESSES[0], bodies.ADDRESSES[-1], "10.98.3.3"


def node(**fields: object) -> Write:
    return eni("/status/node", {"device": "eth1", **fields}, who="agent")


def conditions(*added: Json) -> Write:
    """Keep the operator's conditions, and add some."""
    kept = [bodies.condition("PortReady"), bodies.condition("Ready")]
    return eni("/status/conditions", [*kept, *added], who="agent")


def answer(address: str, generation: int = 1) -> list[Json]:
    return [{"address": address, "generation": generation}]


def _force_the_port(t: Target) -> object:
    """Take the operator's field by server-side apply, in the operator's name."""
    part = {"port": bodies.port_report((), revision=999)["port"]}
    body = bodies.status(t.mine.eni, part)
    return t.agent.apply(ENIS, body, manager="openeni-operator", subresource="status")


ATTACKS = (
    Attack(
        "port's revision",
        f"status.port: {ITS_PART}",
        eni("/status/port/revision", 999, who="agent"),
    ),
    Attack(
        "port's address",
        f"status.port: {ITS_PART}",
        eni("/status/port/addresses/-", FOREIGN, who="agent"),
    ),
    Attack(
        "port's MAC",
        f"status.port: {ITS_PART}",
        eni("/status/port/macAddress", "fa:16:3e:00:00:00", who="agent"),
    ),
    Attack(
        "tags to be taken off the port",
        f"status.applied: {ITS_PART}",
        eni("/status/applied", {"portTags": ["owner=me"]}, who="agent"),
    ),
    Attack("port removed", f"status.port: {ITS_PART}", eni("/status/port", REMOVE, who="agent")),
    Attack("port by apply", f"status.port: {ITS_PART}", _force_the_port),
    Attack("whole status", f"status.port: {ITS_PART}", eni("/status", {}, who="agent")),
    Attack(
        "Attached forged",
        f"status.conditions: Attached: {ITS_PART}",
        conditions(bodies.condition("Attached")),
    ),
    Attack(
        "Ready changed",
        f"status.conditions: Ready.*: {ITS_PART}",
        eni("/status/conditions/1/status", "False", who="agent"),
    ),
    Attack(
        "PortReady removed",
        f"status.conditions: PortReady: {ITS_PART}",
        eni("/status/conditions/0", REMOVE, who="agent"),
    ),
    Attack(
        "another's condition",
        f"status.conditions: Mine: {ITS_PART}",
        conditions(bodies.condition("Mine")),
    ),
    Attack(
        "another node's ENI",
        "spec.nodeName: an agent writes ENIs of its own node only, which is node-",
        eni("/status/node", {"device": "eth1"}, who="agent", side="other"),
    ),
    Attack(
        "more granted than there are",
        "status.node: granted.*add up to 31, but the ENI has 3",
        node(granted=31),
    ),
    Attack(
        "sum of counts",
        "status.node: granted, cooling and available add up to 4, but the ENI has 3 addresses",
        node(granted=2, cooling=1, available=1),
    ),
    Attack(
        "foreign address retired",
        "status.node: retired and refused answer spec.retiring",
        node(retired=answer(FOREIGN)),
    ),
    Attack(
        "foreign address refused",
        "status.node: retired and refused answer spec.retiring",
        node(refused=answer(FOREIGN)),
    ),
    Attack(
        "primary address retired",
        "status.node: retired and refused answer spec.retiring",
        node(retired=answer("10.98.0.10")),
    ),
    Attack(
        "retired without being asked",
        "status.node: retired and refused answer spec.retiring",
        node(retired=answer(MINE)),
    ),
    Attack(
        "a message for a terminal",
        "status.conditions: a message is one line without control characters",
        conditions(bodies.condition("LinkReady") | {"message": "\x1b]0;mine\x07\r\nforged"}),
    ),
    Attack(
        "retired in the future",
        "status.node: an answer's generation",
        node(retired=answer(RETIRING, 2**40)),
    ),
    Attack(
        "refused in the future",
        "status.node: an answer's generation",
        node(refused=answer(RETIRING, 2**40)),
    ),
    Attack(
        "condition of the future",
        "status.conditions: observedGeneration is at most metadata.generation",
        conditions(bodies.condition("LinkReady", generation=2**40)),
    ),
    Attack(
        "lower-case time",
        f"status.conditions: {WHOLE_SECONDS}",
        conditions(bodies.condition("LinkReady", time="2026-11-24t01:02:03z")),
    ),
    Attack(
        "time of another zone",
        f"status.conditions: {WHOLE_SECONDS}",
        conditions(bodies.condition("GuestPrepared", time="2026-11-24T01:02:03+02:00")),
    ),
    Attack(
        "time with a fraction",
        f"status.conditions: {WHOLE_SECONDS}",
        conditions(bodies.condition("GuestPrepared", time="2026-11-24T01:02:03.5Z")),
    ),
)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)
def test_without_the_policies_it_succeeds(unguarded: Target, attack: Attack) -> None:
    attack.succeeds(unguarded)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)
def test_with_the_policies_it_is_refused(guarded: Target, attack: Attack) -> None:
    attack.is_refused(guarded)


def test_the_status_is_no_door_to_metadata_and_spec(guarded: Target) -> None:
    """The API server takes nothing else of such a write, with policies and without."""
    before = guarded.snapshot()
    for path, value in (
        ("/metadata/labels", {"a": "b"}),
        ("/metadata/finalizers", []),
        ("/metadata/ownerReferences", []),
        ("/spec/retiring", [MINE]),
    ):
        change = [{"op": "add", "path": path, "value": value}]
        guarded.agent.patch(ENIS, guarded.mine.eni_name, operations=change, subresource="status")
    assert guarded.snapshot() == before
