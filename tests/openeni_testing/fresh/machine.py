"""A machine of its own for `make fresh`: a root folder in namespaces that end with the tool.

Standard library and util-linux only. The host's network and cgroups are kept, as the lab finds them
on a machine of its own; mounts, processes, host name and IPC are the run's.
"""

import contextlib
import os
import re
import selectors
import shutil
import subprocess
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from openeni_testing.fresh.debian import FreshError

HOME: Final = Path("/root")
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
START_SECONDS: Final = 30
LAST_LINES: Final = 40
_LAB: Final = re.compile(r"/(openeni-lab-[^/\n]+)")

# How this machine reaches its registries, and whom it trusts; a user's machine has them as well.
_FILES: Final = (
    "etc/apt/auth.conf.d",
    "etc/hosts",
    "etc/pip.conf",
    "etc/resolv.conf",
    "etc/ssl/certs",
    "usr/local/share/ca-certificates",
)
_HOME_FILES: Final = (
    ".config/go/env",
    ".config/pip/pip.conf",
    ".config/uv/uv.toml",
    ".npmrc",
    ".pip/pip.conf",
)
_VARIABLES: Final = (
    *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
    *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_CERT", "PIP_CLIENT_CERT"),
    *("PIP_PROXY", "PIP_DEFAULT_TIMEOUT", "PIP_RETRIES"),
    *("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_INSECURE_HOST"),
    *("UV_NATIVE_TLS", "UV_HTTP_TIMEOUT"),
    *("GOPROXY", "GOSUMDB", "GONOSUMDB", "GOPRIVATE", "GOINSECURE", "NPM_CONFIG_REGISTRY"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO"),
)
# $1 root, $2 the lab's cache, $3 where the cache is seen. The shell becomes the machine's init: it
# reaps what its children leave behind.
_ENTER: Final = """
set -eu
mount --bind "$1" "$1"
mount -t proc proc "$1/proc"
mount -t sysfs sysfs "$1/sys"
mount --rbind /sys/fs/cgroup "$1/sys/fs/cgroup"
mount --bind /dev "$1/dev"
mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts "$1/dev/pts"
mount -t tmpfs -o mode=1777 shm "$1/dev/shm"
mount -t tmpfs -o mode=755 run "$1/run"
mount --bind "$2" "$1$3"
mkdir "$1/.old"
cd "$1"
pivot_root . .old
exec chroot . /bin/sh -c 'cd / && umount -l /.old && rmdir /.old && echo ready && exec >&- &&
    while :; do sleep 1000 & wait; done'
"""


def copy_settings(root: Path, home: Path, machine: Path = Path("/")) -> None:
    """Copy this machine's registry settings, certificates and host names into a root."""
    pairs = [(machine / name, root / name) for name in _FILES]
    pairs += [(home / name, root / HOME.relative_to("/") / name) for name in _HOME_FILES]
    for source, target in pairs:
        if source.is_dir():
            # Nothing is written through a link of the root: its absolute ones lead to the host.
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target, ignore_dangling_symlinks=True)
        elif source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            shutil.copy(source, target)


def environment(own: Mapping[str, str]) -> dict[str, str]:
    """Return the environment after a login, with this machine's access to registries."""
    kept = {name: own[name] for name in _VARIABLES if name in own}
    return {"HOME": str(HOME), "PATH": PATH, "LANG": "C.UTF-8", "USER": "root", **kept}


