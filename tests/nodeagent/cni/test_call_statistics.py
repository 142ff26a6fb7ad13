"""CNI calls as numbers: phases into buckets, errors by code."""

from hypothesis import given
from hypothesis import strategies as st

from openeni_nodeagent.cni.call import EndedCall
from openeni_nodeagent.cni.call_statistics import CallStatistics
from openeni_nodeagent.cni.protocol import CNIError, Code

BOUNDS = (0.001, 0.01, 1.0)


def ended(command: str, error: CNIError | None = None, **seconds: float) -> EndedCall:
    return EndedCall({"CNI_COMMAND": command}, error, seconds)


def test_a_phase_is_counted_in_the_first_bucket_that_holds_it() -> None:
    statistics = CallStatistics(BOUNDS)
    for seconds in (0.0005, 0.001, 0.002, 5.0):
        statistics.count(ended("ADD", grant=seconds, total=9.0))
    found = statistics.durations()["ADD", "grant"]
    assert found.counts == [2, 1, 0, 1]
    assert abs(found.sum - 5.0035) < 1e-9
    assert statistics.durations()["ADD", "total"].counts == [0, 0, 0, 4]


def test_of_other_commands_than_add_and_del_the_total_alone_is_counted() -> None:
    statistics = CallStatistics(BOUNDS)
    for command in ("CHECK", "GC", "STATUS", "BREW"):
        statistics.count(ended(command, socket=0.1, total=0.2))
    assert statistics.durations().keys() == {
        *(("CHECK", "total"), ("GC", "total"), ("STATUS", "total"), ("Invalid", "total"))
    }


def test_an_error_is_counted_by_its_code_and_not_timed() -> None:
    statistics = CallStatistics(BOUNDS)
    for code in (Code.TRY_AGAIN, Code.TRY_AGAIN, Code.IO):
        statistics.count(ended("ADD", CNIError(code, "no"), total=0.1))
    statistics.count(ended("x" * 1000, CNIError(Code.DECODE, "no"), total=0.1))
    assert statistics.errors() == {("ADD", 11): 2, ("ADD", 5): 1, ("Invalid", 6): 1}
    assert statistics.durations() == {}


@given(st.lists(st.floats(0, 100), max_size=50))
def test_every_observation_is_in_exactly_one_bucket(seconds: list[float]) -> None:
    statistics = CallStatistics(BOUNDS)
    for value in seconds:
        statistics.count(ended("DEL", total=value))
    found = statistics.durations().get(("DEL", "total"))
    counts = found.counts if found else [0] * 4
    assert sum(counts) == len(seconds)
    for bound, at_most in zip(BOUNDS, (counts[0], sum(counts[:2]), sum(counts[:3])), strict=True):
        assert at_most == sum(value <= bound for value in seconds)
