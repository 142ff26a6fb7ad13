"""Constants of the kernel's netlink protocols, under the kernel's own names."""

from typing import Final

# linux/netlink.h
NETLINK_ROUTE: Final = 0
NETLINK_NETFILTER: Final = 12
SOL_NETLINK: Final = 270  # include/linux/socket.h
NETLINK_EXT_ACK: Final = 11
NETLINK_GET_STRICT_CHK: Final = 12
NLM_F_REQUEST: Final = 0x1
NLM_F_ACK: Final = 0x4
NLM_F_DUMP_INTR: Final = 0x10
NLM_F_REPLACE: Final = 0x100
NLM_F_EXCL: Final = 0x200
NLM_F_CREATE: Final = 0x400
NLM_F_DUMP: Final = 0x300
NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
NLA_F_NESTED: Final = 0x8000

# linux/rtnetlink.h: of each group RTM_NEW*, then RTM_DEL*, then RTM_GET*
RTM_NEWLINK: Final = 16
RTM_DELLINK: Final = 17
RTM_GETLINK: Final = 18
RTM_NEWADDR: Final = 20
RTM_DELADDR: Final = 21
RTM_GETADDR: Final = 22
RTM_NEWROUTE: Final = 24
RTM_DELROUTE: Final = 25
RTM_GETROUTE: Final = 26
RTM_NEWNEIGH: Final = 28
RTM_GETNEIGH: Final = 30
RTM_NEWRULE: Final = 32
RTM_DELRULE: Final = 33
RTM_GETRULE: Final = 34
RTM_NEWQDISC: Final = 36
RTM_DELQDISC: Final = 37
RTM_GETQDISC: Final = 38
RTM_NEWNETCONF: Final = 80
RTM_NEWNSID: Final = 88
RTM_GETNSID: Final = 90
TCA_KIND: Final = 1
TCA_OPTIONS: Final = 2
RTNLGRP_LINK: Final = 1
RTNLGRP_NEIGH: Final = 3
RTNLGRP_IPV4_IFADDR: Final = 5
RTNLGRP_IPV4_ROUTE: Final = 7
RTNLGRP_IPV4_RULE: Final = 8
RTNLGRP_IPV6_IFADDR: Final = 9
RTNLGRP_IPV6_ROUTE: Final = 11
RTNLGRP_IPV6_RULE: Final = 19
RTNLGRP_IPV4_NETCONF: Final = 24
RTNLGRP_IPV6_NETCONF: Final = 25
RTA_DST: Final = 1
RTA_SRC: Final = 2
RTA_OIF: Final = 4
RTA_GATEWAY: Final = 5
RTA_PRIORITY: Final = 6
RTA_PREFSRC: Final = 7
RTA_TABLE: Final = 15
RTA_VIA: Final = 18
RTA_NH_ID: Final = 30
RTN_UNICAST: Final = 1
RTN_LOCAL: Final = 2
RTN_MULTICAST: Final = 5
RTN_BLACKHOLE: Final = 6
RTN_UNREACHABLE: Final = 7
RTN_PROHIBIT: Final = 8
RTEXT_FILTER_SKIP_STATS: Final = 0x8
RTNH_F_ONLINK: Final = 4
RT_SCOPE_UNIVERSE: Final = 0
RT_SCOPE_LINK: Final = 253

# linux/net_namespace.h
NETNSA_NSID: Final = 1
NETNSA_FD: Final = 3

# linux/if.h and linux/if_link.h
IFF_UP: Final = 1
IFF_NOARP: Final = 0x80  # nor does it ask for neighbours by IPv6
IFF_LOWER_UP: Final = 0x10000  # it has a carrier
IF_OPER_UP: Final = 6
IFLA_ADDRESS: Final = 1
IFLA_IFNAME: Final = 3
IFLA_MTU: Final = 4
IFLA_LINK: Final = 5
IFLA_MASTER: Final = 10
IFLA_PERM_ADDRESS: Final = 54
IFLA_OPERSTATE: Final = 16
IFLA_LINKINFO: Final = 18
IFLA_IFALIAS: Final = 20
IFLA_GROUP: Final = 27
IFLA_NET_NS_FD: Final = 28
IFLA_EXT_MASK: Final = 29
IFLA_NUM_TX_QUEUES: Final = 31
IFLA_NUM_RX_QUEUES: Final = 32
IFLA_LINK_NETNSID: Final = 37
IFLA_INFO_KIND: Final = 1
IFLA_INFO_DATA: Final = 2
IFLA_IPVLAN_MODE: Final = 1
IFLA_IPVLAN_FLAGS: Final = 2
VETH_INFO_PEER: Final = 1  # linux/veth.h

# linux/if_addr.h
IFA_ADDRESS: Final = 1
IFA_LOCAL: Final = 2
IFA_CACHEINFO: Final = 6
IFA_F_NODAD: Final = 0x02
IFA_F_DADFAILED: Final = 0x08
IFA_F_DEPRECATED: Final = 0x20
IFA_F_TENTATIVE: Final = 0x40

# linux/neighbour.h
NDA_DST: Final = 1
NDA_LLADDR: Final = 2
NDA_PROTOCOL: Final = 12
NUD_REACHABLE: Final = 0x02
NUD_STALE: Final = 0x04
NUD_DELAY: Final = 0x08
NUD_PROBE: Final = 0x10
NUD_NOARP: Final = 0x40
NUD_PERMANENT: Final = 0x80
NTF_USE: Final = 0x01
NTF_PROXY: Final = 0x08

