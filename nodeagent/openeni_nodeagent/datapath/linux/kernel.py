"""Observe the kernel's state as items of the model, and apply operations on them.

Everything acts in the network namespace of the calling thread, except for requests on a socket that
is passed in: they act where the socket was opened.
"""

import errno
import shutil
import subprocess
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from itertools import chain, groupby
from typing import Final, TypeAlias

from openeni_crds import names
from openeni_nodeagent.addresses import IPV4, IPV6
from openeni_nodeagent.datapath.describe import text
from openeni_nodeagent.datapath.filters.chains import delete_chain, delete_table, empty_chain
from openeni_nodeagent.datapath.linux import dumps, nfnetlink, rtnetlink_encode, uapi
from openeni_nodeagent.datapath.linux.conntrack import flush_to_host_ports
from openeni_nodeagent.datapath.linux.netlink import (
    ANSWERED_AT_ONCE,
    DumpRefusedError,
    Netlink,
    Refusal,
)
from openeni_nodeagent.datapath.linux.sysctls import speaks_ipv6, write_sysctls
from openeni_nodeagent.datapath.model import (
    NIC,
    Address,
    Chain,
    Element,
    FlowtableLink,
    Item,
    Link,
    Neighbour,
    Operation,
    Qdisc,
    Route,
    Rule,
    State,
    Sysctl,
    Verb,
)
from openeni_nodeagent.datapath.nft_sets import SETS
from openeni_nodeagent.datapath_api import KernelRefusedError, ProgramFailedError

_NFT_SECONDS: Final = 30
# What a removal does not find is gone already: the kernel removes addresses, routes and neighbours
# with their link, and another thread may have removed them since they were observed.
_ALREADY_GONE: Final = frozenset({"ENOENT", "ESRCH", "ENODEV", "EADDRNOTAVAIL", "ENXIO"})
Executor: TypeAlias = Callable[[Sequence[Operation], Netlink], None]


class ItemRefusedError(KernelRefusedError):
    """The kernel refused to change one item."""

    def __init__(self, item: Item, what: str) -> None:
        super().__init__(what)
        # Without these, what chains mark, or let pass, would go another way.
        self.holds_chains_back = isinstance(item, Route | Rule | Element)


def list_links(netlink: Netlink) -> frozenset[Link]:
    """Return every link of the namespace."""
    return frozenset(dumps.links(netlink))


def find_link(netlink: Netlink, name: str) -> Link | None:
    """Return the link of the namespace that has this name."""
    return dumps.link_named(netlink, name)


def observe(netlink: Netlink, rules: Collection[Rule] | None = None) -> State:
    """Return all links, addresses and token buckets, and our routes, rules and neighbours.

    Everybody's `rules` may have been read. `routes_of` reads everybody's routes of one link.
    """
    rules = tuple(dumps.rules(netlink)) if rules is None else rules
    items: set[Item] = {*dumps.links(netlink), *dumps.addresses(netlink)}
    items.update(dumps.neighbours(netlink), dumps.qdiscs(netlink))
    items.update(rule for rule in rules if rule.protocol == names.PROTOCOL)
    for family in _families():
        items.update(dumps.routes(netlink, family))
    return frozenset(items)


def addresses_of(netlink: Netlink, link: Link) -> frozenset[str]:
    """Return the addresses of one link; no other is read."""
    return frozenset(found.address for found in dumps.addresses(netlink, index=link.index))


def routes_of(netlink: Netlink, index: int) -> State:
    """Return everybody's routes of one link, none if it has gone."""
    try:
        found = (dumps.everybodys_routes(netlink, f, index=index) for f in _families())
        return frozenset(chain.from_iterable(found))
    except DumpRefusedError as refusal:
        if refusal.errno == errno.ENODEV:
            return frozenset()
        raise


