"""Observe and apply: the only place where the datapath's items meet the kernel.

All of it acts in the network namespace of the thread that calls, except for requests on a socket
that was opened elsewhere and is passed in.
"""

import shutil
import subprocess
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Final, TypeAlias

from openeni_crds import names
from openeni_nodeagent.datapath.describe import text
from openeni_nodeagent.datapath.filters import ERASURE, removal
from openeni_nodeagent.datapath.linux import nfnetlink, rtnetlink
from openeni_nodeagent.datapath.linux.messages import decode
from openeni_nodeagent.datapath.linux.netlink import NETFILTER, Netlink, Refusal
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
from openeni_nodeagent.wiring import KernelRefusedError

_SYSCTLS: Final = Path("/proc/sys")
_NFT_SECONDS: Final = 30
# A removal that finds nothing has nothing to do: the kernel takes along what stands on a link, and
# another thread's look may be older than this one's deed.
_ALREADY_GONE: Final = frozenset({"ENOENT", "ESRCH", "ENODEV", "EADDRNOTAVAIL", "ENXIO"})
Door: TypeAlias = Callable[[Sequence[Operation], Netlink], None]


@contextmanager
def connected() -> Generator[Netlink]:
    """Yield a socket in the calling thread's namespace; what it cannot do is KernelRefusedError."""
    try:
        with Netlink() as netlink:
            yield netlink
    except OSError as error:
        raise KernelRefusedError(f"netlink: {error.strerror or error}") from error


def speaks_ipv6() -> bool:
    """Whether this kernel has IPv6 at all (it may be switched off at boot)."""
    return (_SYSCTLS / "net/ipv6").exists()


def links(netlink: Netlink) -> frozenset[Link]:
    """Every link of the namespace."""
    found = (decode(rtnetlink.LINK, body) for _, body in _dump(netlink, rtnetlink.LINK))
    return frozenset(link for link in found if isinstance(link, Link))


def observe(netlink: Netlink, *, nic: int = 0) -> State:
    """What is ours in the namespace, with all links and addresses; with `nic` all its routes too.

    Without nftables and sysctls: see `observe_filters`, `observe_sysctls`.
    """
    families = (4, 6) if speaks_ipv6() else (4,)
    routes = [rtnetlink.dump_routes(family) for family in families]
    if nic:
        routes += [rtnetlink.dump_routes(family, index=nic) for family in families]
    requests = [
        (rtnetlink.LINK, rtnetlink.dump(rtnetlink.LINK)),
        (rtnetlink.ADDRESS, rtnetlink.dump(rtnetlink.ADDRESS)),
        (rtnetlink.RULE, rtnetlink.dump(rtnetlink.RULE)),
        (rtnetlink.NEIGHBOUR, rtnetlink.dump(rtnetlink.NEIGHBOUR)),
        (rtnetlink.NEIGHBOUR, rtnetlink.dump(rtnetlink.NEIGHBOUR, proxies=True)),
        *((rtnetlink.ROUTE, request) for request in routes),
    ]
    found = (decode(kind, body) for kind, ask in requests for _, body in netlink.ask(ask))
    return frozenset(item for item in found if item and _is_ours(item, nic))


def observe_filters() -> State:
    """Our nftables chains and the members of our sets."""
    with Netlink(NETFILTER) as netfilter:
        members = {
            item
            for name in nfnetlink.SETS
            for body in _ask_netfilter(netfilter, nfnetlink.dump_elements(name))
            for item in nfnetlink.elements(name, body)
        }
        chains = {
            chain
            for family in ("inet", "netdev")
            for chain in nfnetlink.chains(
                family, _ask_netfilter(netfilter, nfnetlink.dump_rules(family))
            )
        }
    return frozenset(members | chains)


def observe_sysctls(wanted: State) -> State:
    """The present values of the sysctls that `wanted` names.

    A kernel without IPv6 has none of its sysctls, and already is as silent as we want it.
    """
    return frozenset(Sysctl(item.path, _read(item)) for item in wanted if isinstance(item, Sysctl))


