"""Probe this machine; kernel features are tried out in new namespaces."""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from openeni_lab.layout import Layout, cache_folder
from openeni_lab.prepare.checks import ProbedMachine
from openeni_lab.prepare.debian_packages import packages
from openeni_lab.programs.go_set import SPECS, GoSet, installed_go
from openeni_lab.programs.python_set import PythonSet, uv_command
from openeni_lab.programs.sets import EMULATOR, KUBERNETES, NODE, SETS, missing

TRIAL_SECONDS: Final = 20
REGISTRY_SECONDS: Final = 20
_GIB: Final = 1 << 30

TRIED_WITH: Final = ("ip", "nft")

# They run in one shell, in new network and mount namespaces.
TRIALS: Final[Mapping[str, str]] = {
    "veth": "ip link add v0 type veth peer name v1",
    "bridge": "ip link add b0 type bridge",
    "tap": "ip tuntap add t0 mode tap",
    "nftables": "nft 'table ip t { chain c { type nat hook prerouting priority 0;"
    " ct state new counter accept; }; }; table inet u { }'",
    "nftables bridge": "nft 'table bridge t { counter d { }; chain c { type filter hook forward"
    " priority 0; arp saddr ip 10.0.0.1 ether saddr 02:00:00:00:00:01 counter name d drop; }; }'",
    "overlay": "mkdir /run/l /run/u /run/w /run/m &&"
    " mount -t overlay -o lowerdir=/run/l,upperdir=/run/u,workdir=/run/w o /run/m",
    "ipvlan": "ip link add i0 link v0 type ipvlan mode l2",
}


def try_features() -> Mapping[str, str]:
    """Try each feature; return its error, which is empty if it works.

    Returns no feature while a program that the trials need is missing.
    """
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    if not all(shutil.which(program, path=path) for program in TRIED_WITH):
        return {}
    each = [
        f"if e=$({{ {do}; }} 2>&1); then echo; else echo ${{e:-refused}}; fi"
        for do in TRIALS.values()
    ]
    script = "; ".join(["mount -t tmpfs run /run || exit 1", *each])
    try:
        done = subprocess.run(
            ["unshare", "--net", "--mount", "sh", "-c", script],
            env={"PATH": path},
            capture_output=True,
            text=True,
            timeout=TRIAL_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return dict.fromkeys(["namespaces", *TRIALS], str(error))
    if done.returncode:
        return dict.fromkeys(["namespaces", *TRIALS], done.stderr.strip() or "refused")
    return {"namespaces": "", **dict(zip(TRIALS, done.stdout.splitlines(), strict=True))}


def gather(
    layout: Layout, features: Mapping[str, str], sets: Iterable[str], *, testing: bool = False
) -> ProbedMachine:
    """Gather the facts for `checks.find_problems`.

    Registries are queried only if something is missing.

    Takes about half a second without registries.
    """
    cache_place = cache_folder()
    wanted = tuple(sets)
    to_build = tuple(missing(wanted, cache_place))
    lacking = tuple(packages(to_build, testing=testing, emulating=EMULATOR.name in wanted))
    memory = _memory()
    return ProbedMachine(
        system=f"{platform.system()} {platform.machine()}",
        python=sys.version_info[:2],
        capabilities=_capabilities(),
        features=features,
        cgroups=_try_cgroups(),
        memory_gib=memory["MemAvailable"],
        cache_gib=_free_gib(cache_place),
        state_gib=_free_gib(layout.root),
        to_build=to_build,
        packages=lacking,
        installable=bool(shutil.which("apt-get")) and os.geteuid() == 0,
        registries=_ask_registries(to_build),
        lab_exists=layout.state.exists(),
        lab_name=layout.name,
    )


def _capabilities() -> frozenset[int]:
    status = Path("/proc/self/status").read_text()
    effective = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    bits = int(effective.split()[1], 16)
    return frozenset(number for number in range(bits.bit_length()) if bits >> number & 1)


def _memory() -> Mapping[str, float]:
    """Return /proc/meminfo in GiB."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) * 1024 / _GIB for line in lines}


def _free_gib(folder: Path) -> float:
    """Return the free space where the folder is or would be created, in GiB."""
    there = next((place for place in (folder, *folder.parents) if place.exists()), Path("/"))
    return shutil.disk_usage(there).free / _GIB


def _try_cgroups() -> str:
    """Create a cgroup in every hierarchy; return the error, if any."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    mounts = [line.split(" - ")[0].split()[4] for line in lines if " - cgroup" in line]
    if not mounts:
        return "no cgroup hierarchy is mounted"
    name = f"openeni-lab-trial-{os.getpid()}"
    for mount in mounts:
        trial = Path(mount) / name
        try:
            trial.mkdir()
            trial.rmdir()
        except OSError as error:
            return str(error)
    return ""


def _ask_registries(to_build: Sequence[str]) -> Mapping[str, str]:
    """Make a small query with each client that a build would use, in parallel.

    Except apt, which runs first anyway and waits for its own locks.
    """
    asked: dict[str, Callable[[], str]] = {}
    kinds = {type(SETS[name]) for name in to_build}
    if GoSet in kinds and installed_go(NODE.go):
        asked["Go modules"] = _ask_go
    if kinds & {GoSet, PythonSet}:
        asked["Python packages"] = _ask_python
    with ThreadPoolExecutor() as pool:
        answers = {name: pool.submit(ask) for name, ask in asked.items()}
    return {name: answer.result() for name, answer in answers.items()}


def _ask_go() -> str:
    with tempfile.TemporaryDirectory() as empty:
        env = {"GOMODCACHE": empty, "GOFLAGS": "-modcacherw -mod=mod", "GOTOOLCHAIN": "local"}
        module = f"{KUBERNETES.module}@v{KUBERNETES.version}"
        return _error_of(["go", "list", "-m", module], env, empty)


def _ask_python() -> str:
    argv = [*uv_command(), "pip", "compile", "-q", "--no-deps", "--refresh"]
    return _error_of([*argv, str(SPECS / "kubectl.txt")], {}, "/")


def _error_of(argv: Sequence[str], env: Mapping[str, str], cwd: str) -> str:
    try:
        done = subprocess.run(
            argv,
            cwd=cwd,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=REGISTRY_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {REGISTRY_SECONDS} s"
    except OSError as error:
        return str(error)
    lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
    return lines[-1] if done.returncode else ""
