"""The constants of the kernel's netlink protocols are those of this machine's kernel headers."""

import subprocess
from pathlib import Path

from openeni_nodeagent.datapath.linux import uapi

HEADERS = (
    "sys/socket.h",
    "linux/netlink.h",
    "linux/rtnetlink.h",
    "linux/if.h",
    "linux/if_link.h",
    "linux/veth.h",
    "linux/if_addr.h",
    "linux/neighbour.h",
    "linux/fib_rules.h",
    "linux/netfilter.h",
    "linux/netfilter/nfnetlink.h",
    "linux/netfilter/nf_tables.h",
)
OTHER_TYPE = {"NLA_TYPE_MASK"}  # an int there, of which the lower 16 bits are used


def test_each_constant_has_the_value_of_the_kernels_header(tmp_path: Path) -> None:
    constants = {name: value for name, value in vars(uapi).items() if name.isupper()}
    assert len(constants) > 60
    lines = [f"#include <{header}>" for header in HEADERS]
    lines += [
        f'_Static_assert({name} == {value}, "{name}");'
        for name, value in constants.items()
        if name not in OTHER_TYPE
    ]
    source = tmp_path / "constants.c"
    source.write_text("\n".join(lines) + "\n")
    command = ["cc", "-fsyntax-only", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
