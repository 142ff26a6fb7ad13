"""The template of a lab's OpenStack: a seeded database, made once and kept in the cache.

Creating schemas, users, networks and keys takes most of a minute, copying them takes a moment. The
template's name has a hash of everything that it was made from, so a new release or a changed seed
makes a new one.
"""

import fcntl
import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from openeni_lab import layout
from openeni_lab.cloud.cloud_layout import (
    DATABASES,
    KEYSTONE_URL,
    PUBLIC_KEYSTONE_URL,
    REGION,
    CloudLayout,
    Secrets,
)
from openeni_lab.cloud.openstack import OpenStack
from openeni_lab.layout import Layout, NodeLayout
from openeni_lab.machine.client import Machine
from openeni_lab.programs.cache import distribution

COPIED: Final = ("mysql", "etc/keystone/fernet-keys", "etc/keystone/credential-keys")
_SOURCES: Final = ("layout", "cloud/cloud_layout", "cloud/config", "cloud/seed", "cloud/template")


def template_folder(lab: Layout, venv: Path) -> Path:
    """Return the template's folder for these releases, this code and this many nodes."""
    digest = hashlib.sha256()
    for name in _SOURCES:
        digest.update((Path(layout.__file__).parent / f"{name}.py").read_bytes())
    releases = sorted(path.name for path in venv.glob("lib/python*/site-packages/*.dist-info"))
    digest.update(repr((releases, lab.node_count)).encode())
    return layout.cache_folder() / distribution() / f"openstack-template-{digest.hexdigest()[:12]}"


def copy(source: Path, target: Path, machine: Machine, *, kept: bool = False) -> None:
    """Copy a folder atomically, with sparse files and reflinks.

    Each copy has a draft of its own, since the `cp` of a killed `up` may still run. One that is
    `kept` over a power cut is on the disk before it has its name; a lab's own is not used again.
    """
    for earlier in target.parent.glob(f"{target.name}.partial-*"):
        shutil.rmtree(earlier, ignore_errors=True)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f"{target.name}.partial-", dir=target.parent))
    command = ["cp", "-a", "--reflink=auto", "--sparse=always", f"{source}/.", str(draft)]
    machine.check(command, timeout=600)
    if kept:
        os.sync()
    draft.rename(target)


def make(lab: Layout, machine: Machine, cloud: CloudLayout, target: Path) -> None:
    """Start an empty OpenStack, seed it, stop it, and keep the result in `target`.

    If another lab is making the same template, wait for that one instead.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with (layout.cache_folder() / "openstack-template.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            _make(lab, machine, cloud, target)


def _make(lab: Layout, machine: Machine, cloud: CloudLayout, target: Path) -> None:
    stack = OpenStack(cloud, machine, lab.logs, "template-")
    stack.stop()
    shutil.rmtree(cloud.folder, ignore_errors=True)
    known = Secrets(secrets.token_hex(16), "", secrets.token_hex(16))
    stack.write(known)
    try:
        _fill(stack, known, lab.nodes)
    finally:
        stack.stop()
    _keep(cloud, target, machine)
    shutil.rmtree(cloud.folder)


def _fill(stack: OpenStack, known: Secrets, nodes: Sequence[NodeLayout]) -> None:
    _schemas(stack, known.password)
    stack.start("keystone")
    stack.wait("keystone")
    plan = {"password": known.password, "credential_secret": known.credential_secret}
    found = stack.seed("identity", plan)
    stack.start()  # only now: Nova exits if its users do not exist
    stack.wait("placement", "neutron", "glance", "nova")
    stack.tool("nova-manage", _file(stack, "nova/nova.conf"), "cell_v2", "discover_hosts")
    stack.wait()
    stack.seed("cloud", {"zones": {node.zone: node.compute_host for node in nodes}})
    stack.write(Secrets(known.password, found["credential_id"], known.credential_secret))


def _schemas(stack: OpenStack, password: str) -> None:
    """Create the databases and their schemas, in three independent chains."""
    stack.install_database()
    stack.start_database()
    create = "".join(f"CREATE DATABASE {name} CHARACTER SET utf8mb4;" for name in DATABASES)
    user = f"CREATE USER 'os'@'%' IDENTIFIED BY '{password}'; GRANT ALL ON *.* TO 'os'@'%';"
    stack.sql(create + user)
    with ThreadPoolExecutor() as pool:
        started = [
            pool.submit(_keystone, stack, password),
            pool.submit(_nova, stack),
            pool.submit(_others, stack),
        ]
        for one in started:
            one.result()


def _keystone(stack: OpenStack, password: str) -> None:
    file = _file(stack, "keystone/keystone.conf")
    owner = ("--keystone-user", "root", "--keystone-group", "root")
    stack.tool("keystone-manage", file, "db_sync")
    stack.tool("keystone-manage", file, "fernet_setup", *owner)
    stack.tool("keystone-manage", file, "credential_setup", *owner)
    urls = [f"--bootstrap-{i}-url={KEYSTONE_URL}" for i in ("internal", "admin")]
    urls.append(f"--bootstrap-public-url={PUBLIC_KEYSTONE_URL}")
    region = ("--bootstrap-region-id", REGION)
    secret = {"OS_BOOTSTRAP_PASSWORD": password}
    stack.tool("keystone-manage", file, "bootstrap", *region, *urls, **secret)


def _nova(stack: OpenStack) -> None:
    file = _file(stack, "nova/nova.conf")
    stack.tool("nova-manage", file, "api_db", "sync")
    stack.tool("nova-manage", file, "cell_v2", "map_cell0")
    stack.tool("nova-manage", file, "db", "sync")
    stack.tool("nova-manage", file, "cell_v2", "create_cell", "--name", "cell1")


def _others(stack: OpenStack) -> None:
    neutron = (_file(stack, "neutron/neutron.conf"), _file(stack, "neutron/ml2_conf.ini"))
    stack.tool("neutron-db-manage", *neutron, "upgrade", "heads")
    placement = f"--config-dir={stack.cloud.etc / 'placement'}"
    stack.tool("placement-manage", placement, "db", "sync")
    stack.tool("glance-manage", _file(stack, "glance/glance-api.conf"), "db_sync")


def _file(stack: OpenStack, name: str) -> str:
    return f"--config-file={stack.cloud.etc / name}"


def _keep(cloud: CloudLayout, target: Path, machine: Machine) -> None:
    """Keep the parts of the stopped cloud that `config` cannot write again."""
    chosen = cloud.folder / "template"
    for name in COPIED:
        (chosen / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        (cloud.folder / name).rename(chosen / name)
    (chosen / "mysql/ib_buffer_pool").unlink(missing_ok=True)
    cloud.secrets_file.rename(chosen / cloud.secrets_file.name)
    copy(chosen, target, machine, kept=True)
