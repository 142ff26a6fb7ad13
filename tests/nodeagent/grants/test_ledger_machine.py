"""The ledger under any order of events: Hypothesis looks for one that breaks a rule."""

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from openeni_nodeagent.grants.ledger import Attachment, ENIView, Grant, Ledger

ADDRESSES = tuple(f"10.0.0.{n}" for n in range(5))
COOL_DOWN = 10.0
subsets = st.frozensets(st.sampled_from(ADDRESSES))


class LedgerMachine(RuleBasedStateMachine):
    containers = Bundle("containers")

    @initialize()
    def begin(self) -> None:
        self.now = 0.0
        self.ledger = Ledger()
        self.view = ENIView("e", "pods", 1, frozenset({4}), ADDRESSES)
        self.ledger.observe(self.view, 0)
        self.owners: dict[str, str] = {}  # ours: address -> container
        self.cooling_until: dict[str, float] = {}
        self.given_up: set[str] = set()
        self.count = 0

    @rule(target=containers, pod=st.sampled_from(["u1", "u2"]))
    def add(self, pod: str) -> str:
        self.count += 1
        container = f"c{self.count}"
        chosen = self.ledger.choose("pods", self.now)
        if chosen is None:
            assert not self._grantable()
            return container
        (address,) = chosen.addresses
        assert address in self._grantable()
        assert self.cooling_until.get(address, -1) == min(
            self.cooling_until.get(a, -1) for a in self._grantable()
        )
        attachment = Attachment(pod, container, "eth0")
        self.ledger.record(
            Grant(
                attachment,
                "d",
                "p",
                "",
                "e",
                "pods",
                chosen.addresses,
                "Veth",
                1450,
                self.now,
                COOL_DOWN,
            )
        )
        self.owners[address] = container
        return container

    @rule(container=containers)
    def delete(self, container: str) -> None:
        """Late, repeated, or of a container that never got an address: all the same."""
        ended = self.ledger.find(container, "eth0")
        self.ledger.end_grant(container, "eth0", self.now + COOL_DOWN)
        mine = {a for a, c in self.owners.items() if c == container}
        assert mine == set(ended.addresses if ended else ())
        for address in mine:
            del self.owners[address]
            self.cooling_until[address] = self.now + COOL_DOWN

    @rule(seconds=st.floats(0.5, 12))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(retiring=subsets, addresses=subsets)
    def see(self, retiring: frozenset[str], addresses: frozenset[str]) -> None:
        there = tuple(a for a in ADDRESSES if a in addresses)
        self.view = replace(
            self.view,
            generation=self.view.generation + 1,
            retiring=retiring,
            addresses=there,
        )
        self.given_up &= set(there)
        self.ledger.observe(self.view, self.now)
        self.given_up |= {a for a in there if a in retiring and self._idle(a)}

    @rule()
    def acknowledge(self) -> None:
        answers = self.ledger.acknowledge("e", self.now)
        self.given_up |= {
            a for a in self.view.addresses if a in self.view.retiring and self._idle(a)
        }
        assert answers.generation == self.view.generation
        assert set(answers.retired) == self.given_up
        assert set(answers.refused) == {
            a for a in self.view.addresses if a in self.view.retiring and a in self.owners
        }

    @rule()
    def start_again(self) -> None:
        """What the journal and the API still know is enough."""
        fresh = Ledger()
        fresh.restore_cool_downs(self.cooling_until)
        for grant in self.ledger.grants():
            fresh.record(grant)
        given_up = self.ledger.acknowledge("e", self.now).retired
        self.acknowledge()
        fresh.observe(replace(self.view, retired=frozenset(given_up)), self.now)
        self.ledger = fresh

    @invariant()
    def every_grant_has_one_owner(self) -> None:
        if not hasattr(self, "ledger"):
            return
        held = [a for grant in self.ledger.grants() for a in grant.addresses]
        assert sorted(held) == sorted(self.owners)
        assert len(held) == len(set(held))

    def _idle(self, address: str) -> bool:
        return address not in self.owners and self.cooling_until.get(address, -1) <= self.now

    def _grantable(self) -> set[str]:
        return {
            a
            for a in self.view.addresses
            if self._idle(a) and a not in self.view.retiring and a not in self.given_up
        }


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=150, stateful_step_count=40)
