"""Dealing: a function of the set of samples, near to itself when the set grows; people never cross splits."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from shards.deal import Deal, PackConfig, cut, deal, split_identities
from shards.errors import AccountError
from shards.fingerprint import fingerprint
from shards.harvest import SAMPLES
from shards.tar import END

TARGET = 100_000
ONE_SPLIT = PackConfig(target_bytes=TARGET, val_share=0, test_share=0)
THREE_SPLITS = PackConfig(target_bytes=TARGET, val_share=0.2, test_share=0.2)


@dataclass(frozen=True)
class Footage:
    """A unit: one person's samples, of these bytes."""

    name: str
    sizes: tuple[int, ...]
    identity: str = "somebody"

    def rows(self, unit: int) -> list[dict[str, object]]:
        ends = np.cumsum(self.sizes)
        return [
            {
                "key": fingerprint(self.name, number)[:32],
                "offset": int(end - size),
                "size_bytes": size,
                "identity": self.identity,
                "language": None,
                "duration_s": 1.0,
                "num_frames": 25,
                "scores": [("sync", float(number))],
                "unit": unit,
            }
            for number, (size, end) in enumerate(zip(self.sizes, ends, strict=True))
        ]


def dealt(units: Sequence[Footage], config: PackConfig, row_order: Sequence[int] | None = None) -> Deal:
    rows = [row for number, unit in enumerate(units) for row in unit.rows(number)]
    table = pa.Table.from_pylist([rows[at] for at in row_order] if row_order else rows, schema=SAMPLES)
    return deal(table, [unit.name for unit in units], config)


def shards(found: Deal) -> list[tuple[str, ...]]:
    """The keys of each, as they lie."""
    keys = found.samples.column("key").to_pylist()
    return [tuple(keys[start:stop]) for start, stop in zip(found.bounds[:-1], found.bounds[1:], strict=True)]


def many(count: int, seed: int = 0, name: str = "u", samples: int = 20) -> list[Footage]:
    """Units of some 20 samples, a shard being some 5 units; sizes are below 0.07 targets."""
    rng = np.random.default_rng(seed)
    return [
        Footage(f"{name}{n}", tuple(rng.integers(100, 2000, rng.integers(1, samples * 2)).tolist()), f"person {n % 40}")
        for n in range(count)
    ]


footage = st.lists(
    st.builds(
        Footage,
        name=st.text("abcdef", min_size=1, max_size=4),
        sizes=st.lists(st.integers(9_000, 60_000), min_size=1, max_size=8).map(tuple),
        identity=st.sampled_from(["ann", "bob", "cy", "dee", "eve"]),
    ),
    min_size=2,
    max_size=10,
    unique_by=lambda unit: unit.name,
)


