"""Labels, annotations and namespaces of the chart's objects."""

from typing import Any

import pytest
import yaml

from openeni_lab.product.chart import NAMESPACE
from openeni_testing.helm import Helm, pod_templates

pytestmark = pytest.mark.cluster

Json = dict[str, Any]

EVERY: Json = {  # an object of each template
    "metrics": {"enabled": True, "podMonitor": {"enabled": True}, "rules": {"enabled": True}}
}


def test_labels_of_the_user_never_replace_the_charts(helm: Helm) -> None:
    given: Json = {"commonLabels": {"team": "network", "app.kubernetes.io/part-of": "platform"}}
    documents = helm.render(given)
    mine = [d for d in documents if d["kind"] != "CustomResourceDefinition"]
    labels = [d["metadata"]["labels"] for d in mine]
    labels += [pod["metadata"]["labels"] for pod in pod_templates(documents).values()]
    assert {label["team"] for label in labels} == {"network"}
    assert {label["app.kubernetes.io/part-of"] for label in labels} == {"openeni"}


def test_annotations_of_the_user_are_on_every_object_beside_the_charts(helm: Helm) -> None:
    given = {"example.org/owner": "network"}
    documents = helm.render({**EVERY, "commonAnnotations": given}, hooks=True)
    plain = {key(d): annotations(d) for d in helm.render(EVERY, hooks=True)}
    assert {"Job", "Pod", "PodMonitor"} <= {kind for kind, _ in plain}
    for document in documents:
        own = {} if document["kind"] == "CustomResourceDefinition" else given
        assert annotations(document) == plain[key(document)] | own


def annotations(document: Json) -> Json:
    found: Json = document["metadata"].get("annotations", {})
    return found


def key(document: Json) -> tuple[str, str]:
    return document["kind"], document["metadata"]["name"]


def test_with_an_override_nothing_is_in_the_releases_namespace_or_speaks_of_it(helm: Helm) -> None:
    given: Json = {**EVERY, "namespaceOverride": "network"}
    documents, plain = (helm.render(values, hooks=True) for values in (given, EVERY))
    assert yaml.safe_dump(documents) == yaml.safe_dump(plain).replace(NAMESPACE, "network")