def observe_filters() -> State:
    """Return our nftables chains, the members of our sets and the links in our flowtable."""
    with Netlink(uapi.NETLINK_NETFILTER) as netfilter:
        members = {m for name in SETS for m in _members(netfilter, name)}
        tables = dumps.tables(netfilter).items()
        chains = {c for f, dormant in tables for c in dumps.chains(netfilter, f, dormant=dormant)}
        return frozenset(members | chains).union(dumps.flowtable_links(netfilter))


def apply(
    operations: Sequence[Operation], netlink: Netlink, *, past_refusals: bool = False
) -> None:
    """Apply operations in order, in as few messages as the order allows.

    Raises KernelRefusedError for the first operation that the kernel refuses; those after it in the
    same batch have been tried, and `past_refusals` all that do not depend on it.
    """
    coming = [o.item for o in operations if o.verb is not Verb.REMOVE]
    families = {item.family for item in coming if isinstance(item, Chain)}
    refused: KernelRefusedError | None = None
    is_unprotected = False
    for executor, group in groupby(operations, key=_executor):
        batch = [o for o in group if not (is_unprotected and _sets_nic_up(o))]
        try:
            made = (o.item for o in batch if o.verb is not Verb.REMOVE)
            if families and any(isinstance(i, Element | FlowtableLink | Chain) for i in made):
                _create_tables({"inet"} | families)  # with the sets that members and rules name
                families = set[str]()
            executor(batch, netlink)
        except KernelRefusedError as error:
            refused = refused or error
            if not past_refusals or _holds_rest_back(error, batch):
                break
            is_unprotected |= not isinstance(error, ItemRefusedError)
    if refused:
        raise refused


def _holds_rest_back(error: KernelRefusedError, batch: Sequence[Operation]) -> bool:
    """Return True if nothing may follow; without chains that protect NICs, those stay down."""
    if isinstance(error, ItemRefusedError):
        return error.holds_chains_back
    return not all(isinstance(o.item, Chain) and o.item.protects for o in batch)


def _sets_nic_up(operation: Operation) -> bool:
    item = operation.item
    return isinstance(item, Link) and item.kind == NIC and item.up


def restore(operations: Sequence[Operation], netlink: Netlink) -> None:
    """Apply operations as far as the kernel lets; a route of others' in one's place is replaced.

    An MTU that a NIC does not take, say, keeps no chain from being there again.
    """
    apply([_in_place(operation) for operation in operations], netlink, past_refusals=True)


def execute(netlink: Netlink, requests: Sequence[bytes], operations: Sequence[Operation]) -> None:
    """Send encoded requests; `operations` has the operation of each, for errors."""
    refusals = [(operations[r.index], r) for r in netlink.execute(requests)]
    if errors := [_error(*refused) for refused in refusals if not _is_gone(*refused)]:
        raise max(errors, key=lambda error: error.holds_chains_back)


def _families() -> tuple[int, ...]:
    return (IPV4, IPV6) if speaks_ipv6() else (IPV4,)


def _members(netfilter: Netlink, name: str) -> list[Element]:
    try:
        return list(dumps.elements(netfilter, name))
    except DumpRefusedError as refusal:
        if refusal.errno == errno.ENOENT:  # our table does not exist
            return []
        raise


def _in_place(operation: Operation) -> Operation:
    adds_route = operation.verb is Verb.ADD and isinstance(operation.item, Route)
    return replace(operation, verb=Verb.CHANGE) if adds_route else operation


def _executor(operation: Operation) -> Executor:
    match operation.item:
        case Sysctl():
            return _apply_sysctls
        case Element() | FlowtableLink():
            return _apply_members
        case Chain():
            return _apply_chains
        case Link() | Address() | Route() | Rule() | Neighbour() | Qdisc():
            return _apply_rtnetlink


def _apply_sysctls(operations: Sequence[Operation], _: Netlink) -> None:
    refused: list[ItemRefusedError] = []
    for item in (o.item for o in operations if isinstance(o.item, Sysctl)):
        try:
            write_sysctls([item])
        except KernelRefusedError as error:
            refused.append(ItemRefusedError(item, str(error)))
    if refused:
        raise refused[0]


