"""The pages of the node's benchmarks: what they conclude, and that what was measured survives."""

import re
from dataclasses import replace

from openeni_testing.node_bench.datapath import measured as rates
from openeni_testing.node_bench.datapath import report as datapath_report
from openeni_testing.node_bench.datapath.traffic import TESTS
from openeni_testing.node_bench.pods import measured as pods
from openeni_testing.node_bench.pods import report as pods_report
from openeni_testing.node_bench.pods.measured import (
    Bursts,
    Calls,
    Measured,
    Turns,
    Usage,
)


def turns(ours: float, theirs: float, count: int = 4, nothing: float = 1) -> Turns:
    """Calls of so many milliseconds; a DEL takes half of an ADD."""
    first, second = (Calls([ms / 1000] * count, [ms / 2000] * count) for ms in (ours, theirs))
    return Turns(first, second, [nothing / 1000] * count, [nothing / 2000] * count)


def measured(**changes: object) -> Measured:
    fields: dict[str, object] = {
        "datapath": "veth",
        "reference": "ptp",
        "kernel": "6.18",
        "pods": 250,
        "messages": [0.001] * 2,
        "empty": turns(3, 12),
        "between": turns(3, 12),
        "full": turns(3, 13),
        "down": turns(3, 12),
        "bursts": {20: Bursts(2, turns(30, 100, 40))},
        "phases": {
            c: [{"socket": 0.0001, "other": 0.0009, "total": 0.001}] for c in ("ADD", "DEL")
        },
        "healing": {"`ip rule flush`": [0.2, 0.3, 0.4]},
        "usage": Usage(70.0, 60.0, 75.0, [0.002, 0.004]),
    }
    return Measured(**fields | changes)  # type: ignore[arg-type]


def page(found: Measured) -> str:
    return pods_report.page([found], 0.5, 2)


def verdicts(text: str) -> dict[str, str]:
    rows = re.findall(
        r"^\| ([^|]+) \| veth \| [^|]+ \| [^|]+ \| (met|\*\*missed\*\*) \|$", text, re.MULTILINE
    )
    return dict(rows)


def test_what_was_measured_survives_its_way_between_processes() -> None:
    assert pods.decode(pods.encode(measured())) == measured()


def test_each_target_has_its_verdict() -> None:
    found = verdicts(page(measured()))
    assert found["warm ADD by its bound"] == "met"  # 3 by 1 + 1
    assert "| warm ADD by its bound with musl | veth | 2.00 x |" in page(measured())  # by 0.5 + 1
    assert found["DEL by the reference's"] == "met"  # 1.5 by 6
    assert found["bursts of 20: ADD, p50"] == "**missed**"
    assert found["ADD with 250 pods"] == "met"
    assert found["healing: `ip rule flush`"] == "met"
    assert found["agent at rest: of a core"] == "met"
    assert "of 12 are met" in page(measured())


def test_what_misses_is_said() -> None:
    slow = measured(
        empty=turns(4, 8),
        full=turns(5, 8),
        healing={"`ip rule flush`": [2.0]},
        usage=Usage(90.0, 85.0, 90.0, [0.02]),
    )
    found = verdicts(page(slow))
    assert {what for what, verdict in found.items() if verdict != "met"} >= {
        "warm ADD by its bound",
        "DEL by the reference's",
        "ADD with 250 pods",
        "healing: `ip rule flush`",
        "agent at rest: memory (PSS to RSS)",
        "agent at rest: of a core",
    }


def test_outages_are_compared_to_what_lies_between_them() -> None:
    slower = measured(down=turns(4.5, 19), between=turns(4.5, 19))
    assert verdicts(page(slower))["ADD API server down"] == "met"
    assert verdicts(page(measured(down=turns(4.5, 19))))["ADD API server down"] != "met"


def test_a_machine_that_has_become_slower_makes_nothing_take_more() -> None:
    slower = measured(full=turns(4.5, 19, nothing=1.5))
    assert verdicts(page(slower))["ADD with 250 pods"] == "met"


