"""The set of the kernel for `make bench-datapath`: Debian's own, which an emulator runs.

The user-mode kernel takes most of its time for system calls, which tells little about packets. The
emulator runs a kernel that nodes have, and counts its instructions (decision 0074). The package is
downloaded and unpacked, not installed. Its modules are loaded at boot: nothing can load one on
demand there, so a rule that needs another one fails with "No such file or directory".
"""

import lzma
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from openeni_lab.programs.cache import BuildError, CacheEntry, Workshop
from openeni_lab.programs.debian_set import fetch

PACKAGE: Final = "linux-image-amd64"
BUSYBOX_PACKAGE: Final = "busybox-static"
ASK_SECONDS: Final = 60
MODULES: Final = (
    *("virtio_pci", "9pnet_virtio", "9p", "overlay"),  # the root
    *("veth", "ipvlan", "macvlan", "bridge", "dummy", "sch_tbf"),  # links
    # nftables of the agent, kube-proxy and the network's anti-spoofing; it needs a checksum
    *("crc32c_generic", "nf_conntrack", "nf_conntrack_netlink", "nf_flow_table_inet", "nf_tables"),
    *("nft_chain_nat", "nft_ct", "nft_fib_inet", "nft_flow_offload", "nft_fwd_netdev"),
    *("nft_limit", "nft_masq", "nft_meta_bridge", "nft_nat", "nft_numgen", "nft_objref"),
    *("nft_reject_inet", "nft_reject_ipv4", "nft_reject_ipv6"),
)
_INIT: Final = Path(__file__).with_name("specs") / "emulator" / "init"
_DEPENDENCY: Final = re.compile(r"linux-image-\S+-amd64\b")
_DEPENDS: Final = re.compile(rb"\0depends=([^\0]*)\0")  # in a module's section .modinfo
_FILE, _PROGRAM, _FOLDER = 0o100644, 0o100755, 0o040755  # st_mode


@dataclass(frozen=True)
class EmulatorSet:
    """`vmlinuz`, and `initrd`, which loads the modules and goes on as specs/emulator/init says."""

    name: str = "emulator"
    seconds: float = 25

    @property
    def entry(self) -> CacheEntry:
        """Return the entry. A newer kernel in the archive rebuilds nothing."""
        return CacheEntry(self.name, "linux", (repr(MODULES).encode(), _INIT.read_bytes()))

    def build(self, workshop: Workshop) -> None:
        """Fetch the packages and pack what boots. Raises BuildError."""
        unpacked = workshop.scratch
        with workshop.step("kernel of the emulator", self.seconds) as step:
            package = kernel_package(_dependencies(fetch(step, PACKAGE, unpacked)))
            archive = fetch(step, package, unpacked)
            fetch(step, BUSYBOX_PACKAGE, unpacked)
            kernel = next(unpacked.glob("boot/vmlinuz-*"), None)
            if kernel is None:
                raise BuildError(f"{archive.name}: there is no kernel")
            shutil.copy(kernel, workshop.entry / "vmlinuz")
            busybox = next(p for p in unpacked.glob("**/bin/busybox") if p.is_file())
            files = {"init": _INIT.read_bytes(), "bin/busybox": busybox.read_bytes()}
            modules = in_order(MODULES, UnpackedModules(unpacked).read)
            for number, (name, module) in enumerate(modules.items()):
                if module:
                    files[f"modules/{number:03}-{name}.ko"] = module
            (workshop.entry / "initrd").write_bytes(newc(files, folders=("machine",)))
        workshop.toolchain = archive.stem


class UnpackedModules:
    """The modules of a kernel's unpacked package."""

    def __init__(self, unpacked: Path) -> None:
        self._files = {_name(path): path for path in unpacked.glob("**/kernel/**/*.ko*")}
        lists = [path.read_text().split() for path in unpacked.glob("**/modules.builtin")]
        self._builtin = {_name(Path(path)) for paths in lists for path in paths}

    def read(self, name: str) -> bytes:
        """Return a module, b"" if the kernel has it built in. Raises BuildError without it."""
        path = self._files.get(name)
        if path is None:
            if name in self._builtin:
                return b""
            raise BuildError(f"emulator: the kernel has no module {name}")
        content = path.read_bytes()
        return lzma.decompress(content) if path.suffix == ".xz" else content


def kernel_package(dependencies: str) -> str:
    """Return the kernel that the package of the newest one depends on. Raises BuildError."""
    found = _DEPENDENCY.search(dependencies)
    if not found:
        raise BuildError(f"emulator: {PACKAGE} depends on no kernel, but on {dependencies!r}")
    return found[0]


def needed(module: bytes) -> list[str]:
    """Return the modules that must be loaded before this one."""
    found = _DEPENDS.search(module)
    return [name for name in found[1].decode().split(",") if name] if found else []


def in_order(wanted: Iterable[str], read: Callable[[str], bytes]) -> dict[str, bytes]:
    """Return the wanted modules and all that they need, each behind what it needs itself."""
    ordered: dict[str, bytes] = {}

    def add(name: str) -> None:
        if name not in ordered:
            module = read(name)
            for other in needed(module):
                add(other)
            ordered[name] = module

    for name in wanted:
        add(name)
    return ordered


def newc(files: Mapping[str, bytes], folders: Sequence[str] = ()) -> bytes:
    """Return an archive as a kernel unpacks it (its Documentation/.../buffer-format.rst).

    Programs are `init` and what is in `bin`.
    """
    parents = {str(Path(name).parent) for name in files} - {"."}
    entries = [(name, _FOLDER, b"") for name in sorted({*parents, *folders})]
    entries += [
        (name, _PROGRAM if name.partition("/")[0] in {"init", "bin"} else _FILE, content)
        for name, content in files.items()
    ]
    entries.append(("TRAILER!!!", 0, b""))
    return b"".join(_newc_entry(number, *entry) for number, entry in enumerate(entries, start=1))


def _name(path: Path) -> str:
    return path.name.partition(".")[0].replace("-", "_")


def _dependencies(archive: Path) -> str:
    asked = ["dpkg-deb", "--field", str(archive), "Depends"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=ASK_SECONDS, check=True)
    return done.stdout.strip()


def _newc_entry(inode: int, name: str, mode: int, content: bytes) -> bytes:
    # Inode, mode, owner, group, links, time, size, two devices, length of the name, no checksum.
    fields = (inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    return _padded(head) + _padded(content)


def _padded(part: bytes) -> bytes:
    return part + bytes(-len(part) % 4)
