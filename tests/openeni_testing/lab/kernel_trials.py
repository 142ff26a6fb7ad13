"""The kernel features that nodes need, each tried with the program that uses it.

Each is a script of `sh -e` in a network of its own, where the link v0 is, a veth with v1 as peer.
"""

import shlex
import sys
from collections.abc import Mapping
from typing import Final

_LINKS: Final = {
    "bridge": "ip link add b0 type bridge; ip link set v0 master b0",
    "dummy": "ip link add d0 type dummy",
    "macvlan": "ip link add m0 link v0 type macvlan",
    "tap": "ip tuntap add t0 mode tap",
    "vlan": "ip link add l0 link v0 type vlan id 5",
    "ipvlan l2": "ip link add i0 link v0 type ipvlan mode l2",
    "ipvlan l3": "ip link add i0 link v0 type ipvlan mode l3",
    "ipvlan l3s": "ip link add i0 link v0 type ipvlan mode l3s",
    "a packet between pods": """
ip link set v0 up; ip link set v1 up
for at in 1 2; do
  ip netns add a$at; ip link add i$at link v0 netns a$at type ipvlan mode l2
  ip -n a$at addr add 10.9.0.$at/24 dev i$at; ip -n a$at link set i$at up
done
ip netns exec a1 ping -c1 -W10 10.9.0.2
""",
    "routes": """
ip link set v0 up; ip addr add 10.9.0.1/24 dev v0; ip rule add fwmark 1 table 9
ip -6 rule add fwmark 1 table 9
ip route add 10.8.0.0/24 table 9 nexthop via 10.9.0.2 nexthop via 10.9.0.3
""",
}

_CONTAINERS: Final = {
    "cgroups": "for c in cpu memory pids; do grep $c /sys/fs/cgroup/cgroup.controllers; done",
    "namespaces": "unshare --user --ipc --pid --uts --cgroup --fork true",
    "message queues": "mkdir -p /run/queues; mount -t mqueue queues /run/queues",
    "seccomp": "grep Seccomp_filters /proc/self/status",
    "the kubelet's sysctls": "cd /proc/sys; cat kernel/keys/root_maxkeys vm/overcommit_memory",
}

_QDISCS: Final = (
    "clsact",
    "ingress",
    "root fq",
    "root fq_codel",
    "root htb",
    "root netem delay 1ms",
    "root tbf rate 1mbit burst 10k latency 9ms",
)
_FILTERS: Final = (
    "bpf bytecode '1,6 0 0 4294967295,'",
    "protocol ip flower dst_ip 10.0.0.1 classid 1:1",
    "protocol ip u32 match ip dst 10.0.0.1 classid 1:1",
    "matchall action bpf bytecode '1,6 0 0 4294967295,'",
    "matchall action mirred egress redirect dev v1",
    "matchall action pedit munge offset 0 u8 set 1",
    "matchall action police rate 1mbit burst 10k drop",
    "matchall action skbedit mark 1",
)

_HOOKS: Final = {
    "arp": ("input", "arp operation request"),
    "bridge": ("forward", "arp saddr ip 10.0.0.1 meta ibrname b0"),
    "inet": ("forward", "ct state new"),
    "netdev": ("ingress device v0", "ip daddr 10.0.0.1"),
    "netdev egress": ("egress device v0", "ip daddr 10.0.0.1"),
}


def _hook(family: str, hook: str, rule: str) -> str:
    chain = f"type filter hook {hook} priority 0; {rule} counter name n drop;"
    return f"nft 'table {family} t {{ counter n {{ }}; chain c {{ {chain} }}; }}'"


