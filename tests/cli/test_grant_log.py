"""The command line reads the log of grants that agents write."""

from hypothesis import given
from hypothesis import strategies as st

from openeni_cli.grant_log import GrantLine, history_of, holders, parse_lines
from openeni_nodeagent.grants.grant import Attachment, Grant
from openeni_nodeagent.grants.grant_log import MOST_LINES, EndReason, GrantLog

GRANT = Grant(
    Attachment("uid", "c1", "eth0"),
    "shop",
    "web-0",
    "",
    "pods-0",
    "pods",
    ("10.98.0.5", "2001:db8::5"),
    "Veth",
    1450,
    at=1.0,
    cool_down=30,
    port="port-0",
    api_uid="api-uid",
)


def written(*events: str) -> list[str]:
    """Return the lines that an agent writes for these events."""
    lines: list[str] = []
    log = GrantLog("n1", lines.append)
    for event in events:
        if event == "began":
            log.began(GRANT)
        elif event == "adopted":
            log.adopted(GRANT)
        else:
            log.ended(GRANT, EndReason(event))
    log.flush()
    return lines


def test_what_an_agent_writes_is_read() -> None:
    (holder,) = holders(parse_lines(written("began", "Deleted")))
    assert (holder.namespace, holder.pod, holder.pod_uid) == ("shop", "web-0", "api-uid")
    assert (holder.node, holder.eni, holder.port, holder.pool) == (
        "n1",
        "pods-0",
        "port-0",
        "pods",
    )
    assert holder.container_id == "c1"
    assert holder.addresses == GRANT.addresses
    assert holder.began <= holder.ended
    assert holder.end_reason == "Deleted"


def test_the_count_of_lost_lines_is_read() -> None:
    lines: list[str] = []
    log = GrantLog("n1", lines.append)
    for _ in range(MOST_LINES + 7):
        log.began(GRANT)
    log.flush()
    (lost,) = history_of("10.98.0.5", parse_lines(lines)).lost
    assert (lost.node, lost.lines) == ("n1", 7)


def test_an_adopted_grant_has_its_end_too() -> None:
    (holder,) = holders(parse_lines(written("adopted", "GarbageCollected")))
    assert (holder.end_reason, bool(holder.began)) == ("GarbageCollected", True)


def test_an_end_whose_beginning_is_in_an_older_log_knows_when_it_began() -> None:
    (holder,) = holders(parse_lines(written("Deleted")))
    assert holder.began
    assert holder.began < holder.ended


def test_lines_of_other_programs_and_prefixes_of_collectors_are_passed_over() -> None:
    began, ended = written("began", "Deleted")
    texts = [
        "2026-11-24 10:02:03 INFO openeni_nodeagent: started {not json",
        f"[pod/openeni-agent-x/agent] {began}",
        '{"event":"SomethingElse","time":"2026-11-24T10:02:03Z"}',
        f"2026-11-24T10:02:03.120Z stdout F {ended}\n",
        "",
        '{"event":1}',
    ]
    (holder,) = holders(parse_lines(texts))
    assert holder.end_reason == "Deleted"


def line(event: str, at: int, container: str, node: str = "n1") -> GrantLine:
    time = f"2026-11-24T10:{at // 60:02}:{at % 60:02}.000Z"
    return GrantLine(
        event, time, node, "shop", container, container_id=container, addresses=("10.98.0.5",)
    )


@given(st.permutations(range(8)))
def test_the_order_in_which_lines_arrive_does_not_matter(order: list[int]) -> None:
    """Several agents' logs are read at a time, and collectors mix them."""
    lines = [
        line(event, 10 * i + after, f"c{i}", f"n{i % 2}")
        for i in range(4)
        for event, after in (("GrantBegan", 0), ("GrantEnded", 5))
    ]
    found = holders([lines[i] for i in order])
    assert [(h.pod, h.began[-7:-5], h.ended[-7:-5]) for h in found] == [
        ("c0", "00", "05"),
        ("c1", "10", "15"),
        ("c2", "20", "25"),
        ("c3", "30", "35"),
    ]
