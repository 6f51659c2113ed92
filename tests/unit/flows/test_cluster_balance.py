"""How workers are shared out among lanes."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.cluster.balance import TURN_S, Demand, Room, balance

SHARES = st.sampled_from([0.25, 0.5, 1.0, 2.0, 3.0])


@st.composite
def demands(draw: st.DrawFn) -> Demand:
    return Demand(
        cpus=draw(SHARES),
        gpus=draw(st.sampled_from([0.0, 0.0, 0.5, 1.0])),
        memory_bytes=draw(st.sampled_from([0.0, 0.0, 1e9])),
        backlog=draw(st.integers(0, 50)),
        item_s=draw(st.none() | st.floats(0.001, 1000)),
        workers=draw(st.integers(0, 6)),
        most=draw(st.integers(0, 8)),
        since_s=draw(st.floats(0, 300)),
    )


LANES = st.lists(demands(), max_size=4)
ROOMS = st.builds(
    Room,
    cpus=st.sampled_from([0.5, 1.0, 2.0, 5.0, 16.0]),
    gpus=st.sampled_from([0.0, 1.0, 2.0]),
    memory_bytes=st.sampled_from([1e9, 4e9, math.inf]),
)


def fits(counts: tuple[int, ...], lanes: list[Demand], room: Room) -> bool:
    return all(
        sum(count * getattr(lane, share) for count, lane in zip(counts, lanes, strict=True))
        <= getattr(room, share) + 1e-6
        for share in ("cpus", "gpus", "memory_bytes")
    )


@settings(deadline=None)
@given(LANES, ROOMS)
def test_it_never_gives_out_more_than_there_is(lanes: list[Demand], room: Room) -> None:
    counts = balance(lanes, room)
    assert fits(counts, lanes, room)
    assert all(0 <= count <= lane.most for count, lane in zip(counts, lanes, strict=True))


@settings(deadline=None)
@given(LANES, ROOMS)
def test_every_lane_with_work_has_a_worker_where_that_is_possible(lanes: list[Demand], room: Room) -> None:
    one_each = tuple(int(lane.wanted > 0) for lane in lanes)
    counts = balance(lanes, room)
    if fits(one_each, lanes, room):
        assert all(count >= one for count, one in zip(counts, one_each, strict=True))
    else:
        # Whoever goes without could not have one beside those that have.
        for i, lane in enumerate(lanes):
            more = tuple(count + (n == i) for n, count in enumerate(counts))
            assert counts[i] or not lane.wanted or not fits(more, lanes, room)


@settings(deadline=None)
@given(LANES, ROOMS)
def test_nothing_is_left_lying_that_a_lane_could_use(lanes: list[Demand], room: Room) -> None:
    counts = balance(lanes, room)
    for i, lane in enumerate(lanes):
        more = tuple(count + (n == i) for n, count in enumerate(counts))
        assert counts[i] >= lane.wanted or not fits(more, lanes, room)


@settings(deadline=None)
@given(LANES, ROOMS, st.floats(0, 20))
def test_what_it_said_it_says_again(lanes: list[Demand], room: Room, start_s: float) -> None:
    counts = balance(lanes, room, start_s=start_s)
    # A lane that got its first worker, or lost its last, begins a new turn.
    after = [
        dataclasses.replace(lane, workers=count, since_s=lane.since_s if bool(count) == bool(lane.workers) else 0.0)
        for lane, count in zip(lanes, counts, strict=True)
    ]
    assert balance(after, room, start_s=start_s) == counts


def lane(backlog: int, item_s: float | None = None, workers: int = 0, **more: float) -> Demand:
    return Demand(cpus=1, backlog=backlog, item_s=item_s, workers=workers, most=1000, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("lanes", "expected"),
    [
        # Four times the work, four times the workers: both end together.
        ([lane(100, 0.03), lane(100, 0.12)], (2, 8)),
        ([lane(100), lane(100)], (5, 5)),
        # No more workers than items.
        ([lane(2, 1.0), lane(100, 0.01)], (2, 8)),
        # One that was not measured is taken to be like the others.
        ([lane(100, 3.0), lane(100, None)], (5, 5)),
        ([lane(0), lane(100)], (0, 10)),
    ],
)
def test_the_work_left_is_divided_evenly(lanes: list[Demand], expected: tuple[int, ...]) -> None:
    assert balance(lanes, Room(cpus=10)) == expected


def test_a_lane_keeps_its_workers_unless_moving_them_pays() -> None:
    even = [lane(100, 1.0, workers=2), lane(100, 1.2, workers=2)]
    assert balance(even, Room(cpus=4)) == (2, 2)
    uneven = [lane(100, 1.0, workers=2), lane(100, 4.0, workers=2)]
    assert balance(uneven, Room(cpus=4)) == (1, 3)
    # With so little left a worker would be moved for nothing.
    assert balance([lane(4, 1.0, workers=2), lane(4, 4.0, workers=2)], Room(cpus=4), start_s=10) == (2, 2)


def test_the_cores_of_a_finished_lane_go_to_the_others() -> None:
    over = Demand(cpus=1, backlog=0, workers=3, most=0)
    assert balance([over, lane(100, 1.0, workers=1)], Room(cpus=4)) == (0, 4)


def test_a_lane_that_waits_for_items_keeps_its_workers_while_nobody_else_needs_them() -> None:
    assert balance([lane(0, 1.0, workers=2), lane(1, 1.0, workers=1)], Room(cpus=4)) == (2, 1)
    assert balance([lane(0, 1.0, workers=2), lane(9, 1.0, workers=1)], Room(cpus=4)) == (0, 4)


def test_lanes_that_do_not_fit_together_take_turns() -> None:
    """Two lanes on one core, simulated: neither starves, and neither is put off before its turn is over."""
    now, holders = 0.0, []
    counts, since = (0, 0), [0.0, 0.0]
    for _ in range(100):
        lanes = [lane(1000, 1.0, workers=counts[i], since_s=now - since[i]) for i in range(2)]
        before, counts = counts, balance(lanes, Room(cpus=1))
        assert sum(counts) == 1
        since = [now if bool(a) != bool(b) else s for a, b, s in zip(before, counts, since, strict=True)]
        holders.append(counts.index(1))
        now += 5.0
    turns = [len(list(group)) * 5.0 for _, group in itertools.groupby(holders)]
    assert len(turns) > 5
    assert all(turn >= TURN_S for turn in turns[:-1])


def test_fewer_machines_mean_fewer_workers() -> None:
    assert balance([lane(100, 1.0, workers=4)], Room(cpus=2)) == (2,)
    assert balance([lane(100, 1.0, workers=4)], Room(cpus=0)) == (0,)
