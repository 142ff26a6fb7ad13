"""Whether a pool can be elastic is asked of the cloud, and asked again."""

from dataclasses import dataclass, field

import msgspec
import pytest

from openeni_crds.capacity import Growth
from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_crds.meta import decode
from openeni_crds.status.eni import PortStatus
from openeni_operator.cloud.api import Network, Place
from openeni_operator.cloud.errors import (
    CloudError,
    CloudUnreachableError,
    DeniedError,
    ResourceNotFoundError,
)
from openeni_operator.enipool.growth_probe import (
    ALLOWED_SECONDS,
    DENIED_SECONDS,
    DOUBTED_SECONDS,
    UNKNOWN_SECONDS,
    GrowthInForce,
    GrowthProbe,
)
from openeni_operator.enipool.resolution import Resolution
from openeni_testing.cloud.faults import FakeClock
from openeni_testing.objects import eni_body, pool_body

PLACE = Place("project")
STATIC, ELASTIC = GrowthInForce(Growth.STATIC), GrowthInForce(Growth.ELASTIC)


@dataclass
class Neutron:
    """A cloud that is only asked whether fixed IPs may be changed."""

    answers: dict[str, CloudError] = field(default_factory=dict[str, CloudError])  # by port
    asked: list[str] = field(default_factory=list[str])

    def check_resizing(self, port_id: str) -> None:
        self.asked.append(port_id)
        if port_id in self.answers:
            raise self.answers[port_id]


@dataclass
class Desk:
    """A pool and its ports, and the probe."""

    growth: Growth = Growth.AUTO
    before: Growth | None = None
    ports: tuple[str, ...] = ("p1", "p2")
    owner: str = "project"
    paused: bool = False
    denied: bool = False
    cloud: Neutron = field(default_factory=Neutron)
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self.probe = GrowthProbe(lambda _: self.cloud, self.clock)  # type: ignore[arg-type, return-value]

    def ask(self, *, resolved: bool = True) -> GrowthInForce:
        body = pool_body("pods")
        body["spec"] |= {"capacity": {"growth": self.growth}, "paused": self.paused}
        body["status"] = {"growth": self.before} if self.before else {}
        resolution = Resolution(Network("net", 1450, self.owner), (), (), 1450, PLACE)
        enis = [self._eni(f"e{n}", port) for n, port in enumerate(self.ports)]
        return self.probe(
            decode(body, ENIPool),
            resolution if resolved else None,
            lambda: enis,
            denied=self.denied,
        )

    def _eni(self, name: str, port: str) -> ENI:
        body = eni_body(name)
        body["spec"]["networkID"] = "net"
        made = decode(body, ENI)
        status = PortStatus(port, "", "fa:16:3e:00:00:01", 1, 1450, (), ("10.98.0.2",), ())
        return msgspec.structs.replace(
            made, status=msgspec.structs.replace(made.status, port=status)
        )


def test_a_static_pool_is_not_asked_about() -> None:
    desk = Desk(Growth.STATIC)
    assert desk.ask() == STATIC
    assert desk.cloud.asked == []


@pytest.mark.parametrize("growth", [Growth.AUTO, Growth.ELASTIC])
def test_the_answer_about_one_port_holds_for_an_hour(growth: Growth) -> None:
    desk = Desk(growth)
    assert desk.ask() == desk.ask() == ELASTIC
    desk.clock.advance(ALLOWED_SECONDS - 1)
    assert desk.ask() == ELASTIC
    assert desk.cloud.asked == ["p1"]
    desk.clock.advance(1)
    desk.cloud.answers["p1"] = DeniedError("not allowed")
    assert desk.ask() == GrowthInForce(Growth.STATIC, "not allowed")


def test_a_no_is_asked_about_again_soon() -> None:
    desk = Desk(cloud=Neutron({"p1": DeniedError("not allowed")}))
    assert desk.ask() == GrowthInForce(Growth.STATIC, "not allowed")
    desk.clock.advance(DENIED_SECONDS)
    desk.cloud.answers.clear()
    assert desk.ask() == ELASTIC


def test_a_change_that_was_denied_raises_doubts() -> None:
    desk = Desk()
    assert desk.ask() == ELASTIC
    desk.denied = True
    desk.cloud.answers["p1"] = DeniedError("not allowed")
    desk.clock.advance(DOUBTED_SECONDS)
    assert desk.ask().growth is Growth.STATIC


def test_a_port_that_is_gone_says_nothing() -> None:
    desk = Desk(cloud=Neutron({"p1": ResourceNotFoundError("gone")}))
    assert desk.ask() == ELASTIC
    assert desk.cloud.asked == ["p1", "p2"]


@pytest.mark.parametrize("before", [Growth.STATIC, Growth.ELASTIC])
def test_without_an_answer_it_stays_what_it_was(before: Growth) -> None:
    down = CloudUnreachableError("no response")
    desk = Desk(before=before, cloud=Neutron({"p1": down, "p2": down}))
    assert desk.ask().growth is before
    assert desk.ask(resolved=False).growth is before
    desk.cloud.answers.clear()
    assert desk.ask() == ELASTIC, "no failure is remembered"


def test_without_a_port_the_networks_owner_tells() -> None:
    desk = Desk(ports=())
    assert desk.ask() == ELASTIC
    desk.owner = "another"
    found = desk.ask()
    assert found.growth is Growth.STATIC
    assert found.obstacle.startswith("network net belongs to another project")
    desk.ports = ("p1",)
    assert desk.ask() == ELASTIC, "its policy allows it all the same"


def test_a_paused_pool_asks_nothing() -> None:
    desk = Desk(before=Growth.ELASTIC, paused=True)
    assert desk.ask() == ELASTIC
    assert desk.cloud.asked == []


def test_an_answer_says_how_long_it_holds() -> None:
    desk = Desk()
    now = desk.clock.now
    assert desk.ask().until == now + ALLOWED_SECONDS
    desk.denied = True
    assert desk.ask().until == now + DOUBTED_SECONDS
    desk.clock.advance(DOUBTED_SECONDS)
    desk.paused = True
    assert desk.ask().until is None, "the end of the pause is a change of the pool"
    desk.paused = False
    desk.cloud.answers = dict.fromkeys(desk.ports, DeniedError("policy"))
    assert desk.ask().until == desk.clock.now + DENIED_SECONDS


def test_a_cloud_that_does_not_answer_is_asked_again_soon() -> None:
    desk = Desk()
    desk.cloud.answers = dict.fromkeys(desk.ports, CloudUnreachableError("no response"))
    assert desk.ask().until == desk.clock.now + UNKNOWN_SECONDS