def _apply_rtnetlink(operations: Sequence[Operation], netlink: Netlink) -> None:
    requests = [request for operation in operations for request in _requests(operation)]
    execute(netlink, [encoded for encoded, _ in requests], [asked for _, asked in requests])


def _requests(operation: Operation) -> Iterator[tuple[bytes, Operation]]:
    """Yield the requests of an operation; a NIC comes up also if it does not take its MTU.

    A virtio NIC's greatest is the one that the network had when it was plugged.
    """
    item = operation.item
    if isinstance(item, Link) and item.kind == NIC:
        yield rtnetlink_encode.encode(replace(operation, item=replace(item, mtu=0))), operation
    yield rtnetlink_encode.encode(operation), operation


def _apply_members(operations: Sequence[Operation], _: Netlink) -> None:
    with Netlink(uapi.NETLINK_NETFILTER) as netfilter:
        for begin in range(0, len(operations), ANSWERED_AT_ONCE):
            _change_members(netfilter, operations[begin : begin + ANSWERED_AT_ONCE])
    flush_to_host_ports(frozenset(o.item for o in operations if o.verb is not Verb.REMOVE))


def _change_members(netfilter: Netlink, operations: Sequence[Operation]) -> None:
    """Change members of sets and of the flowtable in one transaction.

    That is all or nothing, and a member to be removed may be gone: each gets its own then.
    """
    refusals = netfilter.execute_framed(nfnetlink.batch(operations))
    if refusals and len(operations) > 1 and any(o.verb is Verb.REMOVE for o in operations):
        for operation in operations:
            _change_members(netfilter, [operation])
        return
    for refusal in refusals:
        operation = operations[max(refusal.index - nfnetlink.BATCH_FRAME, 0)]
        if not _is_gone(operation, refusal):
            raise _error(operation, refusal)


def _apply_chains(operations: Sequence[Operation], _: Netlink) -> None:
    chains = [(o.verb is Verb.REMOVE, o.item) for o in operations if isinstance(o.item, Chain)]
    emptied = [empty_chain(c.family, c.name) for _, c in chains]  # of jumps from one to another
    changed = [delete_chain(c.family, c.name) if goes else c.text for goes, c in chains]
    _nft("".join([*emptied, *changed]))


def _create_tables(families: Collection[str]) -> None:
    with Netlink(uapi.NETLINK_NETFILTER) as netfilter:
        for refusal in netfilter.execute_framed(nfnetlink.create_tables(families)):
            if refusal.name == "EEXIST":  # a set in our table has another type: all begins anew
                delete_filters()
            raise KernelRefusedError(f"creating our nftables tables and sets: {refusal}")


def delete_filters() -> None:
    """Delete our nftables tables and everything in them, if they exist."""
    with Netlink(uapi.NETLINK_NETFILTER) as netfilter:
        families = dumps.tables(netfilter)
    _nft("".join(map(delete_table, families)))


def _nft(script: str) -> None:
    if not (nft := shutil.which("nft")):
        raise ProgramFailedError("the program nft is missing: install nftables")
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
        raise ProgramFailedError(f"nft did not finish within {_NFT_SECONDS} s") from error
    except OSError as error:  # no memory or process left
        raise ProgramFailedError(f"nft cannot be run: {error.strerror}") from error
    if done.returncode < 0:
        raise ProgramFailedError(f"nft was ended by signal {-done.returncode}")
    if done.returncode:
        lines = done.stderr.strip().split("\n")[:2]  # a third one underlines
        raise KernelRefusedError(f"nft: {' '.join(lines)}")


def _is_gone(operation: Operation, refusal: Refusal) -> bool:
    return operation.verb is Verb.REMOVE and refusal.name in _ALREADY_GONE


def _error(operation: Operation, refusal: Refusal) -> ItemRefusedError:
    return ItemRefusedError(operation.item, f"{operation.verb} {text(operation.item)}: {refusal}")