class TestTheResult:
    @given(units=footage, data=st.data())
    def test_it_depends_on_the_samples_and_not_on_the_order_of_units_or_rows(
        self, units: list[Footage], data: st.DataObject
    ) -> None:
        shuffled = data.draw(st.permutations(units))
        rows = data.draw(st.permutations(range(sum(len(unit.sizes) for unit in units))))
        first, second = dealt(units, THREE_SPLITS), dealt(shuffled, THREE_SPLITS, rows)
        assert shards(first) == shards(second)
        assert first.splits == second.splits
        assert first.samples.drop(["unit"]).equals(second.samples.drop(["unit"]))

    @given(units=footage)
    def test_every_sample_is_in_one_shard_once_and_they_lie_side_by_side(self, units: list[Footage]) -> None:
        found = dealt(units, THREE_SPLITS)
        placed = Counter(key for shard in shards(found) for key in shard)
        assert placed == Counter(row["key"] for unit in units for row in unit.rows(0))
        for start, stop, size in zip(found.bounds[:-1], found.bounds[1:], found.sizes, strict=True):
            rows = found.samples.slice(start, stop - start).to_pylist()
            ends = np.cumsum([row["size_bytes"] for row in rows])
            assert [row["offset"] for row in rows] == [0, *ends[:-1]]
            assert size == ends[-1] + len(END)

    @given(units=footage)
    def test_a_shard_is_of_one_split_and_a_person_too(self, units: list[Footage]) -> None:
        found = dealt(units, THREE_SPLITS)
        splits = defaultdict(set)
        for start, stop, split in zip(found.bounds[:-1], found.bounds[1:], found.splits, strict=True):
            for identity in found.samples.column("identity").slice(start, stop - start).to_pylist():
                splits[identity].add(split)
        expected = split_identities(splits, THREE_SPLITS)
        assert splits == {identity: {split} for identity, split in expected.items()}

    def test_a_sample_keeps_what_is_known_of_it(self) -> None:
        units = many(10)
        known = {row["key"]: row for number, unit in enumerate(units) for row in unit.rows(number)}
        for row in dealt(units, THREE_SPLITS).samples.to_pylist():
            assert row.pop("source_offset") == known[row["key"]]["offset"]
            assert {**row, "offset": None} == {**known[row["key"]], "offset": None}

    def test_the_units_of_a_shard_are_mixed(self) -> None:
        found = dealt(many(100), ONE_SPLIT)
        units = found.samples.column("unit").to_numpy()[: int(found.bounds[1])]
        changes = np.count_nonzero(np.diff(units))
        assert changes > 2 * len(np.unique(units))

    def test_another_seed_deals_otherwise(self) -> None:
        units = many(30)
        assert shards(dealt(units, ONE_SPLIT)) != shards(dealt(units, ONE_SPLIT.model_copy(update={"seed": 1})))

    def test_another_seed_mixes_a_shard_otherwise(self) -> None:
        (first,), (other,) = (shards(dealt(many(1), ONE_SPLIT.model_copy(update={"seed": seed}))) for seed in range(2))
        assert sorted(first) == sorted(other)
        assert first != other

    def test_no_samples_are_no_shards(self) -> None:
        found = deal(SAMPLES.empty_table(), [], THREE_SPLITS)
        assert (len(found.sizes), found.splits, found.samples.num_rows) == (0, (), 0)

    def test_a_clip_that_is_there_twice_is_refused_with_its_units(self) -> None:
        rows = Footage("a", (10, 20)).rows(0) + Footage("a", (10,)).rows(1)
        with pytest.raises(AccountError, match=r"is in two units: one and two \(1 clips"):
            deal(pa.Table.from_pylist(rows, schema=SAMPLES), ["one", "two"], ONE_SPLIT)


class TestSizes:
    @given(sizes=st.lists(st.integers(1, 7), min_size=1, max_size=600), seed=st.integers(0, 99))
    def test_shards_are_within_a_quarter_of_the_target_unless_all_is_less_than_two(
        self, sizes: list[int], seed: int
    ) -> None:
        starts = cut(np.array(sizes), priorities(len(sizes), seed), 100)
        bytes_of = [sum(sizes[start:stop]) for start, stop in zip(starts, [*starts[1:], len(sizes)], strict=True)]
        if sum(sizes) >= 160:
            assert all(75 <= size <= 125 for size in bytes_of)
        else:
            assert starts == [0]

    def test_a_target_smaller_than_a_sample_gives_a_shard_each(self) -> None:
        assert cut(np.array([5, 5, 5]), priorities(3, 0), 1) == [0, 1, 2]

    def test_samples_too_large_to_be_even_are_cut_as_evenly_as_they_allow(self) -> None:
        assert cut(np.array([70, 70, 70]), priorities(3, 0), 100) in ([0, 1], [0, 2])

    def test_the_cut_of_lowest_priority_comes_first(self) -> None:
        priority = np.full(400, 5, dtype=np.uint64)
        priority[[30, 170]] = 0, 1
        # At 30 the left part would be too small to be a shard.
        assert 170 in cut(np.ones(400, dtype=np.int64), priority, 100)


