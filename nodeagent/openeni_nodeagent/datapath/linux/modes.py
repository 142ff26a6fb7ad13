"""What this kernel can do, found out by doing it once in a namespace that is thrown away."""

from functools import cache, partial
from typing import Final

from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, MetadataService, Mode
from openeni_nodeagent.datapath.filters import metadata_chain
from openeni_nodeagent.datapath.linux.kernel import apply, connected
from openeni_nodeagent.datapath.linux.namespace import throw_away
from openeni_nodeagent.datapath.linux.netlink import Netlink
from openeni_nodeagent.datapath.linux.rtnetlink import create
from openeni_nodeagent.datapath.model import IPVLAN, VETH, Chain, Link, Operation, Verb
from openeni_nodeagent.datapath.place import kernel_mode
from openeni_nodeagent.wiring import KernelRefusedError, LinkFacts, ModeUnsupportedError

_PARENT: Final = Link("parent", 10, VETH, "02:00:00:00:00:10", 1500)
_PEER: Final = Link("peer", 11, VETH, "02:00:00:00:00:11", 1500)
_ALL: Final = (
    Datapath(Mode.VETH),
    *(Datapath(Mode.IPVLAN, IPVlanDatapath(mode)) for mode in IPVlanMode),
)


@cache
def supported_modes() -> frozenset[str]:
    """Return the modes (Datapath.word) whose links this kernel makes."""
    return frozenset(d.word for d in _ALL if throw_away(partial(_makes, d)))


@cache
def filters_egress() -> bool:
    """Whether nftables has the egress hook (Linux 5.16)."""
    return throw_away(_takes_egress_chain)


def require(datapath: Datapath) -> None:
    """Raise ModeUnsupportedError if this kernel cannot do it."""
    if datapath.word not in supported_modes():
        raise ModeUnsupportedError(
            f"this node's kernel cannot do mode {datapath.word}, only "
            f"{', '.join(sorted(supported_modes())) or 'none'}: choose another, or a kernel with it"
        )
    if (
        datapath.ipvlan_mode is IPVlanMode.L2
        and datapath.metadata_service is MetadataService.BLOCK
        and not filters_egress()
    ):
        raise ModeUnsupportedError(
            "this node's kernel cannot keep ipvlan l2 pods off the metadata service (nftables "
            "egress hook, Linux 5.16): choose L3S or metadataService: Allow"
        )


def _makes(datapath: Datapath) -> bool:
    with connected() as netlink:
        if not _parent(netlink):
            return False
        if datapath.mode is Mode.VETH:
            return True
        slave = Link("slave", 12, IPVLAN, "", 1500, parent=10, mode=kernel_mode(datapath))
        return not netlink.execute([create(slave)])


def _takes_egress_chain() -> bool:
    with connected() as netlink:
        _parent(netlink)
        chain: Chain = metadata_chain(LinkFacts(_PARENT.name, _PARENT.index), at_egress=True)
        try:
            apply([Operation(Verb.ADD, chain)], netlink)
        except KernelRefusedError:
            return False
        return True


def _parent(netlink: Netlink) -> bool:
    return not netlink.execute([create(_PARENT, peer=_PEER)])
