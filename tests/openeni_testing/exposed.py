"""What an exposition of the agent says, as Prometheus reads it."""

import sys
from collections.abc import Mapping
from typing import Final

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from openeni_lab.product.installed_lab import InstalledLab
from openeni_lab.product.pods import AGENT, PODS
from openeni_nodeagent.metrics.catalogue import CATALOGUE
from openeni_testing.lab import installed_lab as lab

OWN: Final = "openeni_"
PORT: Final = 9442  # agent.metricsPort
_FETCH: Final = """
import sys, urllib.request as http
print(http.urlopen(sys.argv[1], timeout=30).read().decode())
"""
_LABELS: Final = {metric.name: metric.labels for metric in CATALOGUE}
_ENDINGS: Final = ("_bucket", "_count", "_sum")


def scrape(installed: InstalledLab, node: str) -> bytes:
    """Return what a node's agent serves to Prometheus, on the node's address."""
    pod = lab.container(installed, AGENT, node).pod
    address = installed.api.request("GET", f"{PODS}/{pod}")["status"]["podIP"]
    host = f"[{address}]" if ":" in address else address
    url = f"http://{host}:{PORT}/metrics"
    return installed.nodes[node].check([sys.executable, "-S", "-c", _FETCH, url]).encode()


def samples(page: bytes, name: str = OWN) -> list[Sample]:
    """Return the samples whose name begins so."""
    families = text_string_to_metric_families(page.decode())
    return [s for family in families for s in family.samples if s.name.startswith(name)]


def values(page: bytes, name: str) -> Mapping[tuple[str, ...], float]:
    """Return the values of a metric's samples by those of its labels, a bucket's bound last."""
    found = [s for s in samples(page, name) if s.name == name]
    order = (*_LABELS[metric_name(name)], *(("le",) if name.endswith("_bucket") else ()))
    return {tuple(s.labels[label] for label in order): s.value for s in found}


def metric_name(sample: str) -> str:
    """Return the name of a sample's metric: those of a histogram have endings."""
    for ending in _ENDINGS:
        sample = sample.removesuffix(ending)
    return sample
