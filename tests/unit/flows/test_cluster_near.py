"""Where the next item is cheapest."""

from __future__ import annotations

from flows.cluster.near import Homes, Place

A1, A2, B1 = Place("a1", "a"), Place("a2", "a"), Place("b1", "b")


def test_the_very_worker_is_nearer_than_its_node() -> None:
    homes = Homes()
    homes.settle("film", A1)
    assert [homes.closeness("film", place) for place in (A1, A2, B1)] == [2, 1, 0]
    homes.settle("film", B1)
    assert [homes.closeness("film", place) for place in (A1, A2, B1)] == [0, 0, 2]


def test_nothing_known_is_near_to_nothing() -> None:
    homes = Homes()
    homes.settle(None, A1)
    assert len(homes) == 0
    assert homes.closeness(None, A1) == homes.closeness("film", A1) == 0
    homes.settle("film", Place("starting", None))
    assert homes.closeness("film", Place("other", None)) == 0


def test_a_free_worker_is_given_its_own_then_what_nobody_has_then_whatever_there_is() -> None:
    homes = Homes()
    for key, place in (("x", A1), ("y", A2), ("z", B1)):
        homes.settle(key, place)
    assert homes.choose(["z", "y", "x"], [A1]) == 2
    assert homes.choose(["z", "y", "new"], [A1]) == 1, "the same node"
    assert homes.choose(["z", "new", None], [A1]) == 1, "not the file of a busy worker"
    assert homes.choose(["z", None], [A1]) == 1
    assert homes.choose(["z", "z"], [A1]) == 0, "but nobody idles"
    assert homes.choose(["new", "other"], [A1]) == 0, "in order"


def test_what_was_not_asked_for_longest_is_forgotten() -> None:
    homes = Homes(most=2)
    for key in ("x", "y", "x", "z"):
        homes.settle(key, A1)
    assert len(homes) == 2
    assert [homes.closeness(key, A1) for key in ("x", "y", "z")] == [2, 0, 2]
