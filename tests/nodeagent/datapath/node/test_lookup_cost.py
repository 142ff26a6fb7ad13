"""The measurement of look-ups measures both ways; its figures are decision 0027's, no test."""

import pytest

from openeni_testing.node_bench.datapath.lookup_cost import measure, table


@pytest.mark.root
def test_each_number_of_pods_is_measured_with_marks_and_with_a_list() -> None:
    costs = measure(counts=(0, 3), rounds=2)
    assert [(cost.pods, cost.way) for cost in costs] == [
        (0, "marks"),
        (0, "list"),
        (3, "marks"),
        (3, "list"),
    ]
    assert all(0 < value < 1e6 for c in costs for value in (c.of_node, c.of_pod, c.packet))
    assert len(table(costs).splitlines()) == 2 + len(costs)
