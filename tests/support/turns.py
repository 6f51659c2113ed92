"""Two processes at one store that take turns as a test says: which of them is stopped at which of its calls.

Chance finds a race once in thousands of runs; here each order of the calls is tried by name, and comes again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from shards.store import Store

BOUND_S = 60.0


@dataclass
class Gate:
    """Stops whoever comes to its n-th call to the store, before that call, until it is let on."""

    at: int
    calls: int = 0
    reached: threading.Event = field(default_factory=threading.Event)
    """It stands at the gate, or has come to its end."""
    opened: threading.Event = field(default_factory=threading.Event)
    _counting: threading.Lock = field(default_factory=threading.Lock)

    def passes(self) -> None:
        with self._counting:
            self.calls += 1
            mine = self.calls
        if mine == self.at:
            self.reached.set()
            assert self.opened.wait(BOUND_S), "nobody opened the gate"


class _GatedPlace:
    def __init__(self, place: Any, gate: Gate) -> None:
        self._place, self._gate = place, gate
        self.uri = place.uri

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self._gate.passes()
            return getattr(self._place, name)(*arguments)

        return call


class Party:
    """Work at a store, in a thread of its own, with a gate."""

    def __init__(self, store: Store, work: Callable[[Store], object], at: int) -> None:
        self.gate = Gate(at)
        self.outcome: object = None
        self._gated, self._work = Store(_GatedPlace(store._place, self.gate)), work
        self._thread = threading.Thread(target=self._run)

    def go_to_gate(self) -> None:
        """Begins, and goes as far as its gate, or to its end if that comes first."""
        self._thread.start()
        assert self.gate.reached.wait(BOUND_S), "it came neither to its gate nor to its end"

    def finish(self) -> None:
        self.gate.opened.set()
        self._thread.join(BOUND_S)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self.outcome = self._work(self._gated)
        except Exception as error:  # noqa: BLE001 - it is the test's to judge
            self.outcome = error
        finally:
            self.gate.reached.set()


def take_turns(first: Party, second: Party) -> None:
    """The first goes to its gate, the second to its own; then the first goes to its end, and last the second."""
    first.go_to_gate()
    second.go_to_gate()
    first.finish()
    second.finish()


def count_calls(store: Store, work: Callable[[Store], object]) -> int:
    """How many calls the work makes when nobody interferes."""
    party = Party(store, work, at=0)
    party.go_to_gate()
    party.finish()
    if isinstance(party.outcome, Exception):
        raise party.outcome
    return party.gate.calls
