"""A hollow node, as in kubemark: real Pod objects and pod networks, but no containers.

It replaces kubelet and containerd on a node, next to the real agent. Pods bound to the node get a
sandbox and become Running and Ready at once. Their deletion is completed as kubelet does, and the
node's Lease is renewed. Thousands of pods can start and stop within minutes.
"""

import argparse
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from openeni_lab.kubernetes.api import MERGE, NOT_FOUND, Api, ApiError
from openeni_lab.runtime.cni import NetworkConfigList, PluginError
from openeni_lab.runtime.sandbox import BIN_FOLDER, CONF_FOLDER, Sandbox, SandboxPod, SandboxRuntime

Json = dict[str, Any]

LEASE_SECONDS: Final = 40  # kubelet's, which renews it after a quarter of this
WATCH_SECONDS: Final = 300
RETRY_SECONDS: Final = 1.0
WORKERS: Final = 200  # each pod that waits for an address occupies one


@dataclass
class HollowPod:
    """One pod of the node, with its sandbox, if any; `turn` serialises the work on it."""

    manifest: Json
    turn: threading.Lock = field(default_factory=threading.Lock)
    sandbox: Sandbox | None = None
    ending: bool = False


class HollowNode:
    """The pods of one node."""

    def __init__(self, api: Api, runtime: SandboxRuntime, name: str, address: str) -> None:
        self._api, self._runtime = api, runtime
        self._name, self._address = name, address
        self._pods: dict[str, HollowPod] = {}  # by pod uid
        self._stopped = threading.Event()
        self._workers = ThreadPoolExecutor(WORKERS)

    def run(self) -> None:
        """Serve the node's pods until `stop`; keep trying if the API server is away."""
        threading.Thread(target=self._renew, daemon=True).start()
        while not self._stopped.is_set():
            try:
                self._list_and_watch()
            except ApiError:
                self._stopped.wait(RETRY_SECONDS)

    def stop(self) -> None:
        self._stopped.set()
        self._workers.shutdown(cancel_futures=True)

    def _list_and_watch(self) -> None:
        """List the pods bound to this node, then watch them."""
        mine = {"fieldSelector": f"spec.nodeName={self._name}"}
        listed = self._api.request(
            "GET", f"/api/v1/pods?fieldSelector=spec.nodeName%3D{self._name}"
        )
        there = {pod["metadata"]["uid"] for pod in listed["items"]}
        for pod in listed["items"]:
            self._handle(pod)
        for uid, hollow in list(self._pods.items()):
            if uid not in there:
                self._stop_pod(hollow)
        version = listed["metadata"]["resourceVersion"]
        for event in self._api.watch("/api/v1/pods", version, WATCH_SECONDS, **mine):
            if self._stopped.is_set() or event["type"] == "ERROR":
                return
            self._handle(event["object"], gone=event["type"] == "DELETED")

    def _handle(self, pod: Json, *, gone: bool = False) -> None:
        uid = pod["metadata"]["uid"]
        hollow = self._pods.get(uid)
        if gone or "deletionTimestamp" in pod["metadata"]:
            if hollow or not gone:
                self._stop_pod(self._pods.setdefault(uid, HollowPod(pod)))
        elif hollow is None:
            self._pods[uid] = hollow = HollowPod(pod)
            self._submit(self._start, hollow)

    def _stop_pod(self, hollow: HollowPod) -> None:
        if not hollow.ending:
            hollow.ending = True
            self._submit(self._end, hollow)

    def _submit(self, do: Callable[[HollowPod], None], hollow: HollowPod) -> None:
        """Run `do` on a worker; on an unexpected error, print it and stop the node."""

        def done(future: Future[None]) -> None:
            error = None if future.cancelled() else future.exception()
            if error:
                print(f"openeni-lab hollow node: {hollow.manifest['metadata']['name']}: {error!r}")
                self._stopped.set()

        self._workers.submit(do, hollow).add_done_callback(done)

    def _start(self, hollow: HollowPod) -> None:
        """Start the pod's sandbox, with retries until it works or the pod is deleted."""
        meta = hollow.manifest["metadata"]
        wanted = SandboxPod(
            meta["name"], meta["namespace"], meta["uid"], meta.get("annotations", {})
        )
        with hollow.turn:
            while not (hollow.ending or self._stopped.is_set()):
                try:
                    hollow.sandbox = self._runtime.start(wanted)
                except PluginError as error:
                    print(f"{wanted.namespace}/{wanted.name}: {error}", flush=True)
                    self._stopped.wait(RETRY_SECONDS)
                else:
                    self._until_done(lambda: self._report_running(hollow))
                    return

    def _end(self, hollow: HollowPod) -> None:
        meta = hollow.manifest["metadata"]
        with hollow.turn:
            while hollow.sandbox and not self._stopped.is_set():
                try:
                    self._runtime.stop(hollow.sandbox)
                    hollow.sandbox = None
                except PluginError as error:
                    print(f"{meta['namespace']}/{meta['name']}: {error}", flush=True)
                    self._stopped.wait(RETRY_SECONDS)
            options = {"gracePeriodSeconds": 0, "preconditions": {"uid": meta["uid"]}}
            self._until_done(lambda: self._api.delete(_path(hollow.manifest), options))
            self._pods.pop(meta["uid"], None)

    def _until_done(self, call: Callable[[], None]) -> None:
        """Retry a call while the API server is away; give up if it refuses: the pod is gone."""
        while not self._stopped.is_set():
            try:
                return call()
            except ApiError as error:
                if error.status:
                    return None
                self._stopped.wait(RETRY_SECONDS)
        return None

    def _report_running(self, hollow: HollowPod) -> None:
        addresses = hollow.sandbox.addresses if hollow.sandbox else []
        status = running_status(hollow.manifest, self._address, addresses, _now())
        self._api.request("PATCH", f"{_path(hollow.manifest)}/status", {"status": status}, MERGE)

    def _renew(self) -> None:
        """Renew the node's Lease until `stop`."""
        renewed = self._lease()
        while not self._stopped.wait(LEASE_SECONDS / 4 if renewed else RETRY_SECONDS):
            renewed = self._lease()

    def _lease(self) -> bool:
        path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        spec = {
            "holderIdentity": self._name,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": _now(micro=True),
        }
        try:
            self._api.request("PATCH", f"{path}/{self._name}", {"spec": spec}, MERGE)
        except ApiError as error:
            if error.status == NOT_FOUND:
                with suppress(ApiError):
                    self._api.request(
                        "POST", path, {"metadata": {"name": self._name}, "spec": spec}
                    )
            return False
        return True


