"""Bring the offload of flows to its plan, apart from all else: it only makes packets faster.

So what the kernel refuses of it costs no ENI and no pod its network. It is never noted as a repair:
a look may come between the answer to an ADD and its end, and the kernel keeps names of links.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress

from openeni_nodeagent.datapath.diff import in_order, is_offload
from openeni_nodeagent.datapath.links import NodePod
from openeni_nodeagent.datapath.linux.kernel import apply, restore
from openeni_nodeagent.datapath.linux.netlink import Netlink
from openeni_nodeagent.datapath.model import FlowtableLink, Operation, Verb
from openeni_nodeagent.datapath.node.plan import Differences
from openeni_nodeagent.datapath_api import DatapathError


def split_offload(found: Differences, *, is_complete: bool) -> tuple[Differences, list[Operation]]:
    """Return the differences without those of the offload, and these.

    Unless what is wanted is complete, nothing is removed.
    """
    offload = [o for operations in found.values() for o in operations if is_offload(o)]
    offload = [o for o in offload if is_complete or o.verb is not Verb.REMOVE]
    others = {part: tuple(o for o in found[part] if not is_offload(o)) for part in found}
    return {part: operations for part, operations in others.items() if operations}, offload


def restore_offload(operations: Collection[Operation]) -> str:
    """Apply these, each alone if the kernel refuses any; return why the last one failed."""
    ordered = in_order(operations)
    with suppress(DatapathError):
        _restore(ordered)
        return ""
    reasons = list(_failures(ordered))
    return f"flows are not offloaded as planned: {reasons[-1]}" if reasons else ""


def change_flowtable(pod: NodePod, verb: Verb) -> None:
    """Add the pod's link to the flowtable or remove it; what fails is left to the next look."""
    if pod.eni.offloads:
        with suppress(DatapathError), Netlink() as netlink:
            apply([Operation(verb, FlowtableLink(pod.host_link))], netlink)


def _failures(operations: Sequence[Operation]) -> Iterator[DatapathError]:
    for operation in operations:
        try:
            _restore([operation])
        except DatapathError as error:
            yield error


def _restore(operations: Sequence[Operation]) -> None:
    with Netlink() as netlink:
        restore(operations, netlink)