def test_the_page_names_its_plots() -> None:
    text = page(measured())
    assert {f"plots/{name}" for name in pods_report.plots([measured()])} == set(
        re.findall(r"\((plots/[^)]+)\)", text)
    )


def test_the_phases_of_a_call_add_up() -> None:
    (row,) = re.findall(r"^\| 3\.00 \| (.+) \|$", page(measured()), re.MULTILINE)
    shares = [int(share) for share in re.findall(r"\((\d+)%\)", row)]
    assert sum(shares) == 100


def measured_rates(**rates_of: float) -> rates.Measured:
    both = ("pod-pod", "pod-remote")
    found = {
        name.replace("_", "-").replace("-plugin-", " plugin, "): {
            path: {test: [rate] * 3 for test in TESTS}
            for path in (both if name != "host" else both[1:])
        }
        for name, rate in rates_of.items()
    }
    one = {test: [1.0] * 3 for test in TESTS}
    return rates.Measured("6.1", found, {"veth": rates.Crowd(one, one)}, 250)


def test_a_mode_is_compared_with_its_plugin_with_veth_and_with_a_host() -> None:
    found = measured_rates(
        host=9.0,
        veth=4.0,
        ipvlan_l2=6.0,
        ptp=4.3,
        ptp_with_rules=4.1,
        ipvlan_plugin_l2=6.1,
        macvlan=7.0,
    )
    assert rates.decode(rates.encode(found)) == found
    targets = {(t.what, t.of): t for t in datapath_report.targets_of(found)}
    by_veth = targets["tcp_rr pod-remote, by veth", "ipvlan-l2"]
    assert (by_veth.found.value, by_veth.verdict) == (1.5, "")
    assert targets["udp_rr pod-pod, by ptp", "veth"].verdict == "**missed**"
    assert targets["udp_rr pod-pod, by ipvlan plugin, l2", "ipvlan-l2"].verdict == "met"
    assert targets["tcp_crr pod-pod, by macvlan", "ipvlan-l2"].verdict == ""
    assert targets["tcp_crr pod-pod, by ptp-with-rules", "veth"].verdict == ""
    assert targets["tcp_rr pod-remote, by ptp", "ipvlan plugin, l2"].found.value == 6.1 / 4.3
    assert targets["tcp_rr pod-remote, by host", "veth"].found.value == 4 / 9
    assert targets["tcp_rr pod-remote, 250 pods by one", "veth"].verdict == "met"
    text = datapath_report.page([found], 0.5, 2)
    assert all(f"plots/{name}" in text for name in datapath_report.plots([found]))
    assert "no flowtables" in text
    assert "no flowtables" not in datapath_report.page([replace(found, offloads=True)], 0.5, 2)


def test_an_emulators_rates_are_shown_as_instructions() -> None:
    counted = replace(
        measured_rates(host=20e3, veth=16e3, ptp=20e3, ptp_with_rules=18e3), counted=True
    )
    timed = replace(counted, counted=False)
    text = datapath_report.page([timed, counted], 0.5, 2)
    by_the_clock, _, in_instructions = text.partition("## Kernel 6.1, in instructions")
    # 20,000 transactions in a second, by the clock; in 1e9 instructions, 50,000 each
    assert "| pod-pod | ptp | 20.0 | 20.0 | 0.00 | 20.0 |" in by_the_clock
    assert "| pod-pod | ptp | 50.0 | 50.0 | 51200000 | 50.0 |" in in_instructions
    assert "tcp_rr, 1,000 instructions | " in in_instructions
    same = "| tcp_rr pod-pod, by ptp | veth | 0.80 x | at least 0.95 x | **missed** |"
    assert same in by_the_clock
    assert same in in_instructions
    assert len(datapath_report.plots([timed, counted])) == 2 * len(TESTS)
