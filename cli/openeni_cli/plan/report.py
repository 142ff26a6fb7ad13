"""What `openeni plan` reports. Pure."""

from msgspec import Struct


class SubnetNeed(Struct, frozen=True, rename="camel"):
    """Addresses of an IP family; `free` is an upper bound, None where it is not known."""

    family: str
    needed: int
    free: int | None


class PlanReport(Struct, frozen=True, rename="camel"):
    """What a pool needs so that more nodes and pods are served."""

    pool: str
    nodes: int  # with the new ones
    new_nodes: int
    pods: int
    unplaced_pods: int  # nodes are full: status.allocatable.pods
    unserved_pods: int  # a limit of the pool keeps them from an address
    ports: int  # new ones
    ports_left: int | None  # of the project's quota; None where nobody has said it
    addresses: int  # for pods, new ones; a port takes one more
    most_nics: int = 0  # of openeni's on one server
    subnets: tuple[SubnetNeed, ...] = ()
    limits: tuple[str, ...] = ()  # that keep pods from an address
    seconds_per_eni: float = 0.0
    measured: bool = False  # seconds_per_eni is of ENIs that exist
    seconds: float = 0.0  # until all is ready
    fits: bool = True
