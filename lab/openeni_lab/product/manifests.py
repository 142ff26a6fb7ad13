"""Write deploy/openeni.yaml: what the chart renders with its defaults, for people without Helm."""

import sys
from pathlib import Path
from typing import Final

from openeni_crds.generated_files import GeneratedFiles
from openeni_lab import layout
from openeni_lab.product import chart
from openeni_lab.programs import prepared

REGISTRY: Final = "registry.example"  # reserved for examples: people put their own in its place
PATH: Final = "deploy/openeni.yaml"
_NO_HELM: Final = ("app.kubernetes.io/managed-by:", "helm.sh/")  # labels that would be untrue
_HEADER: Final = f"""\
# Made from helm/openeni by `make manifests`; change it there. To install openeni without Helm, put
# your registry in the place of {REGISTRY}, and the tags of your images behind it, then:
#   kubectl apply --server-side -f deploy/openeni.yaml
# docs/upgrade.md, Without Helm, says how to upgrade and remove it. Never `kubectl delete -f` it:
# that deletes the pools' kinds together with the operator, and the Namespace with your Secret.
apiVersion: v1
kind: Namespace
metadata:
  name: {chart.NAMESPACE}
  labels:
    pod-security.kubernetes.io/enforce: privileged # for the node agents
"""


def manifests(helm: Path) -> str:
    """Return the file's text. Raises ChartError with helm's message."""
    lines = chart.template(helm, REGISTRY).splitlines(keepends=True)
    return _HEADER + "".join(li for li in lines if not li.lstrip().startswith(_NO_HELM))


def files(helm: Path, root: Path = layout.REPOSITORY) -> GeneratedFiles:
    """Return the file, of the repository at `root`."""
    command = "python -m openeni_lab.product.manifests"
    return GeneratedFiles(root, {PATH: manifests(helm)}, "the chart helm/openeni", command)


if __name__ == "__main__":
    sys.exit(files(prepared.read(["helm"]).built.bin("helm")).run())
