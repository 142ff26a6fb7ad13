"""The files with which components and people reach the API server, and nothing but these files.

Each holds its certificate and key in itself, so it can be handed to another machine as one file;
the user's own kubeconfig is never touched.
"""

import base64
from dataclasses import dataclass
from pathlib import Path

import yaml

from openeni_lab.kubernetes.certificates import KeyPair, write_secret


@dataclass(frozen=True)
class Access:
    """Where an API server is, how it proves itself and how we do."""

    server: str  # https://host:port
    authority: bytes  # PEM
    client: KeyPair


def write(path: Path, access: Access, *, context: str = "openeni-lab") -> None:
    """Readable by its owner alone: the key is in it."""
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
    """Read back what `write` wrote. Raises OSError, ValueError, KeyError for anything else."""
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
