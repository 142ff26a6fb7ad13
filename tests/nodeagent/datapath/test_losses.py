"""Whatever is lost of a pod's datapath, or of its ENI's, CHECK names it and ADD restores it."""

import pytest

from openeni_crds import names
from openeni_nodeagent.datapath.describe import sentence
from openeni_nodeagent.datapath.diff import is_offload
from openeni_nodeagent.datapath.eni import plan_eni
from openeni_nodeagent.datapath.marks import Marks
from openeni_nodeagent.datapath.model import Item, Link, Operation, Sysctl, Verb
from openeni_nodeagent.datapath.plan import plan_node, plan_pod
from openeni_testing.network.netns import Namespace
from openeni_testing.network.one_eni import OneENI, apply_one

pytestmark = pytest.mark.root


def test_each_loss_of_a_pods_items_on_the_node_is_found_by_check_and_named(
    bench: OneENI, netns: Namespace
) -> None:
    bench.add(netns.path)
    for item in plan_pod(bench.place()).host:
        if isinstance(item, Link | Sysctl) or only_offloads(item):
            continue
        bench.node.run(apply_one, Operation(Verb.REMOVE, item))
        assert bench.check(netns.path) == (missing(item),)
        bench.node.run(apply_one, Operation(Verb.ADD, item))
    assert bench.check(netns.path) == ()
    bench.delete(netns.path)


@pytest.mark.exhaustive
def test_each_loss_inside_a_pod_or_of_its_eni_is_found_by_check_and_repaired_by_add(
    bench: OneENI, netns: Namespace
) -> None:
    """The kernel may take more along: routes with the last address, addresses with IPv6."""
    bench.add(netns.path)
    place = bench.place()
    losses: list[tuple[Namespace, Item]] = [(netns, item) for item in plan_pod(place).pod]
    shared = plan_eni(place.eni) | plan_node(
        frozenset({4, 6}), Marks(names.MARK_MASK), bench.node.facts
    )
    on_host = {item for item in plan_pod(place).host if isinstance(item, Sysctl)}
    losses += [(bench.node.namespace, item) for item in shared | on_host]
    for namespace, item in losses:
        if isinstance(item, Link) or only_offloads(item):
            continue
        lose(namespace, item)
        assert missing(item) in bench.check(netns.path)
        bench.add(netns.path)
        assert bench.check(netns.path) == (), item
    bench.delete(netns.path)


def only_offloads(item: Item) -> bool:
    """Return True for what CHECK does not look at, and a kernel may not have."""
    return is_offload(Operation(Verb.ADD, item))


def missing(item: Item) -> str:
    return sentence(Operation(Verb.ADD, item))


def lose(namespace: Namespace, item: Item) -> None:
    if isinstance(item, Sysctl):
        # The kernel keeps proxy_delay in jiffies and may show a 1 as 0.
        other = "80" if item.path.endswith("proxy_delay") else "1"
        namespace.sysctl(item.path, other if item.value == "0" else "0")
    else:
        namespace.run(apply_one, Operation(Verb.REMOVE, item))
