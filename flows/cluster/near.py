"""Which worker, on which node, had a big file last: where the next item that needs it is cheapest.

Only a preference. Nobody waits for it, and what is remembered is bounded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_KEYS = 4096
"""Files remembered; beyond that the one not asked for longest is forgotten."""


@dataclass(frozen=True, slots=True)
class Place:
    """A worker and its node."""

    worker: str
    node: str | None


class Homes:
    """Remembers the place of each file."""

    def __init__(self, most: int = _KEYS) -> None:
        self._most = most
        self._places: OrderedDict[str, Place] = OrderedDict()

    def __len__(self) -> int:
        return len(self._places)

    def settle(self, key: str | None, place: Place) -> None:
        """The file is there from now on."""
        if key is None:
            return
        self._places[key] = place
        self._places.move_to_end(key)
        if len(self._places) > self._most:
            self._places.popitem(last=False)

    def closeness(self, key: str | None, place: Place) -> int:
        """2 in the very worker, 1 on its node, 0 elsewhere or nowhere."""
        home = self._places.get(key) if key is not None else None
        if home is None:
            return 0
        return 2 if home == place else int(home.node is not None and home.node == place.node)

    def choose(self, keys: Sequence[str | None], free: Iterable[Place]) -> int:
        """Which key to give to the free places: one that is at home there, else one without a home, else the first.

        A file that lies with a busy worker is left to it for as long as there is something else to do.
        """
        places = list(free)

        def rank(key: str | None) -> int:
            closest = max((self.closeness(key, place) for place in places), default=0)
            return closest + 1 if closest else int(key not in self._places)

        ranks = [rank(key) for key in keys]
        return ranks.index(max(ranks))
