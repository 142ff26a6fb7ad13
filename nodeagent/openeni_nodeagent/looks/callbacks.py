"""What a look at the node asks and tells the rest of the agent."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from openeni_nodeagent.datapath_api import Repair
from openeni_nodeagent.grants.grant import Grant


@dataclass(frozen=True)
class LookCallbacks:
    """Callbacks of a look."""

    is_synced: Callable[[], bool]  # True once the caches show all objects of this node
    may_repair: Callable[[], bool]  # True while they are up to date
    unfinished_links: Callable[[], frozenset[str]]  # of ended grants, still to be removed
    on_pod: Callable[[Grant], None]  # the state of a pod's datapath has changed
    on_reserved: Callable[[], None]  # which addresses are reserved has changed
    on_repaired: Callable[[], None]  # journal, kernel and PodIPs have been compared
    on_repairs: Callable[[Sequence[Repair]], None]  # what others had changed has been restored
