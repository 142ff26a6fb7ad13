"""Give the operator of a lab another clouds.yaml."""

import uuid
from typing import Any

from openeni_lab.kubernetes.api import MERGE
from openeni_lab.product.installed_lab import InstalledLab, clouds_secret
from openeni_lab.product.pods import OPERATOR, PODS
from openeni_testing.lab import installed_lab as lab

Json = dict[str, Any]


def write_clouds_secret(installed: InstalledLab, clouds: Json) -> None:
    """Write the Secret with these entries, and have the leader's kubelet look at it now.

    It looks at a pod's Secrets when the pod changes, or else once in a minute or so.
    """
    installed.api.apply([clouds_secret({"clouds": clouds})])
    annotation = {"metadata": {"annotations": {"test.openeni.io/changed": str(uuid.uuid4())}}}
    path = f"{PODS}/{lab.container(installed, OPERATOR).pod}"
    installed.api.request("PATCH", path, annotation, MERGE)