def running_status(pod: Json, host: str, addresses: list[str], now: str) -> Json:
    """Return the status that kubelet reports when all containers of a pod are ready."""
    types = ("PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready", "PodScheduled")
    return {
        "phase": "Running",
        "hostIP": host,
        "hostIPs": [{"ip": host}],
        "podIP": addresses[0] if addresses else "",
        "podIPs": [{"ip": address} for address in addresses],
        "startTime": now,
        "conditions": [{"type": t, "status": "True", "lastTransitionTime": now} for t in types],
        "containerStatuses": [
            {
                "name": container["name"],
                "image": container["image"],
                "imageID": "",
                "ready": True,
                "started": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": now}},
            }
            for container in pod["spec"]["containers"]
        ],
    }


def _path(pod: Json) -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"


def _now(*, micro: bool = False) -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")


def main() -> int:
    """Run `python -m openeni_lab.runtime.hollow_node`, with the node's own kubeconfig."""
    parser = argparse.ArgumentParser(prog="openeni_lab.runtime.hollow_node", description=__doc__)
    parser.add_argument("--node", required=True)
    parser.add_argument("--address", required=True, help="the node's, for hostIP")
    parser.add_argument("--kubeconfig", type=Path, required=True, help="the kubelet's")
    parser.add_argument("--conf", type=Path, default=CONF_FOLDER, help="folder of the conflist")
    parser.add_argument("--bin", type=Path, default=BIN_FOLDER, help="folder of the plugins")
    options = parser.parse_args()
    try:
        runtime = SandboxRuntime(NetworkConfigList.load(options.conf, [options.bin]))
        HollowNode(Api(options.kubeconfig), runtime, options.node, options.address).run()
    except OSError as error:
        print(f"openeni-lab hollow node: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