@dataclass
class FreshMachine:
    """A running machine; `stop` ends every process in it."""

    root: Path
    cache: Path
    cache_inside: Path
    labs: Path  # the cgroups of its labs, one a line: they are the host's, and outlive it
    words: set[str] = field(default_factory=set[str])  # of all that was printed in it
    _shell: "subprocess.Popen[str] | None" = None
    _init: int = 0
    _looked: float = 0

    def start(self) -> None:
        """Start its init, which ends with this process, however that ends."""
        (self.root / self.cache_inside.relative_to("/")).mkdir(parents=True, exist_ok=True)
        self._shell = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--uts"),
                *("--ipc", "--fork", "--kill-child=KILL", "--propagation=private"),
                *("sh", "-c", _ENTER, "fresh-init", self.root, self.cache, self.cache_inside),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._shell.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._shell.stdout, selectors.EVENT_READ)
            if not selector.select(START_SECONDS) or self._shell.stdout.readline() != "ready\n":
                raise FreshError("the bare root did not start: its last words are above")
        pid = self._shell.pid
        self._init = int(Path(f"/proc/{pid}/task/{pid}/children").read_text())

    def stop(self) -> None:
        """Kill all of it and wait until the kernel has removed its namespaces."""
        if self._shell is not None:
            self._shell.kill()
            self._shell.wait(START_SECONDS)
            self._wait_for_end()

    def _wait_for_end(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while self._init and Path(f"/proc/{self._init}").exists():
            if time.monotonic() > deadline:
                raise FreshError(f"process {self._init}, the bare root's init, does not end")
            time.sleep(0.05)

    @property
    def init(self) -> int:
        """Return the process id of its init, as seen from outside."""
        return self._init

    def seen(self, path: str) -> Path:
        """Return the path from outside of a path in the machine."""
        return Path(f"/proc/{self._init}") / "root" / path.lstrip("/")

    def processes(self) -> dict[str, str]:
        """Return the command lines of its processes, by process id inside."""
        found: dict[str, str] = {}
        for folder in self.seen("/proc").glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                found[folder.name] = words.decode(errors="replace").strip()
            except OSError:
                continue  # it ended meanwhile
        return {pid: words for pid, words in found.items() if not words.startswith("sleep 1000")}

    def _record_labs(self) -> None:
        """Record the labs whose cgroups its processes are in, at most once a second."""
        if time.monotonic() - self._looked < 1:
            return
        self._looked = time.monotonic()
        found: set[str] = set()
        for folder in self.seen("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it ended meanwhile
                found.update(_LAB.findall((folder / "cgroup").read_text()))
        known = set(self.labs.read_text().split()) if self.labs.exists() else set[str]()
        if found - known:
            self.labs.write_text("\n".join(sorted(found | known)))

    def run(self, command: Sequence[str], folder: Path, seconds: float) -> None:
        """Run a command in it and pass its output on; raise FreshError on failure or timeout."""
        process = subprocess.Popen(
            [
                *("nsenter", f"--target={self._init}", "--mount", "--pid", "--uts", "--ipc"),
                *("--root", "sh", "-c", 'cd "$0" && exec "$@"', str(folder), *command),
            ],
            env=environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        deadline = time.monotonic() + seconds
        last = self._pass_on(process, deadline)
        try:
            status = process.wait(max(1.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise FreshError(f"`{' '.join(command)}` did not end within {seconds:.0f} s") from None
        if status:
            lines = "\n".join(f"    {line}" for line in last)
            raise FreshError(f"`{' '.join(command)}` ended with {status}; its last lines:\n{lines}")

    def _pass_on(self, process: "subprocess.Popen[bytes]", deadline: float) -> list[str]:
        """Print a process's output until it ends; its services may keep the pipe open."""
        assert process.stdout is not None
        rest = b""
        last: deque[str] = deque(maxlen=LAST_LINES)
        with selectors.DefaultSelector() as selector, process.stdout as output:
            selector.register(output, selectors.EVENT_READ)
            while time.monotonic() < deadline:
                readable = selector.select(1)
                self._record_labs()
                if not readable:
                    if process.poll() is not None:
                        break
                    continue
                chunk = os.read(output.fileno(), 65536)
                if not chunk:
                    break
                os.write(1, chunk)
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    last.append(line.decode(errors="replace").rstrip())
                    self.words.update(last[-1].replace(",", " ").split())
        return [*last, rest.decode(errors="replace")]
