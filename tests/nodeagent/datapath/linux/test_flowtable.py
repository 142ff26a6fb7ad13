"""Links of the flowtable over netlink, as pyroute2 decodes them."""

from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.nfnetlink.nftsocket import nft_flowtable_msg

from openeni_crds import names
from openeni_nodeagent.datapath.linux import items, nfnetlink, uapi
from openeni_nodeagent.datapath.linux.attributes import HEADER
from openeni_nodeagent.datapath.model import FlowtableLink, Operation, Verb
from openeni_nodeagent.datapath.nft_sets import FLOWTABLE


def read(message: bytes) -> tuple[FlowtableLink, ...]:
    made = nft_flowtable_msg(message)
    made.decode()
    return items.flowtable_links(made)


@given(st.text("abcdef0123456789-", min_size=1, max_size=15))
def test_an_encoded_link_of_the_flowtable_decodes_to_itself(device: str) -> None:
    """A dump lists the links of a flowtable as an order names them."""
    link = FlowtableLink(device)
    for verb, kind in (
        (Verb.ADD, uapi.NFT_MSG_NEWFLOWTABLE),
        (Verb.REMOVE, uapi.NFT_MSG_DELFLOWTABLE),
    ):
        _, message, _ = nfnetlink.batch([Operation(verb, link)])
        assert HEADER.unpack_from(message)[1] == uapi.NFNL_SUBSYS_NFTABLES << 8 | kind
        assert read(message) == (link,)


def test_links_of_others_flowtables_are_not_read() -> None:
    _, message, _ = nfnetlink.batch([Operation(Verb.ADD, FlowtableLink("eth0"))])
    for name in (names.NFT_TABLE, FLOWTABLE):
        ours, theirs = name.encode(), b"x" * len(name)
        assert read(message.replace(ours, theirs)) == ()
