"""How long an address has been retained is counted by the operator's monotonic clock."""

from openeni_crds.conditions import Type
from openeni_crds.meta import decode
from openeni_crds.podip import PodIP
from openeni_operator.podip.retained_times import RetainedTimes
from openeni_testing.cloud.faults import FakeClock
from openeni_testing.objects import condition, podip_body

NOW = "2026-01-01T00:00:00Z"
HOUR_AGO, TOMORROW = "2025-12-31T23:00:00Z", "2026-01-02T00:00:00Z"


def a_podip(retained_since: str = "", uid: str = "1") -> PodIP:
    body = podip_body("web-0")
    body["metadata"]["uid"] = uid
    status = condition(Type.RETAINED, "True" if retained_since else "False")
    conditions = [status | {"lastTransitionTime": retained_since or HOUR_AGO}]
    return decode(body | {"status": {"conditions": conditions}}, PodIP)


def test_the_wall_clock_of_later_looks_does_not_count() -> None:
    clock = FakeClock()
    times = RetainedTimes(clock)
    assert times.of(a_podip(), NOW) is None
    for since in (NOW, TOMORROW, HOUR_AGO):
        assert times.of(a_podip(since), NOW) == 0
        clock.advance(7)
        assert times.of(a_podip(since), TOMORROW) == 7
    assert times.of(a_podip(), NOW) is None


def test_what_was_retained_before_the_first_look_is_as_old_as_it_says() -> None:
    assert RetainedTimes(FakeClock()).of(a_podip(HOUR_AGO), NOW) == 3600
    assert RetainedTimes(FakeClock()).of(a_podip(TOMORROW), NOW) == 0


def test_another_podip_of_the_name_begins_anew() -> None:
    clock = FakeClock()
    times = RetainedTimes(clock)
    assert times.of(a_podip(HOUR_AGO), NOW) == 3600
    assert times.of(a_podip(HOUR_AGO, uid="2"), NOW) == 0
    times.forget("default/web-0")
    assert times.of(a_podip(HOUR_AGO, uid="2"), NOW) == 3600