# linux/fib_rules.h
FRA_DST: Final = 1
FRA_SRC: Final = 2
FRA_IIFNAME: Final = 3
FRA_PRIORITY: Final = 6
FRA_FWMARK: Final = 10
FRA_TUN_ID: Final = 12
FRA_TABLE: Final = 15
FRA_FWMASK: Final = 16
FRA_OIFNAME: Final = 17
FRA_UID_RANGE: Final = 20
FRA_PROTOCOL: Final = 21
FRA_IP_PROTO: Final = 22
FRA_SPORT_RANGE: Final = 23
FRA_DPORT_RANGE: Final = 24
FIB_RULE_INVERT: Final = 0x2
FR_ACT_TO_TBL: Final = 1

# linux/pkt_sched.h
TC_H_ROOT: Final = 0xFFFFFFFF
TC_LINKLAYER_ETHERNET: Final = 1
TCA_TBF_PARMS: Final = 1
TCA_TBF_BURST: Final = 6

# linux/netfilter.h and linux/netfilter/nfnetlink.h
NF_ACCEPT: Final = 1
NFPROTO_INET: Final = 1
NFPROTO_NETDEV: Final = 5
NFNLGRP_NFTABLES: Final = 7
NFNL_SUBSYS_CTNETLINK: Final = 1
NFNL_SUBSYS_NFTABLES: Final = 10
NFNL_MSG_BATCH_BEGIN: Final = 0x10
NFNL_MSG_BATCH_END: Final = 0x11

# linux/netfilter/nfnetlink_conntrack.h
IPCTNL_MSG_CT_GET: Final = 1
IPCTNL_MSG_CT_DELETE: Final = 2
CTA_TUPLE_ORIG: Final = 1
CTA_TUPLE_REPLY: Final = 2
CTA_STATUS: Final = 3
CTA_ID: Final = 12
CTA_ZONE: Final = 18
CTA_TUPLE_IP: Final = 1
CTA_TUPLE_PROTO: Final = 2
CTA_IP_V4_SRC: Final = 1
CTA_IP_V4_DST: Final = 2
CTA_IP_V6_SRC: Final = 3
CTA_IP_V6_DST: Final = 4
CTA_PROTO_NUM: Final = 1
CTA_PROTO_DST_PORT: Final = 3

# linux/netfilter/nf_conntrack_common.h
IPS_SRC_NAT: Final = 1 << 4
IPS_DST_NAT: Final = 1 << 5

# linux/netfilter/nf_tables.h
NFT_MSG_NEWTABLE: Final = 0
NFT_MSG_GETTABLE: Final = 1
NFT_MSG_DELTABLE: Final = 2
NFT_MSG_NEWCHAIN: Final = 3
NFT_MSG_GETCHAIN: Final = 4
NFT_MSG_DELCHAIN: Final = 5
NFT_MSG_NEWRULE: Final = 6
NFT_MSG_GETRULE: Final = 7
NFT_MSG_DELRULE: Final = 8
NFT_MSG_NEWSET: Final = 9
NFT_MSG_DELSET: Final = 11
NFT_MSG_NEWSETELEM: Final = 12
NFT_MSG_GETSETELEM: Final = 13
NFT_MSG_DELSETELEM: Final = 14
NFT_MSG_NEWFLOWTABLE: Final = 22
NFT_MSG_GETFLOWTABLE: Final = 23
NFT_MSG_DELFLOWTABLE: Final = 24
NFTA_LIST_ELEM: Final = 1
NFTA_TABLE_NAME: Final = 1
NFTA_TABLE_FLAGS: Final = 2
NFT_TABLE_F_DORMANT: Final = 1
NFTA_CHAIN_TABLE: Final = 1
NFTA_CHAIN_POLICY: Final = 5
NFTA_RULE_TABLE: Final = 1
NFTA_RULE_CHAIN: Final = 2
NFTA_RULE_USERDATA: Final = 7
NFTA_SET_TABLE: Final = 1
NFTA_SET_NAME: Final = 2
NFTA_SET_FLAGS: Final = 3
NFTA_SET_KEY_TYPE: Final = 4
NFTA_SET_KEY_LEN: Final = 5
NFTA_SET_DATA_TYPE: Final = 6
NFTA_SET_DATA_LEN: Final = 7
NFTA_SET_ID: Final = 10
NFT_SET_MAP: Final = 8
NFTA_SET_ELEM_LIST_TABLE: Final = 1
NFTA_SET_ELEM_LIST_SET: Final = 2
NFTA_SET_ELEM_LIST_ELEMENTS: Final = 3
NFTA_SET_ELEM_KEY: Final = 1
NFTA_SET_ELEM_DATA: Final = 2
NFTA_SET_ELEM_FLAGS: Final = 3
NFT_SET_ELEM_CATCHALL: Final = 0x2
NFTA_DATA_VALUE: Final = 1
NFTA_FLOWTABLE_TABLE: Final = 1
NFTA_FLOWTABLE_NAME: Final = 2
NFTA_FLOWTABLE_HOOK: Final = 3
NFTA_FLOWTABLE_FLAGS: Final = 7
NFT_FLOWTABLE_COUNTER: Final = 2
NFTA_FLOWTABLE_HOOK_NUM: Final = 1
NFTA_FLOWTABLE_HOOK_PRIORITY: Final = 2
NFTA_FLOWTABLE_HOOK_DEVS: Final = 3
NFTA_DEVICE_NAME: Final = 1
NF_NETDEV_INGRESS: Final = 0  # linux/netfilter.h
