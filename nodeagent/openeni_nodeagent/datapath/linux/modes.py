"""Detect what this kernel supports by trying it in a temporary namespace."""

import logging
import math
import os
import time
from functools import cache, partial
from typing import Final

from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, MetadataService, Mode
from openeni_nodeagent.datapath.diff import in_order
from openeni_nodeagent.datapath.filters.chains import chain
from openeni_nodeagent.datapath.filters.egress import egress_chain
from openeni_nodeagent.datapath.filters.layer_3 import OF_A_SOCKET
from openeni_nodeagent.datapath.links import kernel_mode
from openeni_nodeagent.datapath.linux.kernel import apply
from openeni_nodeagent.datapath.linux.namespace import in_new_namespace
from openeni_nodeagent.datapath.linux.netlink import Netlink
from openeni_nodeagent.datapath.linux.rtnetlink_encode import create_link
from openeni_nodeagent.datapath.model import (
    IPVLAN,
    VETH,
    Chain,
    FlowtableLink,
    Link,
    Operation,
    Verb,
)
from openeni_nodeagent.datapath.nft_sets import FLOWTABLE
from openeni_nodeagent.datapath_api import (
    KernelRefusedError,
    LinkFacts,
    ModeUnsupportedError,
    ProgramFailedError,
)

_log: Final = logging.getLogger(__name__)
_PARENT: Final = Link("parent", 10, VETH, "02:00:00:00:00:10", 1500)
_PEER: Final = Link("peer", 11, VETH, "02:00:00:00:00:11", 1500)
_ON_OUTPUT: Final = "type filter hook output priority mangle; policy accept;"
_ON_FORWARD: Final = "type filter hook forward priority filter; policy accept;"
_PLAIN_CHAIN: Final = chain("inet", "plain", _ON_OUTPUT, ["accept"])
_FLOWS_CAN_BE_DELETED_SINCE: Final = (5, 19)
# A refusal may be of the moment, as for want of memory. That of nftables counts as lasting then.
_TRIES: Final = 2
_ALL: Final = (
    Datapath(Mode.VETH),
    *(Datapath(Mode.IPVLAN, IPVlanDatapath(mode)) for mode in IPVlanMode),
)
_REFUSED_SECONDS: Final = 60.0  # until a mode is tried again: its module may be installed meanwhile
_supported: Final = set[str]()  # words of modes
_refused_at: Final = dict[str, float]()


def supported_datapath_modes() -> frozenset[str]:
    """Return the modes (Datapath.word) whose links the kernel can create, loading its modules.

    Each ENI asks for them whenever it changes: what the kernel has refused is not tried each time.
    """
    return frozenset(d.word for d in _ALL if _is_supported(d))


def _is_supported(datapath: Datapath) -> bool:
    """Return True if the kernel could create the mode's links when that was last tried."""
    word = datapath.word
    tried_at = _refused_at.get(word, -math.inf)
    if word not in _supported and time.monotonic() - tried_at >= _REFUSED_SECONDS:
        if any(in_new_namespace(partial(_creates_link, datapath)) for _ in range(_TRIES)):
            _supported.add(word)
        else:
            _refused_at[word] = time.monotonic()
    return word in _supported


@cache
def has_egress_hook() -> bool:
    """Return True if nftables has the egress hook (Linux 5.16).

    Raises ProgramFailedError while that cannot be tried; it is tried again then.
    """
    on_egress = egress_chain(LinkFacts(_PARENT.name, _PARENT.index))
    has_it = in_new_namespace(partial(_accepts, on_egress))
    if not has_it:
        _log.warning(
            "the kernel has no egress hook of nftables (Linux 5.16): a pod with CAP_NET_RAW may "
            "reach the metadata service"
        )
    return has_it


@cache
def has_flow_offload() -> bool:
    """Return True if established flows can bypass the node's stack, by nftables flowtables.

    Before Linux 5.19 nobody can delete the conntrack entry of such a flow, as kube-proxy does with
    those of UDP that lead to a pod that is gone. Raises ProgramFailedError while it cannot be
    tried; it is tried again then.
    """
    add_flows = chain("inet", "tried", _ON_FORWARD, [f"flow add @{FLOWTABLE}"])
    tried = partial(_accepts, add_flows, FlowtableLink(_PARENT.name))
    has_it = _release() >= _FLOWS_CAN_BE_DELETED_SINCE and in_new_namespace(tried)
    if not has_it:
        _log.info(
            "established flows of veth pods go through the node's network stack: the kernel has no "
            "nftables flowtables (Linux 5.19 or newer, CONFIG_NFT_FLOW_OFFLOAD)"
        )
    return has_it


def _release() -> tuple[int, ...]:
    """Return the kernel's version, such as (6, 1)."""
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int(minor.partition("-")[0])


@cache
def knows_sockets() -> bool:
    """Return True if nftables knows which packets the node's own sockets have sent.

    Raises ProgramFailedError while that cannot be tried; it is tried again then.
    """
    of_a_socket = chain("inet", "tried", _ON_OUTPUT, [OF_A_SOCKET])
    return in_new_namespace(partial(_accepts, of_a_socket))


def require_support(datapath: Datapath) -> None:
    """Raise ModeUnsupportedError if this kernel does not support the datapath."""
    if not _is_supported(datapath):
        raise ModeUnsupportedError(
            f"this node's kernel does not support mode {datapath.word}, only "
            f"{', '.join(sorted(supported_datapath_modes())) or 'none'}: "
            "use one of these, or another kernel"
        )
    if datapath.ipvlan_mode in {IPVlanMode.L3S, IPVlanMode.L3} and not knows_sockets():
        raise ModeUnsupportedError(
            "this node's kernel cannot tell what pods send in this mode from what the node sends "
            "(that needs CONFIG_CGROUP_NET_CLASSID): use Veth or L2, or another kernel"
        )
    if (
        datapath.ipvlan_mode is IPVlanMode.L2
        and datapath.metadata_service is MetadataService.BLOCK
        and not has_egress_hook()
    ):
        raise ModeUnsupportedError(
            "this node's kernel cannot keep ipvlan L2 pods from the metadata service (that needs "
            "nftables' egress hook, Linux 5.16): use L3S or metadataService: Allow"
        )


def _creates_link(datapath: Datapath) -> bool:
    with Netlink() as netlink:
        if not _create_parent(netlink):
            return False
        if datapath.mode is Mode.VETH:
            return True
        slave = Link("slave", 12, IPVLAN, "", 1500, parent=10, mode=kernel_mode(datapath))
        return not netlink.execute([create_link(slave)])


def _accepts(*tried: FlowtableLink | Chain) -> bool:
    """Return True if the kernel accepts these, False if it refuses them, but accepts a chain."""
    with Netlink() as netlink:
        if not _create_parent(netlink):
            raise ProgramFailedError("there is no link to try nftables on")
        for _ in range(_TRIES):
            refusal = _refusal(netlink, *tried)
            if refusal is None:
                return True
            if _refusal(netlink, _PLAIN_CHAIN):
                raise ProgramFailedError(f"nftables cannot be tried: {refusal}") from refusal
        return False


def _refusal(netlink: Netlink, *tried: FlowtableLink | Chain) -> KernelRefusedError | None:
    """Return why the kernel refuses these, None if it does not. Raises ProgramFailedError."""
    try:
        apply(in_order([Operation(Verb.ADD, item) for item in tried]), netlink)
    except ProgramFailedError:
        raise
    except KernelRefusedError as refusal:
        return refusal
    return None


def _create_parent(netlink: Netlink) -> bool:
    return not netlink.execute([create_link(_PARENT, peer=_PEER)])
