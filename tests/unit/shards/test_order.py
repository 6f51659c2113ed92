"""The global order: a pure function, mixed well, and shared out exactly among any number of readers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.errors import RequestError
from shards.order import MIXED_SHARDS, GlobalOrder, ReaderState, Share, Step
from shards.schema import F64

KNOWN_ORDER = [101, 104, 107, 105, 103, 106, 108, 102, 100]


def an_order(
    num_rows: int, per_shard: int = 3, *, seed: int = 7, batch: int = 4, weights: F64 | None = None
) -> GlobalOrder:
    """Rows 100, 101, ... that lie `per_shard` to a shard."""
    first = ReaderState(seed=seed, epoch=0, consumed=0, dataset_hash="0" * 64, global_batch=batch, selection="all")
    number = np.arange(num_rows)
    return GlobalOrder(100 + number, number // per_shard, weights, split="train", first=first)


def one_run(
    order: GlobalOrder, state: ReaderState, world_size: int, workers: int, num_steps: int
) -> tuple[list[list[int]], ReaderState]:
    """(global batches, state after the last), as that many ranks with that many workers each make them."""
    ranks = [rank_steps(order, state, rank, world_size, workers) for rank in range(world_size)]
    batches = []
    for parts in islice(zip(*ranks, strict=True), num_steps):
        rows = np.full(state.global_batch, -1)
        for rank, part in enumerate(parts):
            rows[rank::world_size] = part.rows
        assert len({part.after for part in parts}) == 1
        state = parts[0].after
        batches.append(rows.tolist())
    return batches, state


def rank_steps(order: GlobalOrder, state: ReaderState, rank: int, world_size: int, workers: int) -> Iterator[Step]:
    """A rank's steps as a DataLoader has them: from each worker in turn."""
    shares = [Share(rank=rank, world_size=world_size, worker=w, workers=workers) for w in range(workers)]
    made = [order.steps(state, share) for share in shares]
    while True:
        yield from map(next, made)


class TestAnEpoch:
    @pytest.mark.parametrize("num_rows", [1, 2, 50, 300])
    def test_has_every_sample_once(self, num_rows: int) -> None:
        assert sorted(an_order(num_rows).epoch(3)) == list(range(100, 100 + num_rows))

    def test_is_a_pure_function_of_seed_and_epoch(self) -> None:
        order, again = an_order(60), an_order(60)
        later = order.epoch(6).tolist()
        assert order.epoch(5).tolist() == again.epoch(5).tolist() != later
        assert an_order(60, seed=8).epoch(5).tolist() != again.epoch(5).tolist()

    def test_does_not_change_between_releases(self) -> None:
        """A saved run would go on over other samples; raise ORDER_VERSION with a change that is meant."""
        assert an_order(9).epoch(1).tolist() == KNOWN_ORDER

    def test_mixes_the_samples_of_a_group_of_shards_and_no_others(self) -> None:
        per_shard, num_shards = 40, 4 * MIXED_SHARDS
        shards = (an_order(num_shards * per_shard, per_shard).epoch(0) - 100) // per_shard
        groups = shards.reshape(4, -1)
        assert [len(set(group)) for group in groups.tolist()] == [MIXED_SHARDS] * 4
        # Shards that lie side by side must not stay together, nor the samples of one shard.
        assert all(max(group) - min(group) > num_shards / 2 for group in groups)
        assert np.mean(shards[1:] == shards[:-1]) < 2 / MIXED_SHARDS
        assert all(len(set(batch)) > MIXED_SHARDS / 2 for batch in shards.reshape(-1, 2 * MIXED_SHARDS).tolist())

    def test_groups_are_even_so_that_no_end_of_an_epoch_is_of_one_shard(self) -> None:
        per_shard = 10
        shards = (an_order((MIXED_SHARDS + 1) * per_shard, per_shard).epoch(0) - 100) // per_shard
        first = MIXED_SHARDS // 2 + 1
        assert len(set(shards[: first * per_shard].tolist())) == first
        assert len(set(shards[first * per_shard :].tolist())) == first - 1


class TestWeights:
    @given(st.lists(st.floats(0, 5), min_size=1, max_size=40).filter(lambda w: sum(w) >= 1), st.integers(0, 5))
    def test_a_sample_comes_as_often_as_its_weight_says_rounded_down_or_up(
        self, weights: list[float], epoch: int
    ) -> None:
        order = an_order(len(weights), weights=np.array(weights))
        drawn = order.epoch(epoch)
        assert len(drawn) == order.num_samples == round(float(np.cumsum(weights)[-1]))
        expected = np.array(weights) * order.num_samples / sum(weights)
        found = np.bincount(drawn - 100, minlength=len(weights))
        assert np.all(found >= np.floor(expected - 1e-6))
        assert np.all(found <= np.ceil(expected + 1e-6))

    def test_which_are_rounded_up_differs_from_epoch_to_epoch(self) -> None:
        order = an_order(20, weights=np.full(20, 0.5))
        drawn = [frozenset(order.epoch(epoch).tolist()) for epoch in range(20)]
        assert all(len(rows) == 10 for rows in drawn)
        assert len(set(drawn)) > 1

    def test_weights_that_come_to_no_sample_are_refused(self) -> None:
        with pytest.raises(RequestError, match="less than half a sample"):
            an_order(3, weights=np.full(3, 0.1))


