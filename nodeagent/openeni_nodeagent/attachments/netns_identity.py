"""Identify a network namespace: its path may lead to another pod's once its own pod is gone.

/proc/<pid>/ns/net leads to whatever process has that number. Device and inode of the nsfs file
tell two namespaces apart that exist at the same time (namespaces(7)); a path whose namespace has
ended shows the file that it was mounted on, or nothing.
"""

from pathlib import Path

from openeni_nodeagent.grants.ledger import Grant


def identify(path: str) -> tuple[int, int] | None:
    """Return device and inode of the namespace at `path`; None if there is nothing."""
    if not path:
        return None
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def leads_to_pod(path: str, grant: Grant) -> bool:
    """Return True if the namespace at `path` is the one that the grant's pod was connected in."""
    return grant.netns_id is not None and identify(path) == grant.netns_id
