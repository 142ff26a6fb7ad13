"""Observe the kernel's state as items of the model, and apply operations on them.

Everything acts in the network namespace of the calling thread, except for requests on a socket that
is passed in: they act where the socket was opened.
"""

import shutil
import subprocess
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Final, TypeAlias

from openeni_crds import names
from openeni_nodeagent.addresses import IPV4, IPV6
from openeni_nodeagent.datapath.describe import text
from openeni_nodeagent.datapath.filters import DELETE_TABLES, delete_chain
from openeni_nodeagent.datapath.linux import nfnetlink, rtnetlink_encode, uapi
from openeni_nodeagent.datapath.linux.netlink import Netlink, Refusal
from openeni_nodeagent.datapath.linux.rtnetlink_decode import decode
from openeni_nodeagent.datapath.model import (
    Address,
    Chain,
    Element,
    Item,
    Link,
    Neighbour,
    Operation,
    Route,
    Rule,
    State,
    Sysctl,
    Verb,
)
from openeni_nodeagent.datapath_api import KernelRefusedError

_SYSCTLS: Final = Path("/proc/sys")
_NFT_SECONDS: Final = 30
# What a removal does not find is gone already: the kernel removes addresses, routes and neighbours
# with their link, and another thread may have removed them since they were observed.
_ALREADY_GONE: Final = frozenset({"ENOENT", "ESRCH", "ENODEV", "EADDRNOTAVAIL", "ENXIO"})
Executor: TypeAlias = Callable[[Sequence[Operation], Netlink], None]


@contextmanager
def open_netlink() -> Generator[Netlink]:
    """Yield a netlink socket of the calling thread's namespace.

    An OSError inside the block is raised as KernelRefusedError.
    """
    try:
        with Netlink() as netlink:
            yield netlink
    except OSError as error:
        raise KernelRefusedError(f"netlink: {error.strerror or error}") from error


def speaks_ipv6() -> bool:
    """Return False on a kernel without IPv6: built so, or booted with ipv6.disable=1."""
    return (_SYSCTLS / "net/ipv6").exists()


def list_links(netlink: Netlink) -> frozenset[Link]:
    """Return every link of the namespace."""
    found = (decode(uapi.RTM_NEWLINK, body) for _, body in _dump(netlink, uapi.RTM_NEWLINK))
    return frozenset(link for link in found if isinstance(link, Link))


def observe(netlink: Netlink, *, nic: int = 0) -> State:
    """Return all links and addresses of the namespace, and our routes, rules and neighbours.

    With `nic`, an interface index, everybody's routes of that link are included. Filters and
    sysctls are read by `observe_filters` and `observe_sysctls`.
    """
    families = (IPV4, IPV6) if speaks_ipv6() else (IPV4,)
    routes = [rtnetlink_encode.dump_routes(family) for family in families]
    if nic:
        routes += [rtnetlink_encode.dump_routes(family, index=nic) for family in families]
    requests = [
        (uapi.RTM_NEWLINK, rtnetlink_encode.dump(uapi.RTM_NEWLINK)),
        (uapi.RTM_NEWADDR, rtnetlink_encode.dump(uapi.RTM_NEWADDR)),
        (uapi.RTM_NEWRULE, rtnetlink_encode.dump(uapi.RTM_NEWRULE)),
        (uapi.RTM_NEWNEIGH, rtnetlink_encode.dump(uapi.RTM_NEWNEIGH)),
        (uapi.RTM_NEWNEIGH, rtnetlink_encode.dump(uapi.RTM_NEWNEIGH, proxies=True)),
        *((uapi.RTM_NEWROUTE, request) for request in routes),
    ]
    found = (decode(kind, body) for kind, request in requests for _, body in netlink.dump(request))
    return frozenset(item for item in found if item and _is_ours(item, nic))


def observe_filters() -> State:
    """Return our nftables chains and the members of our sets."""
    with Netlink(uapi.NETLINK_NETFILTER) as netfilter:
        members = {
            item
            for name in nfnetlink.SETS
            for body in _dump_netfilter(netfilter, nfnetlink.dump_elements(name))
            for item in nfnetlink.elements(name, body)
        }
        chains = {
            chain
            for family in ("inet", "netdev")
            for chain in nfnetlink.chains(
                family, _dump_netfilter(netfilter, nfnetlink.dump_rules(family))
            )
        }
    return frozenset(members | chains)


def observe_sysctls(wanted: State) -> State:
    """Return the current values of the sysctls that `wanted` names.

    On a kernel without IPv6, which has none of its sysctls, they count as set.
    """
    return frozenset(Sysctl(item.path, _read(item)) for item in wanted if isinstance(item, Sysctl))


