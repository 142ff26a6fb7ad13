"""The numbers and structs that we pack by hand are the kernel's, and pyroute2's."""

import secrets
import struct
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import netlink
from pyroute2.netlink import nlmsg, nlmsgerr, rtnl
from pyroute2.netlink.nfnetlink import nfctsocket, nfgen_msg, nftsocket
from pyroute2.netlink.rtnl import fibmsg, ifaddrmsg, ifinfmsg, ndmsg, rtmsg
from pyroute2.netlink.rtnl.ifinfmsg.plugins.ipvlan import ipvlan
from pyroute2.netlink.rtnl.tcmsg import sched_tbf, tcmsg

from openeni_nodeagent.datapath.linux import nfnetlink, rtnetlink_encode, uapi
from openeni_nodeagent.datapath.linux.attributes import HEADER

HEADERS = (
    "sys/socket.h",
    "linux/netlink.h",
    "linux/rtnetlink.h",
    "linux/net_namespace.h",
    "linux/if.h",
    "linux/if_link.h",
    "linux/veth.h",
    "linux/if_addr.h",
    "linux/neighbour.h",
    "linux/fib_rules.h",
    "linux/ipv6_route.h",
    "linux/pkt_sched.h",
    "linux/netfilter.h",
    "linux/netfilter/nfnetlink.h",
    "linux/netfilter/nfnetlink_conntrack.h",
    "linux/netfilter/nf_conntrack_common.h",
    "linux/netfilter/nf_tables.h",
)
CONSTANTS = {name: value for name, value in vars(uapi).items() if name.isupper()}
ATTRIBUTES = ("IFLA_", "IFA_", "RTA_", "FRA_", "NDA_", "NFTA_", "VETH_INFO_")
# Constants of structs' fields, attributes that pyroute2 reads by position, and one that it has not.
UNNAMED_BY_PYROUTE2 = {
    "IFA_F_DADFAILED",
    "IFA_F_DEPRECATED",
    "IFA_F_NODAD",
    "IFA_F_TENTATIVE",
    "NFTA_LIST_ELEM",
    "NETLINK_ROUTE",
    "SOL_NETLINK",
    "RTA_NH_ID",
}
MESSAGES: tuple[Any, ...] = (
    ifinfmsg.ifinfmsg,
    ipvlan,
    ifaddrmsg.ifaddrmsg,
    rtmsg.rtmsg,
    fibmsg.fibmsg,
    ndmsg.ndmsg,
    nftsocket.nft_table_msg,
    nftsocket.nft_set_msg,
    nftsocket.nft_set_elem_list_msg,
    nftsocket.nft_chain_msg,
    nftsocket.nft_rule_msg,
    nftsocket.nft_flowtable_msg,
    nftsocket.nft_device,
    nlmsgerr,
)
STRUCTS: tuple[tuple[struct.Struct, Any], ...] = (
    (HEADER, nlmsg.header),
    (rtnetlink_encode.IFINFOMSG, ifinfmsg.ifinfmsg.fields),
    (rtnetlink_encode.IFADDRMSG, ifaddrmsg.ifaddrmsg.fields),
    (rtnetlink_encode.CACHEINFO, ifaddrmsg.ifaddrmsg.cacheinfo.fields),
    (rtnetlink_encode.RTMSG, rtmsg.rtmsg.fields),
    (rtnetlink_encode.RTMSG, fibmsg.fibmsg.fields),
    (rtnetlink_encode.NDMSG, ndmsg.ndmsg.fields),
    (nfnetlink.NFGENMSG, nfgen_msg.fields),
    (rtnetlink_encode.TCMSG, tcmsg.fields),
    (rtnetlink_encode.TBF, sched_tbf.options.tbf_parms.fields),
)


def test_each_constant_has_the_value_of_the_kernels_header(tmp_path: Path) -> None:
    assert len(CONSTANTS) > 60
    lines = [f"#include <{header}>" for header in HEADERS]
    lines += [f'_Static_assert({name} == {value}, "{name}");' for name, value in CONSTANTS.items()]
    source = tmp_path / "constants.c"
    source.write_text("\n".join(lines) + "\n")
    command = ["cc", "-fsyntax-only", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def numbers(message: Any) -> Iterator[tuple[str, int]]:
    """Yield name and number of each attribute of a message class and of what is nested in it."""
    rows: Sequence[Any] = getattr(message, "nla_map", ())
    for place, row in enumerate(rows):
        number, name = row[:2] if isinstance(row[0], int) else (place, row[0])
        yield name, number
    for inner in message.__dict__.values():
        if isinstance(inner, type):
            yield from numbers(inner)


def test_each_attribute_has_pyroute2s_number() -> None:
    theirs: dict[str, int] = {}
    for message in MESSAGES:
        for base in message.__mro__:
            theirs |= numbers(base)
    ours = {name: n for name, n in CONSTANTS.items() if name.startswith(ATTRIBUTES)}
    found = {name: theirs.get(name) for name in ours if name not in UNNAMED_BY_PYROUTE2}
    assert found == {name: ours[name] for name in found}


def test_each_message_type_and_flag_has_pyroute2s_number() -> None:
    theirs: dict[str, int] = {}
    modules = (netlink, rtnl, nftsocket, nfctsocket, fibmsg, ifaddrmsg, ndmsg, rtmsg, ifinfmsg)
    for module in modules:
        theirs |= {name: n for name, n in vars(module).items() if name in CONSTANTS}
    kinds = ("RTM_", "NLM_F_", "NLMSG_", "NFT_MSG_", "NETLINK_", "NUD_", "NTF_", "IPCTNL_", "FR_")
    ours = {name: n for name, n in CONSTANTS.items() if name.startswith(kinds)}
    missing = {name for name in ours if name not in theirs}
    assert missing <= UNNAMED_BY_PYROUTE2
    assert {name: theirs[name] for name in ours if name in theirs} == {
        name: n for name, n in ours.items() if name in theirs
    }


@pytest.mark.parametrize(("ours", "fields"), STRUCTS)
def test_each_struct_has_pyroute2s_fields(ours: struct.Struct, fields: Any) -> None:
    """Which may be written in network byte order, as nfgenmsg's resource id is."""
    layout = "".join(code.lstrip("!") for _, code in fields)
    raw = secrets.token_bytes(ours.size)
    theirs = struct.Struct("=" + layout)
    assert theirs.size == ours.size
    # Signed or not: only the place of each field counts.
    unsigned = str.maketrans("i", "I")
    assert struct.unpack("=" + layout.translate(unsigned), raw) == struct.unpack(
        ours.format.translate(unsigned), raw
    )
