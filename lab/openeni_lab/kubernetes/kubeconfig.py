"""Read and write the lab's kubeconfig files, for its components and its users.

Each contains its certificate and key, so that it is a single file to copy. The user's own
kubeconfig is never touched.
"""

import base64
from dataclasses import dataclass
from pathlib import Path

import yaml

from openeni_lab.kubernetes.certificates import KeyPair, write_secret


@dataclass(frozen=True)
class Access:
    """An API server's address, its certificate authority, and the client's certificate."""

    server: str  # https://host:port
    authority: bytes  # PEM
    client: KeyPair


def write(path: Path, access: Access, *, context: str = "openeni-lab") -> None:
    """Write a kubeconfig that only its owner can read."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": context,
                "cluster": {
                    "server": access.server,
                    "certificate-authority-data": _encode(access.authority),
                },
            }
        ],
        "users": [
            {
                "name": context,
                "user": {
                    "client-certificate-data": _encode(access.client.certificate),
                    "client-key-data": _encode(access.client.key),
                },
            }
        ],
        "contexts": [{"name": context, "context": {"cluster": context, "user": context}}],
        "current-context": context,
    }
    write_secret(path, yaml.safe_dump(content, sort_keys=False).encode())


def read(path: Path) -> Access:
    """Read a file of `write`. Raises OSError, ValueError or KeyError for any other."""
    content = yaml.safe_load(path.read_text())
    cluster, user = content["clusters"][0]["cluster"], content["users"][0]["user"]
    client = KeyPair(
        base64.b64decode(user["client-certificate-data"]),
        base64.b64decode(user["client-key-data"]),
    )
    authority = base64.b64decode(cluster["certificate-authority-data"])
    return Access(cluster["server"], authority, client)


def _encode(content: bytes) -> str:
    return base64.b64encode(content).decode()