def apply(operations: Sequence[Operation], netlink: Netlink) -> None:
    """Apply operations in order, in as few messages as the order allows.

    Raises KernelRefusedError for the first operation that the kernel refuses; those after it in the
    same batch have been tried.
    """
    for executor, group in groupby(operations, key=_executor):
        executor(list(group), netlink)


def write_sysctls(operations: Sequence[Operation], _: Netlink | None = None) -> None:
    """Write the sysctls that differ, in the calling thread's namespace, wherever the socket is."""
    for operation in operations:
        item = operation.item
        if isinstance(item, Sysctl) and _read(item) != item.value:
            try:
                (_SYSCTLS / item.path).write_text(item.value)
            except OSError as error:
                raise KernelRefusedError(f"{text(item)}: {error.strerror}") from error


def execute(netlink: Netlink, requests: Sequence[bytes], operations: Sequence[Operation]) -> None:
    """Send encoded requests; `operations` has the operation of each, for errors."""
    for refusal in netlink.execute(requests):
        _raise_unless_gone(operations[refusal.index], refusal)


def _dump(netlink: Netlink, kind: int) -> list[tuple[int, bytes]]:
    return netlink.dump(rtnetlink_encode.dump(kind))


def _is_ours(item: Item, nic: int) -> bool:
    match item:
        case Rule() | Neighbour():
            return item.protocol == names.PROTOCOL
        case Route():
            return item.protocol == names.PROTOCOL or (bool(nic) and item.index == nic)
        case _:
            return True


def _dump_netfilter(netfilter: Netlink, request: bytes) -> Iterable[bytes]:
    try:
        return [body for _, body in netfilter.dump(request)]
    except FileNotFoundError:  # our table does not exist
        return []


def _read(item: Sysctl) -> str:
    try:
        return (_SYSCTLS / item.path).read_text().strip()
    except OSError:
        return item.value if not speaks_ipv6() and item.path.startswith("net/ipv6/") else ""


def _executor(operation: Operation) -> Executor:
    match operation.item:
        case Sysctl():
            return write_sysctls
        case Element():
            return _apply_elements
        case Chain():
            return _apply_chains
        case Link() | Address() | Route() | Rule() | Neighbour():
            return _apply_rtnetlink


def _apply_rtnetlink(operations: Sequence[Operation], netlink: Netlink) -> None:
    execute(netlink, [rtnetlink_encode.encode(o) for o in operations], operations)


def _apply_elements(operations: Sequence[Operation], _: Netlink) -> None:
    # A transaction is all or nothing, and a member to be removed may be gone: one for each then.
    removing = any(o.verb is Verb.REMOVE for o in operations)
    batches = [[o] for o in operations] if removing else [list(operations)]
    with Netlink(uapi.NETLINK_NETFILTER) as netfilter:
        for batch in batches:
            requests = nfnetlink.batch(batch)
            for refusal in netfilter.execute(requests, unacknowledged=nfnetlink.BATCH_FRAME):
                _raise_unless_gone(batch[max(refusal.index - nfnetlink.BATCH_FRAME, 0)], refusal)


def _apply_chains(operations: Sequence[Operation], _: Netlink) -> None:
    script = "".join(
        delete_chain(o.item.family, o.item.name) if o.verb is Verb.REMOVE else o.item.text
        for o in operations
        if isinstance(o.item, Chain)
    )
    if any(o.verb is not Verb.REMOVE for o in operations):
        _create_sets()  # first: the rules name them
    _nft(script)


def _create_sets() -> None:
    with Netlink(uapi.NETLINK_NETFILTER) as netfilter:
        requests = nfnetlink.create_sets()
        for refusal in netfilter.execute(requests, unacknowledged=nfnetlink.BATCH_FRAME):
            raise KernelRefusedError(f"creating our nftables sets: {refusal}")


def delete_filters() -> None:
    """Delete our nftables tables and everything in them, if they exist."""
    _nft(DELETE_TABLES)


def _nft(script: str) -> None:
    if not (nft := shutil.which("nft")):
        raise KernelRefusedError("the program nft is missing: install nftables")
    try:
        done = subprocess.run(
            [nft, "-f", "-"],
            input=script,
            capture_output=True,
            text=True,
            timeout=_NFT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise KernelRefusedError(f"nft did not finish within {_NFT_SECONDS} s") from error
    if done.returncode:
        complaint = done.stderr.strip().partition("\n")[0]
        raise KernelRefusedError(f"nft: {complaint}")


def _raise_unless_gone(operation: Operation, refusal: Refusal) -> None:
    if operation.verb is Verb.REMOVE and refusal.name in _ALREADY_GONE:
        return
    raise KernelRefusedError(f"{operation.verb} {text(operation.item)}: {refusal}")
