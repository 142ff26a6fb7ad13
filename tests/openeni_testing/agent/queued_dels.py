"""DELs in the queue, as the executable writes them while no agent answers."""

from pathlib import Path

from openeni_kube.clock import boot_seconds
from openeni_nodeagent.cni import frame
from openeni_testing.waiting import wait_for


def request(container: str, command: str = "DEL", netns: str = "", stdin: bytes = b"") -> bytes:
    variables = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": container,
        "CNI_IFNAME": "eth0",
        "CNI_NETNS": netns,
    }
    stdin = stdin or b'{"cniVersion":"1.1.0","name":"openeni"}'
    return frame.encode_request(variables, stdin, deadline=1)


def queued(folder: Path, content: bytes, at: float, process: int = 1) -> Path:
    file = folder / f"{int(at * 1000):020d}-{process}.del"
    file.write_bytes(content)
    return file


def queue_before_what_follows(folder: Path) -> None:
    """Queue the DEL of c1; return at a later time than its own."""
    at = boot_seconds() + 0.001  # a file's name has milliseconds
    queued(folder, request("c1"), at)
    wait_for(lambda: boot_seconds() > at, "a later time")
