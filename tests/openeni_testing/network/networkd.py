"""Run a real systemd-networkd on a node's network namespace, as an image has it configured."""

import os
import shutil
import socket
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from openeni_lab.programs import prepared
from openeni_nodeagent.enis.nic_guards import NICGuards, known_guards
from openeni_testing.network.node import Node
from openeni_testing.waiting import reap, wait_for

ADDRESS: Final = "172.16.77.7"  # which the image gives every link
_STATIC: Final = "LinkLocalAddressing=no\nIPv6AcceptRA=no\n"
# As images have it that know one NIC only.
_EVERY_LINK: Final = f"[Match]\nName=*\n\n[Network]\nAddress={ADDRESS}/32\n{_STATIC}"
_USER: Final = "systemd-network"
_UID: Final = 998
# The machine's own files are out of its sight.
_START: Final = """
mount -t sysfs sysfs /sys
mount --bind "$1/run" /run
mount --bind "$1/passwd" /etc/passwd
mount --bind "$1/group" /etc/group
for folder in /etc/systemd /usr/local/lib/systemd /usr/lib/systemd/network /lib/systemd/network; do
    if [ -d $folder ]; then mount -t tmpfs tmpfs $folder; fi
done
exec "$2"
"""
_STOP_SECONDS: Final = 20


class Networkd:
    """A node's networkd, with its files in `folder` and a `.network` file for every link.

    `guards` writes openeni's files where it reads them.
    """

    def __init__(self, node: Node, folder: Path) -> None:
        self._namespace, self._folder = node.namespace, folder
        self._program = prepared.read(["networkd"]).built.bin("systemd-networkd")
        self._run = folder / "run"
        self._links = self._run / "systemd" / "netif" / "links"
        files = self._run / "systemd" / "network"
        conf = self._run / "systemd" / "networkd.conf.d"
        self._udev = self._run / "udev" / "data"
        for made in (files, conf, self._links, self._udev):
            made.mkdir(parents=True)
        for owned in (self._links.parent, self._links):
            os.chown(owned, _UID, _UID)
        own = f"Address={node.address}/24\nAddress={node.address_6}/64\n{_STATIC}"
        (files / "10-own.network").write_text(f"[Match]\nName=eth0\n\n[Network]\n{own}")
        (files / "20-image.network").write_text(_EVERY_LINK)
        for name in ("passwd", "group"):
            shutil.copy(Path("/etc", name), folder / name)
        _enter(folder / "passwd", f"{_USER}:x:{_UID}:{_UID}::/:/usr/sbin/nologin")
        _enter(folder / "group", f"{_USER}:x:{_UID}:")
        nowhere = folder / "nowhere"
        self.guards = NICGuards(known_guards(nowhere, files, conf, nowhere), lambda _: None)

    @contextmanager
    def running(self) -> Generator[None]:
        """Run it during the block, which begins when it has dealt with every link."""
        for index, _ in self._namespace.run(socket.if_nameindex):
            # udev's database: the link is known since the machine's first microsecond
            (self._udev / f"n{index}").write_text("I:1\n")
        log = self._folder / "log"
        with log.open("w") as output:
            process = self._namespace.run(self._start, output)
        try:
            wait_for(lambda: self._settled(process, log), "networkd has dealt with every link", 30)
            yield
        finally:
            process.terminate()
            reap(process, _STOP_SECONDS)
            shutil.rmtree(self._links)  # as its unit's RuntimeDirectory does
            self._links.mkdir()
            os.chown(self._links, _UID, _UID)

    def state_of(self, index: int) -> str:
        """Return what it does with a link: `configured`, `unmanaged` or, at first, `pending`."""
        file = self._links / str(index)
        lines = file.read_text().splitlines() if file.exists() else []
        found = [line.partition("=")[2] for line in lines if line.startswith("ADMIN_STATE=")]
        return "".join(found)

    def _start(self, output: IO[str]) -> "subprocess.Popen[bytes]":
        environment = {
            "PATH": os.environ["PATH"],
            "LD_LIBRARY_PATH": str(self._program.parent),
            "SYSTEMD_LOG_LEVEL": "debug",
        }
        argv = [
            "unshare",
            "--mount",
            "sh",
            "-euc",
            _START,
            "sh",
            str(self._folder),
            str(self._program),
        ]
        return subprocess.Popen(argv, stdout=output, stderr=output, env=environment)

    def _settled(self, process: "subprocess.Popen[bytes]", log: Path) -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"networkd has ended: {log.read_text()}")
        links = self._namespace.run(socket.if_nameindex)
        indexes = [index for index, name in links if name != "lo"]
        states = {self.state_of(index) for index in indexes}
        assert states <= {"configured", "unmanaged"}, f"{states}: {log.read_text()[-3000:]}"
        return True


def _enter(file: Path, line: str) -> None:
    """Enter a user or group, unless the machine has it."""
    name = line.partition(":")[0]
    kept = [one for one in file.read_text().splitlines() if not one.startswith(f"{name}:")]
    file.write_text("\n".join([*kept, line]) + "\n")