class TestGrowing:
    @given(sizes=st.lists(st.integers(1, 7), min_size=60, max_size=400), seed=st.integers(0, 99))
    def test_either_side_of_the_first_cut_is_cut_as_if_it_were_alone(self, sizes: list[int], seed: int) -> None:
        """So what is new on one side of a cut that stays leaves the shards of the other side alone."""
        array, priority = np.array(sizes), priorities(len(sizes), seed)
        starts, left = cut(array, priority, 100), np.cumsum(sizes)[:-1]
        possible = [at for at, size in enumerate(left, 1) if makes_shards(size) and makes_shards(sum(sizes) - size)]
        if len(starts) > 1:
            first = min(possible, key=lambda at: priority[at])
            right = cut(array[first:], priority[first:], 100)
            assert starts == cut(array[:first], priority[:first], 100) + [first + start for start in right]

    @settings(max_examples=10)
    @given(seed=st.integers(0, 9999))
    def test_new_footage_of_people_in_one_split_leaves_the_other_splits_alone(self, seed: int) -> None:
        units = many(60, seed)
        before = dealt(units, THREE_SPLITS)
        people = split_identities({unit.identity for unit in units}, THREE_SPLITS)
        in_train = next(name for name, split in sorted(people.items()) if split == "train")
        after = dealt([*units, Footage("new", (900,) * 30, in_train)], THREE_SPLITS)
        for split in ("val", "test"):
            assert of_split(before, split) == of_split(after, split)

    def test_another_unit_moves_few_shards(self) -> None:
        """The shards that hold it must change; next to those hardly any does."""
        units = many(200)
        before = set(shards(dealt(units, ONE_SPLIT)))
        moved = [
            len(set(shards(dealt([*units, *many(1, seed, f"new{seed}-")], ONE_SPLIT))) - before) for seed in range(12)
        ]
        assert len(before) > 30
        assert np.mean(moved) < 3
        assert max(moved) <= 6

    def test_a_unit_that_is_taken_back_leaves_no_trace(self) -> None:
        units = many(50)
        assert shards(dealt([*units, *many(1, 7, "new")], ONE_SPLIT)) != shards(dealt(units, ONE_SPLIT))
        assert shards(dealt(list(reversed(units)), ONE_SPLIT)) == shards(dealt(units, ONE_SPLIT))


def priorities(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**63, count, dtype=np.uint64)


def makes_shards(size: int) -> bool:
    return 75 <= size <= 125 or size >= 160


def of_split(found: Deal, split: str) -> list[tuple[str, ...]]:
    return [shard for shard, its in zip(shards(found), found.splits, strict=True) if its == split]


class TestSplits:
    @given(
        people=st.sets(st.text(max_size=5), min_size=1, max_size=40),
        val_share=st.floats(0, 0.45),
        test_share=st.floats(0, 0.45),
        seed=st.integers(0, 9),
    )
    def test_everybody_is_in_one_split_and_train_is_never_empty(
        self, people: set[str], val_share: float, test_share: float, seed: int
    ) -> None:
        config = PackConfig(val_share=val_share, test_share=test_share, seed=seed)
        splits = split_identities(people, config)
        assert splits.keys() == people
        assert "train" in splits.values()
        assert splits == split_identities(sorted(people), config)
        found = set(splits.values())
        if val_share > 0 and len(people) >= 2:
            assert "val" in found
        if test_share > 0 and len(people) >= 3:
            assert "test" in found
        if val_share == 0:
            assert "val" not in found
        if test_share == 0:
            assert "test" not in found

    def test_one_person_is_all_for_training(self) -> None:
        assert split_identities(["only"], PackConfig(val_share=0.4, test_share=0.4)) == {"only": "train"}

    def test_shares_are_met_among_many_people(self) -> None:
        splits = list(split_identities(map(str, range(4000)), PackConfig(val_share=0.1, test_share=0.2)).values())
        assert splits.count("val") / 4000 == pytest.approx(0.1, abs=0.02)
        assert splits.count("test") / 4000 == pytest.approx(0.2, abs=0.02)

    def test_nobody_changes_split_when_others_join(self) -> None:
        """Else a model tested on tonight's dataset was trained on its people last night."""
        config = PackConfig(val_share=0.1, test_share=0.1)
        before = split_identities(map(str, range(200)), config)
        after = split_identities(map(str, range(400)), config)
        assert {name: after[name] for name in before} == before

    def test_people_held_out_by_name_are_in_test_and_move_nobody_else(self) -> None:
        people, share = list(map(str, range(60))), PackConfig(val_share=0.1, test_share=0.1)
        before = split_identities(people, share)
        named = [name for name in people if before[name] == "train"][:3]
        after = split_identities(people, share.model_copy(update={"held_out": (*named, "who is not here")}))
        assert {name: after[name] for name in named} == dict.fromkeys(named, "test")
        assert {name: split for name, split in after.items() if name not in named} == {
            name: split for name, split in before.items() if name not in named
        }

    def test_shares_that_leave_nothing_to_train_on_are_refused(self) -> None:
        with pytest.raises(ValidationError, match="nothing to train on"):
            PackConfig(val_share=0.5, test_share=0.5)
