"""Render docs/reference/node.md: what openeni writes on a node, into files and into the kernel."""

from pathlib import Path
from typing import Final

from openeni_crds import names
from openeni_docs.markdown import code, table
from openeni_nodeagent.cni.configuration import CONFLIST
from openeni_nodeagent.enis.nic_guards import READ_BY, known_guards
from openeni_nodeagent.settings import FOLDERS, from_environment

_HEADER: Final = """\
# What openeni writes on a node

Made from crds/openeni_crds/names.py and the agent's code by `make generate`; change it there. Why
each of these is needed: [security](../security.md) for the files, [datapath](../datapath.md) for
the kernel. `helm uninstall` removes all of it but the folder with the journal, which is in memory
and gone after a reboot.

## Files

"""
_GUARDS: Final = """
## Guards

Written before an ENI is attached, one file for the node and one for the MAC of each ENI, and
removed with the node's last ENI. A folder that does not exist on the node is made by kubelet.

"""
_KERNEL: Final = """
## In the kernel

"""
_LOOK: Final = """
To look at it on a node:

```sh
ip rule show
ip route show table all proto 94
ip -details link show
nft list tables
nft list flowtables
```
"""


def page() -> str:
    """Return docs/reference/node.md."""
    settings = from_environment({"NODE_NAME": "node"})
    folders = {Path(FOLDERS["OPENENI_CNI_BIN_DIR"]), Path(FOLDERS["OPENENI_CNI_CONF_DIR"])}
    binary, configuration = (
        next(f for f in folders if f.name == name) for name in ("bin", "net.d")
    )
    files = (
        (binary / names.CNI_NAME, "the CNI executable", "the node's first ENI can carry pods"),
        (configuration / CONFLIST, "the CNI configuration", "the same"),
        (settings.socket, "socket of the agent, for the executable", "the agent runs"),
        (settings.journal, "the grants of this node", "the agent starts"),
        (settings.queue, "folder of DELs that nobody has answered", "the agent starts"),
        (
            settings.run / f"{READ_BY}<program>",
            "when the folder of guards was changed that the program has read last",
            "the program has been reloaded",
        ),
        (settings.served, "empty: this node could serve a pod since it booted", "the first ENI"),
    )
    guards = known_guards(
        settings.networkmanager, settings.networkd, settings.networkd_conf, settings.udev
    )
    rows = (
        (code(str(guard.node_file)), code(_named(guard.file("<MAC>"))) if guard.nic else "")
        for guard in guards
    )
    parts = (
        _HEADER,
        table(("path", "what it is", "since"), ((code(str(p)), w, s) for p, w, s in files)),
        _GUARDS,
        table(("of the node", "of each ENI"), rows),
        _KERNEL,
        table(("what", "how it is marked"), _kernel()),
        _LOOK,
    )
    return "".join(parts)


def _named(file: Path) -> str:
    return str(file).replace("<MAC>", "<MAC without colons>")


def _kernel() -> tuple[tuple[str, str], ...]:
    rules = (
        names.RULE_ANSWER_V6,
        names.RULE_FROM_L3_POD,
        names.RULE_TO_POD,
        names.RULE_TO_SUBNET,
        names.RULE_TO_L2_POD,
        names.RULE_FROM_VETH_POD,
        names.RULE_TO_L3_POD,
        names.RULE_REPLY,
        names.RULE_FROM_POD,
        names.RULE_FROM_ENI,
        names.RULE_WAY_BACK,
    )
    links = (
        f"{code(names.LINK_PREFIX + '<hash>')} for a veth pod; of an `IPVlan` ENI "
        f"{code(names.LINK_PREFIX + '-<index>')}, the node's own slave, and "
        f"{code(names.LINK_PREFIX + '_<index>')}, which stays down and reserves the ENI's own "
        f"addresses; alias {code(names.LINK_ALIAS)}"
    )
    return (
        (
            "routes, rules and neighbours",
            f"protocol {names.PROTOCOL}",
        ),
        ("priorities of rules", ", ".join(map(str, rules))),
        ("tables of the node's pods", ", ".join(map(str, names.TABLES_OF_PODS))),
        (
            "table of an ENI",
            f"{names.TABLE_ENI_BASE} + its interface index; also the group of its veth ends",
        ),
        ("links on the node", links),
        (
            "nftables",
            f"tables {code(names.NFT_TABLE)} of `inet` and `netdev`, and with an `L2` ENI of `arp`",
        ),
        (
            "bits of a packet's mark",
            f"{code(f'{names.MARK_MASK:#010x}')}, or those of `agent.markMask`",
        ),
        (
            "gateway of `Veth` pods",
            f"{code(names.GATEWAY_V4)} and {code(names.GATEWAY_V6)}, at {code(names.VETH_MAC)}",
        ),
        (
            "gateway of `L2` pods",
            f"{code(names.GATEWAY_V4)} and {code(names.GATEWAY_V6_L2)}, at the ENI's own MAC",
        ),
    )
