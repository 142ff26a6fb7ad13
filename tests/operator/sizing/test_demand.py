"""How many addresses a node should hold."""

import pytest

from openeni_operator.sizing.demand import NodeUsage, desired_addresses


@pytest.mark.parametrize(
    ("usage", "minimum", "max_pods", "limit", "expected"),
    [
        pytest.param(NodeUsage(), 2, 110, None, 2, id="an empty node keeps the minimum"),
        pytest.param(NodeUsage(waiting=3), 2, 110, None, 5, id="one more for each waiting pod"),
        pytest.param(NodeUsage(3, 4, 5), 2, 110, None, 14, id="cooling addresses cannot be used"),
        pytest.param(NodeUsage(0, 9), 5, 10, None, 10, id="no more than the node may run pods"),
        pytest.param(
            NodeUsage(0, 9, 4), 5, 10, None, 14, id="cooling addresses come on top of that"
        ),
        pytest.param(
            NodeUsage(0, 12), 2, 10, None, 12, id="granted addresses are never taken away"
        ),
        pytest.param(NodeUsage(5, 5, 5), 5, 110, 8, 8, id="the pool's limit caps everything"),
        pytest.param(NodeUsage(), 0, 110, None, 0, id="no demand, no addresses"),
    ],
)
def test_desired_addresses(
    usage: NodeUsage, minimum: int, max_pods: int, limit: int | None, expected: int
) -> None:
    assert desired_addresses(usage, minimum, max_pods, limit) == expected
