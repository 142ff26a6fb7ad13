"""pyroute2's messages. The only importer of pyroute2.

It has no types: to the type checkers each class is Any.
"""

from typing import Any, Final

from pyroute2.netlink import nlmsgerr
from pyroute2.netlink.exceptions import NetlinkDecodeError
from pyroute2.netlink.nfnetlink.nfctsocket import nfct_msg
from pyroute2.netlink.nfnetlink.nftsocket import (
    nft_chain_msg,
    nft_flowtable_msg,
    nft_rule_msg,
    nft_set_elem_list_msg,
    nft_table_msg,
)
from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ifinfmsg.plugins.ipvlan import ipvlan
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg
from pyroute2.netlink.rtnl.tcmsg import tcmsg

LinkMessage: Final[Any] = ifinfmsg
AddressMessage: Final[Any] = ifaddrmsg
RouteMessage: Final[Any] = rtmsg
RuleMessage: Final[Any] = fibmsg
NeighbourMessage: Final[Any] = ndmsg
QdiscMessage: Final[Any] = tcmsg
SetElementsMessage: Final[Any] = nft_set_elem_list_msg
FilterTableMessage: Final[Any] = nft_table_msg
FilterChainMessage: Final[Any] = nft_chain_msg
FilterRuleMessage: Final[Any] = nft_rule_msg
FlowtableMessage: Final[Any] = nft_flowtable_msg
ConntrackMessage: Final[Any] = nfct_msg
ErrorMessage: Final[Any] = nlmsgerr
IPVlanData: Final[Any] = ipvlan
IPVlanData.nla_map = (*ipvlan.nla_map, ("IFLA_IPVLAN_FLAGS", "uint16"))  # unknown to pyroute2 0.9
DecodeError: Final[type[Exception]] = NetlinkDecodeError