def _mode_nftables(ip: str, address: str, backend: str) -> str:
    return f"""nft -f - <<'END'
table {ip} t {{
  set ips {{ type {address}; }}
  set hairpin {{ type {address} . {address} . inet_proto . inet_service; }}
  set affinity {{ type {address}; flags dynamic,timeout; timeout 3h; }}
  map services {{ type {address} . inet_proto . inet_service : verdict; }}
  chain endpoint {{ update @affinity {{ {ip} saddr }}; meta l4proto tcp dnat to {backend}; }}
  chain service {{ numgen random mod 2 vmap {{ 0 : goto endpoint, 1 : goto endpoint }}; }}
  chain nat {{ type nat hook prerouting priority 0; fib daddr type local
    {ip} daddr . meta l4proto . th dport vmap @services; }}
  chain out {{ type nat hook postrouting priority 0; ct status dnat
    {ip} saddr . {ip} daddr . meta l4proto . th dport @hairpin masquerade fully-random; }}
  chain forward {{ type filter hook forward priority 0; {ip} daddr @ips reject; }}
}}
END
conntrack -L"""


def _mode_iptables(program: str, backend: str) -> str:
    return f"""{program}-restore <<'END'
*mangle
:KUBE-IPTABLES-HINT - [0:0]
COMMIT
*filter
-A FORWARD -m conntrack --ctstate INVALID -m comment --comment "why" -j DROP
-A FORWARD -p tcp -j REJECT
COMMIT
*nat
:KUBE-SEP - [0:0]
-A KUBE-SEP -p tcp -m recent --name SEP --set -m tcp -j DNAT --to-destination {backend}
-A PREROUTING -m statistic --mode random --probability 0.5 -j KUBE-SEP
-A PREROUTING -m recent --name SEP --rcheck --seconds 10800 --reap -j KUBE-SEP
-A OUTPUT -m addrtype --dst-type LOCAL -j KUBE-SEP
-A POSTROUTING -m mark ! --mark 0x4000/0x4000 -m physdev ! --physdev-is-bridged -j RETURN
-A POSTROUTING -j MARK --xor-mark 0x4000
-A POSTROUTING -j MASQUERADE --random-fully
COMMIT
END"""


# The sets and services of kube-proxy, made without the program `ipset`.
_SETS_AND_SERVICES: Final = """
from pyroute2 import IPSet, IPVS, IPVSDest, IPVSService
PREFIX_128 = "128.0.0.0"  # a number in the host's order
kinds = "bitmap:port", "hash:ip", "hash:ip,port", "hash:ip,port,ip", "hash:ip,port,net"
for number, kind in enumerate(kinds):
    IPSet().create(f"s{number}", stype=kind, bitmap_ports_range=(0, 65535))
for service in (
    IPVSService(addr="10.0.0.1", port=80, protocol=6, sched_name="rr"),
    IPVSService(addr="10.0.0.1", port=53, protocol=17, sched_name="rr"),
    IPVSService(addr="fd00::1", port=80, protocol=6, sched_name="rr", netmask=PREFIX_128),
):
    IPVS().service("add", service=service)
IPVS().dest("add", service=service, dest=IPVSDest(addr="fd00::2", port=80))
"""
_MODE_IPVS: Final = f"""
{shlex.quote(sys.executable)} -c {shlex.quote(_SETS_AND_SERVICES)}
cat /proc/sys/net/ipv4/vs/conntrack
iptables-nft -A OUTPUT -m ipvs --ipvs
for set in 0 1 2 3 4; do iptables-nft -A OUTPUT -m set --match-set s$set dst; done
"""

TRIALS: Final[Mapping[str, str]] = {
    **_LINKS,
    **_CONTAINERS,
    **{f"qdisc {kind}": f"tc qdisc add dev v0 {kind}" for kind in _QDISCS},
    **{
        f"filter {rule}": f"tc qdisc add dev v0 clsact; tc filter add dev v0 ingress {rule}"
        for rule in _FILTERS
    },
    **{f"nftables {name}": _hook(name.split()[0], *rule) for name, rule in _HOOKS.items()},
    "mode nftables": _mode_nftables("ip", "ipv4_addr", "10.0.0.1:80"),
    "mode nftables, IPv6": _mode_nftables("ip6", "ipv6_addr", "[::1]:80"),
    "mode iptables": _mode_iptables("iptables-nft", "10.0.0.1:80"),
    "mode iptables, IPv6": _mode_iptables("ip6tables-nft", "[::1]:80"),
    "mode ipvs": _MODE_IPVS,
}