def apply(operations: Sequence[Operation], netlink: Netlink) -> None:
    """Do all of it, in order, in as few messages as the order allows.

    Raises KernelRefusedError at the first thing the kernel will not do; what came after it in the
    same batch has been tried.
    """
    for door, group in groupby(operations, key=_door):
        door(list(group), netlink)


def write(operations: Sequence[Operation], _: Netlink | None = None) -> None:
    """Write sysctls where they differ: of the calling thread's namespace, whatever the socket."""
    for operation in operations:
        item = operation.item
        if isinstance(item, Sysctl) and _read(item) != item.value:
            try:
                (_SYSCTLS / item.path).write_text(item.value)
            except OSError as error:
                raise KernelRefusedError(f"{text(item)}: {error.strerror}") from error


def execute(netlink: Netlink, requests: Sequence[bytes], operations: Sequence[Operation]) -> None:
    """Send prepared requests; `operations` say, one for one, what each is for."""
    for refusal in netlink.execute(requests):
        _raise_unless_done(operations[refusal.place], refusal)


def _dump(netlink: Netlink, kind: int) -> list[tuple[int, bytes]]:
    return netlink.ask(rtnetlink.dump(kind))


def _is_ours(item: Item, nic: int) -> bool:
    match item:
        case Rule() | Neighbour():
            return item.protocol == names.PROTOCOL
        case Route():
            return item.protocol == names.PROTOCOL or (bool(nic) and item.index == nic)
        case _:
            return True


def _ask_netfilter(netfilter: Netlink, request: bytes) -> Iterable[bytes]:
    try:
        return [body for _, body in netfilter.ask(request)]
    except FileNotFoundError:  # no table of ours (yet, or any more)
        return []


def _read(item: Sysctl) -> str:
    try:
        return (_SYSCTLS / item.path).read_text().strip()
    except OSError:
        return item.value if not speaks_ipv6() and item.path.startswith("net/ipv6/") else ""


def _door(operation: Operation) -> Door:
    match operation.item:
        case Sysctl():
            return write
        case Element():
            return _put
        case Chain():
            return _filter
        case Link() | Address() | Route() | Rule() | Neighbour():
            return _route


def _route(operations: Sequence[Operation], netlink: Netlink) -> None:
    execute(netlink, [rtnetlink.encode(o) for o in operations], operations)


def _put(operations: Sequence[Operation], _: Netlink) -> None:
    # One transaction an element where one of them may be gone: a transaction is all or nothing.
    removing = any(o.verb is Verb.REMOVE for o in operations)
    batches = [[o] for o in operations] if removing else [list(operations)]
    with Netlink(NETFILTER) as netfilter:
        for batch in batches:
            requests = nfnetlink.batch(batch)
            for refusal in netfilter.execute(requests, silent=nfnetlink.FRAME):
                _raise_unless_done(batch[max(refusal.place - nfnetlink.FRAME, 0)], refusal)


def _filter(operations: Sequence[Operation], _: Netlink) -> None:
    script = "".join(
        removal(o.item.family, o.item.name) if o.verb is Verb.REMOVE else o.item.text
        for o in operations
        if isinstance(o.item, Chain)
    )
    _nft(script)


def erase_filters() -> None:
    """Take away our tables with all that is in them, if they are there."""
    _nft(ERASURE)


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
        raise KernelRefusedError(f"nft did not end within {_NFT_SECONDS} s") from error
    if done.returncode:
        complaint = done.stderr.strip().partition("\n")[0]
        raise KernelRefusedError(f"nft: {complaint}")


def _raise_unless_done(operation: Operation, refusal: Refusal) -> None:
    if operation.verb is Verb.REMOVE and refusal.name in _ALREADY_GONE:
        return
    raise KernelRefusedError(f"{operation.verb} {text(operation.item)}: {refusal}")
