"""What README and docs say of files, versions, values and the cloud is so."""

import re
from pathlib import Path
from typing import Final

import pytest
import yaml
from keystoneauth1.identity.v3 import ApplicationCredential, ApplicationCredentialMethod
from openstack.config import OpenStackConfig

from openeni_lab.programs.go_set import SPECS
from openeni_testing.objects import REPOSITORY
from openeni_testing.pages.blocks import PAGES, name_of
from openeni_testing.pages.chart_values import SCHEMA, has, steps

README: Final = REPOSITORY / "README.md"
INSTALL: Final = REPOSITORY / "docs/start/install.md"
each_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


@each_page
def test_every_value_that_a_command_sets_is_one_of_the_chart(page: Path) -> None:
    given = re.findall(r"--set(?:-string|-json)?[ =]'?([\w.\\/-]+)=", page.read_text())
    assert [key for key in given if not has(SCHEMA, [*steps(key)])] == []


def test_what_the_chart_lacks_is_not_taken_for_a_value() -> None:
    for key in ("operator.replica", "nosuch", "image.repository", "metrics.enabled.x"):
        assert not has(SCHEMA, [*steps(key)])
    assert has(SCHEMA, [*steps(r"agent.nodeSelector.kubernetes\.io/arch")])


def test_the_versions_that_are_said_to_be_tested_are_the_labs() -> None:
    go = (SPECS / "programs/go.mod").read_text()
    locked = (SPECS / "openstack.txt").read_text()
    major = {
        name: re.search(rf"^{name}==(\d+)\.", locked, re.MULTILINE)
        for name in ("keystone", "neutron", "nova", "openstack-placement")
    }
    keystone, neutron, nova, placement = (found[1] for found in major.values() if found)
    services = f"Keystone {keystone}, Neutron {neutron}, Nova {nova} and Placement {placement}"
    kubernetes = re.search(r"k8s\.io/kubernetes v(\S+)", go)
    helm = re.search(r"helm\.sh/helm/v\d+ v(\S+)", go)
    assert kubernetes
    assert helm
    containerd = re.search(r"github\.com/containerd/containerd/v2 v(\S+)", go)
    assert containerd
    release = (REPOSITORY / "docs/release.md").read_text()
    assert f"| Kubernetes | {kubernetes[1]}," in release
    assert f"| Helm | {helm[1]} |" in release
    assert f"| container runtime | containerd {containerd[1]} " in release
    page = (REPOSITORY / "docs/upgrade.md").read_text()
    for row in (
        f"| Kubernetes | {kubernetes[1]} |",
        f"| Helm | {helm[1]} |",
        f"| OpenStack | {services},",
    ):
        assert row in page
    assert f"Kubernetes {kubernetes[1]}, Helm {helm[1]} and OpenStack 2026.2" in " ".join(
        README.read_text().split()
    )


def test_the_sample_of_clouds_yaml_is_what_the_operators_client_takes(tmp_path: Path) -> None:
    (sample,) = re.findall(r"```yaml\n(clouds:\n.*?)```", INSTALL.read_text(), re.DOTALL)
    file = tmp_path / "clouds.yaml"
    file.write_text(sample)
    cloud = OpenStackConfig(
        config_files=[str(file)], secure_files=[], vendor_files=[], load_envvars=False
    ).get_one(cloud="default")
    assert yaml.safe_load(sample)["clouds"].keys() == {"default"}
    auth = cloud.get_auth()
    assert isinstance(auth, ApplicationCredential)
    (method,) = auth.auth_methods
    assert isinstance(method, ApplicationCredentialMethod)
    assert (method.application_credential_id, method.application_credential_secret) == (
        "ID",
        "SECRET",
    )
    assert cloud.region_name == "RegionOne"


def test_the_examples_name_what_the_installations_commands_make() -> None:
    text = INSTALL.read_text()
    pool = yaml.safe_load((REPOSITORY / "docs/examples/enipool-veth.yaml").read_text())["spec"]
    (subnet,), (group,) = pool["subnets"], pool["securityGroups"]
    assert f"openstack subnet create {subnet['name']} " in text
    assert f"openstack security group create {group['name']}\n" in text