class TestSharing:
    @given(st.data())
    def test_a_run_stopped_anywhere_and_resumed_on_any_number_sees_the_uninterrupted_sequence(
        self, data: st.DataObject
    ) -> None:
        num_rows, batch = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 12))
        weights = data.draw(st.none() | st.lists(st.floats(0.5, 3), min_size=num_rows, max_size=num_rows))
        order = an_order(
            num_rows, data.draw(st.integers(1, 9)), batch=batch, weights=None if weights is None else np.array(weights)
        )
        legs = data.draw(
            st.lists(st.tuples(st.integers(1, batch), st.integers(1, 4), st.integers(1, 6)), min_size=1, max_size=4)
        )
        found: list[list[int]] = []
        state = order.first
        for world_size, workers, num_steps in legs:
            batches, state = one_run(order, state, world_size, workers, num_steps)
            found += batches
        assert found == one_run(order, order.first, 1, 1, len(found))[0]
        flat = [row for rows in found for row in rows]
        epochs = [order.epoch(epoch).tolist() for epoch in range(-(-len(flat) // order.num_samples))]
        assert flat == [row for epoch in epochs for row in epoch][: len(flat)]
        assert state.epoch * order.num_samples + state.consumed == len(flat)

    def test_a_batch_that_does_not_divide_gives_the_first_ranks_one_more(self) -> None:
        order = an_order(20, batch=8)
        parts = [next(order.steps(order.first, Share(rank=rank, world_size=3))).rows for rank in range(3)]
        assert [len(part) for part in parts] == [3, 3, 2]
        assert [part.tolist() for part in parts] == [order.epoch(0)[:8][rank::3].tolist() for rank in range(3)]

    @pytest.mark.parametrize(
        ("share", "field"),
        [({"rank": 2, "world_size": 2}, "rank"), ({"rank": -1}, "rank"), ({"worker": 1}, "worker")],
    )
    def test_a_place_outside_the_world_is_refused(self, share: dict[str, int], field: str) -> None:
        with pytest.raises(RequestError, match=f"`{field}`: is from 0 to"):
            Share(**share)

    def test_more_ranks_than_samples_in_a_batch_are_refused(self) -> None:
        order = an_order(20)
        with pytest.raises(RequestError, match="5 readers cannot share a global batch of 4"):
            order.steps(order.first, Share(rank=4, world_size=5))


class TestStates:
    @pytest.mark.parametrize(
        ("field", "value"),
        [("dataset_hash", "e" * 64), ("seed", 99), ("global_batch", 8), ("selection", "f" * 64), ("order_version", 1)],
    )
    def test_one_of_another_run_is_refused_with_both_values(self, field: str, value: object) -> None:
        order = an_order(20)
        state = replace(order.first, **{field: value})
        with pytest.raises(RequestError, match=rf"`{field}`: the run began with {value};") as caught:
            order.steps(state, Share())
        assert f"(got {getattr(order.first, field)!r})" in str(caught.value)

    @pytest.mark.parametrize("place", [{"consumed": 20}, {"consumed": -1}, {"epoch": -1}])
    def test_one_that_is_no_place_in_the_sequence_is_refused(self, place: dict[str, int]) -> None:
        order = an_order(20)
        with pytest.raises(RequestError, match="no place in a sequence of 20 samples"):
            order.steps(replace(order.first, **place), Share())

    def test_one_comes_back_from_what_was_saved(self) -> None:
        state = replace(an_order(20).first, epoch=3, consumed=7)
        assert ReaderState.of(asdict(state)) == state

    @pytest.mark.parametrize("broken", [{"selection": None}, {"extra": 1}])
    def test_one_of_another_release_is_refused_by_its_fields(self, broken: dict[str, object]) -> None:
        saved = asdict(an_order(20).first)
        for name, value in broken.items():
            saved.pop(name) if value is None else saved.update({name: value})
        with pytest.raises(RequestError, match=f"`{next(iter(broken))}`: another release"):
            ReaderState.of(saved)

    def test_a_batch_of_nothing_is_refused(self) -> None:
        with pytest.raises(RequestError, match="at least one sample"):
            an_order(20, batch=0)


def test_a_place_far_on_costs_the_order_of_one_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    order, made = an_order(50), []
    mixed = GlobalOrder._mixed
    monkeypatch.setattr(GlobalOrder, "_mixed", lambda self, epoch: made.append(epoch) or mixed(self, epoch))
    steps = order.steps(replace(order.first, epoch=10**9, consumed=20), Share())
    rows: Sequence[int] = [row for _ in range(4) for row in next(steps).rows.tolist()]
    assert rows == order.epoch(10**9)[20:36].tolist()
    assert made == [10**9]
