"""ENIs and their former ports, as the journal and the ledger know them."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from openeni_crds.eni import ENI
from openeni_crds.enipool import Datapath, Mode
from openeni_crds.meta import decode
from openeni_nodeagent.datapath_api import ENIFacts
from openeni_nodeagent.enis.wanted_enis import every_eni
from openeni_nodeagent.grants.grant import Attachment
from openeni_nodeagent.grants.journal import ENIForgotten, ENISeen, JournalState
from openeni_nodeagent.grants.known_enis import KnownENIs
from openeni_testing.agent import node_objects
from openeni_testing.agent.node_objects import granted
from openeni_testing.objects import eni_body

NAMES, PORTS = ("a", "b"), ("p1", "p2", "p3")


def facts(name: str, port: str) -> ENIFacts:
    mac = f"fa:16:3e:00:00:0{port[-1]}"
    return ENIFacts(name, mac, 1450, Datapath(Mode.VETH), ("10.98.0.4",), (), port)


records = st.one_of(
    st.builds(ENISeen, st.builds(facts, st.sampled_from(NAMES), st.sampled_from(PORTS))),
    st.builds(ENIForgotten, st.sampled_from(NAMES)),
)


@given(st.lists(records, max_size=20))
def test_the_shortest_journal_says_the_same_and_names_are_unique(
    history: list[ENISeen | ENIForgotten],
) -> None:
    state = JournalState("boot")
    for record in history:
        state.apply(record)
        known = state.enis.all()
        assert len({eni.name for eni in known}) == len({eni.port for eni in known}) == len(known)
        if isinstance(record, ENISeen):
            assert state.enis.named(record.facts.name) == record.facts
    again = JournalState()
    for line in state.records():
        again.apply(line)
    assert again.enis == state.enis


def test_a_port_whose_id_an_older_agent_has_not_recorded_is_the_same_one() -> None:
    known = KnownENIs()
    known.see(replace(facts("a", "p1"), port=""))
    known.see(facts("a", "p1"))
    assert known.all() == (facts("a", "p1"),)


def test_a_port_that_comes_back_has_its_enis_name_again() -> None:
    known = KnownENIs()
    for port in ("p1", "p2", "p1"):
        known.see(facts("a", port))
    assert known.named("a") == facts("a", "p1")
    assert {eni.port for eni in known.all()} == {"p1", "p2"}


def test_a_grant_is_never_of_another_port() -> None:
    grant = granted(Attachment("uid", "c1", "eth0"), "10.98.0.5", port="p1")
    known = KnownENIs.of_facts([facts("e", "p2")])
    assert known.of(grant) is None
    known = KnownENIs.of_facts([replace(facts("e", "p1"), port="")])
    assert known.of(grant) == replace(facts("e", "p1"), port=""), "of before the upgrade"


def test_a_former_port_is_known_although_the_journal_has_not_seen_the_new_one() -> None:
    body = eni_body("a")
    body["status"] = {"port": node_objects.port(3, 2) | {"id": "p2"}}
    found = every_eni([decode(body, ENI)], [facts("a", "p1")])
    assert {(one.name == "a", one.port) for one in found} == {(True, "p2"), (False, "p1")}
