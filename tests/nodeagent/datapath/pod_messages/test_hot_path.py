"""An ADD by a template is cut off or refused anywhere; the next one finds what it has left."""

from collections.abc import Callable, Generator
from dataclasses import replace

import pytest

from openeni_nodeagent.datapath import pod
from openeni_nodeagent.datapath.linux.netlink import Netlink
from openeni_nodeagent.datapath.pod_messages.template import template_of
from openeni_nodeagent.datapath_api import DatapathError
from openeni_nodeagent.pod_options import UNLIMITED
from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import Port
from openeni_testing.network.one_eni import MODES, OneENI

pytestmark = pytest.mark.root
STEPS = 6  # requests, sysctls and entries into the pod's namespace, of the hot path


class KilledError(BaseException):
    """The agent is killed."""


@pytest.fixture(scope="module", params=MODES)
def plain(request: pytest.FixtureRequest) -> Generator[OneENI]:
    """An ENI whose pod has a template."""
    made = OneENI(request.param)
    made.pod = replace(made.pod, host_ports=(), bandwidth=UNLIMITED)
    assert template_of(made.place()) is not None
    yield made
    made.close()


def interrupted(error: BaseException, at: int) -> Callable[[Callable[..., object]], object]:
    """Return a function that has all that it is given fail together, at one of their calls."""
    calls = 0

    def wrap(real: Callable[..., object]) -> object:
        def call(*arguments: object, **named: object) -> object:
            nonlocal calls
            calls += 1
            if calls == at:
                raise error
            return real(*arguments, **named)

        return call

    return wrap


@pytest.mark.parametrize("error", [KilledError(), DatapathError("no")], ids=["killed", "refused"])
@pytest.mark.parametrize("at", range(1, STEPS + 1))
def test_cut_off_at_any_step(
    plain: OneENI, netns: Namespace, monkeypatch: pytest.MonkeyPatch, at: int, error: BaseException
) -> None:
    bare = plain.state()
    with monkeypatch.context() as patch:
        wrap = interrupted(error, at)
        patch.setattr(Netlink, "execute", wrap(Netlink.execute))
        for step in ("write_sysctls", "write_pod_sysctls", "in_namespace"):
            patch.setattr(pod, step, wrap(getattr(pod, step)))
        with pytest.raises(type(error)):
            plain.add(netns.path)
    if isinstance(error, DatapathError):
        assert plain.state() == bare
    plain.add(netns.path)
    assert plain.check(netns.path) == ()
    plain.delete(netns.path)
    assert plain.state() == bare


def test_a_repeated_add_and_a_nic_that_has_another_index(plain: OneENI, netns: Namespace) -> None:
    bare = plain.state()
    for _ in range(2):
        plain.add(netns.path)
        assert plain.check(netns.path) == ()
    plain.delete(netns.path)
    assert plain.state() == bare
    before = plain.place().eni.link
    port = Port("eni", plain.eni.mac, (*plain.eni.primary, *plain.addresses))
    plain.network.unplug(port)
    plain.network.plug(plain.node.namespace, "ens7", port)
    with Namespace("another") as another:
        plain.add(another.path)
        assert plain.check(another.path) == ()
        assert plain.place().eni.link.ifindex != before.ifindex
        plain.delete(another.path)
