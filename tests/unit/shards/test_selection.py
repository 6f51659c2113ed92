"""Filters and weights over the index: what they choose, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from shards.errors import RequestError
from shards.records import SampleEntry
from shards.selection import Labels, ScoreWeight, Selection, choose
from tests.support.index_rows import IndexRow, index_table

SAMPLES: list[dict[str, Any]] = [
    {"identity": "ann", "language": "en", "duration_s": 1.0, "scores": {"sync": 8.0}},
    {"identity": "ann", "language": "en", "duration_s": 2.0, "scores": {"sync": 4.0, "sharpness": 0.5}},
    {"identity": "bob", "language": "es", "duration_s": 3.0, "scores": {"sync": 6.0}},
    {"identity": "bob", "language": "es", "duration_s": 4.0, "scores": {}},
    {"identity": "eve", "language": None, "duration_s": 5.0, "scores": {"sharpness": 0.9}},
    {"identity": "eve", "language": "en", "duration_s": 6.0, "scores": {"sync": 5.0}},
]


@pytest.fixture(scope="module")
def table() -> pa.Table:
    place = {"offset": 0, "size_bytes": 1, "num_frames": 1}
    entries = [SampleEntry(key=f"{number:032x}", **sample, **place) for number, sample in enumerate(SAMPLES)]
    return index_table(IndexRow(object="objects/a", split="train", entry=entry) for entry in entries)


def chosen(table: pa.Table, **conditions: Any) -> list[int]:
    return choose(table, np.arange(len(SAMPLES)), Selection(**conditions), "split 'train'").rows.tolist()


def weighed(table: pa.Table, **conditions: Any) -> dict[int, float]:
    found = choose(table, np.arange(len(SAMPLES)), Selection(**conditions), "split 'train'")
    assert found.weights is not None
    return dict(zip(found.rows.tolist(), found.weights.tolist(), strict=True))


class TestFilters:
    @pytest.mark.parametrize(
        ("conditions", "rows"),
        [
            ({}, [0, 1, 2, 3, 4, 5]),
            ({"languages": ("es",)}, [2, 3]),
            ({"languages": ("es", "unknown")}, [2, 3, 4]),
            ({"identities": ("eve", "ann")}, [0, 1, 4, 5]),
            ({"min_duration_s": 3.0}, [2, 3, 4, 5]),
            ({"max_duration_s": 3.0}, [0, 1, 2]),
            ({"min_scores": {"sync": 5.0}}, [0, 2, 5]),
            ({"max_scores": {"sync": 5.0}}, [1, 5]),
            ({"min_scores": {"sync": 5.0}, "max_scores": {"sync": 7.0}, "languages": ("en",)}, [5]),
        ],
    )
    def test_leave_samples_out(self, table: pa.Table, conditions: dict[str, Any], rows: list[int]) -> None:
        assert chosen(table, **conditions) == rows

    def test_choose_among_the_rows_given(self, table: pa.Table) -> None:
        found = choose(table, np.array([1, 3, 5]), Selection(languages=("en",)), "split 'val'")
        assert found.rows.tolist() == [1, 5]
        assert found.weights is None

    def test_that_leave_nothing_are_refused_by_naming_each(self, table: pa.Table) -> None:
        with pytest.raises(RequestError, match="of the 6 of split 'train'") as caught:
            chosen(table, languages=("es",), min_duration_s=5.0, max_scores={"sync": 4.5})
        for condition in ("language es (2 by itself)", "at least 5 s (2 by itself)", "sync at most 4.5 (1 by itself)"):
            assert condition in str(caught.value)


class TestWeights:
    def test_multiply(self, table: pa.Table) -> None:
        found = weighed(
            table,
            language_weights={"es": 3.0, "unknown": 0.5},
            identity_weights={"bob": 2.0},
            score_weights=(ScoreWeight(score="sync", at_least=6.0, weight=10.0),),
        )
        assert found == {0: 10.0, 1: 1.0, 2: 60.0, 3: 6.0, 4: 0.5, 5: 1.0}

    def test_of_a_score_hold_from_the_lower_end_to_below_the_upper(self, table: pa.Table) -> None:
        rules = (ScoreWeight(score="sync", at_least=4.0, below=6.0, weight=2.0),)
        assert weighed(table, score_weights=rules) == {0: 1.0, 1: 2.0, 2: 1.0, 3: 1.0, 4: 1.0, 5: 2.0}

    def test_of_zero_leave_out(self, table: pa.Table) -> None:
        assert weighed(table, identity_weights={"ann": 0.0}, languages=("en",)) == {5: 1.0}

    def test_that_leave_nothing_are_refused_by_naming_them(self, table: pa.Table) -> None:
        with pytest.raises(RequestError, match=r"language es .*weight above 0 \(4 by itself\)"):
            chosen(table, languages=("es",), identity_weights={"bob": 0.0})


class TestNames:
    @pytest.mark.parametrize(
        ("conditions", "hint"),
        [
            ({"languages": ("en", "ep")}, r"has this language \(got 'ep'\).*Valid: en, es, unknown"),
            ({"language_weights": {"enn": 2.0}}, "did you mean 'en'"),
            ({"identities": ("bop",)}, "did you mean 'bob'.*Valid: ann, bob, eve"),
            ({"min_scores": {"synk": 1.0}}, "`score`.*did you mean 'sync'.*Valid: sharpness, sync"),
            ({"score_weights": (ScoreWeight(score="blur", weight=2.0),)}, r"got 'blur'.*Valid: sharpness, sync"),
        ],
    )
    def test_that_no_sample_has_are_refused_with_the_choices(
        self, table: pa.Table, conditions: dict[str, Any], hint: str
    ) -> None:
        with pytest.raises(RequestError, match=hint):
            chosen(table, **conditions)

    def test_of_thousands_only_the_likely_ones_are_offered(self, table: pa.Table) -> None:
        many = [f"person-{number}" for number in range(3000)]
        large = table.take(pa.array([0] * 3000)).set_column(5, "identity", pa.array(many))
        with pytest.raises(RequestError, match="did you mean 'person-2999'") as caught:
            choose(large, np.arange(3000), Selection(identities=("persn-2999",)), "split 'train'")
        assert len(str(caught.value)) < 400


class TestASelection:
    def test_is_named_by_what_it_says_not_how(self) -> None:
        one = Selection(languages=("es", "en"), min_scores={"a": 1, "b": 2.0})
        other = Selection(languages=("en", "es", "en"), min_scores={"b": 2, "a": 1.0})
        assert one.name == other.name
        assert len({one.name, Selection(languages=("en",)).name, Selection(min_duration_s=1.0).name}) == 3

    def test_of_everything_is_named_so(self) -> None:
        assert Selection().name == Selection(languages=[]).name == "all"

    def test_comes_back_from_plain_values(self) -> None:
        made = Selection(languages=("es",), score_weights=(ScoreWeight(score="sync", below=3.0, weight=0.5),))
        assert Selection.model_validate(made.model_dump(mode="json")) == made

    @pytest.mark.parametrize(
        "wrong",
        [
            {"languages": ("en",), "langauges": ("es",)},
            {"language_weights": {"en": -1.0}},
            {"min_duration_s": float("nan")},
            {"min_duration_s": 3.0, "max_duration_s": 2.0},
            {"min_scores": {"sync": 3.0}, "max_scores": {"sync": 2.0}},
            {"score_weights": ({"score": "sync", "at_least": 3.0, "below": 3.0, "weight": 1.0},)},
        ],
    )
    def test_that_cannot_be_meant_is_refused(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            Selection(**wrong)


def test_labels_of_no_rows_and_of_many_chunks() -> None:
    empty = pa.table({"x": pa.array([], pa.string())})
    assert Labels.of(empty, "x").names == ()
    chunks = pa.table({"x": pa.chunked_array([pa.array(["b", None]), pa.array(["a", "b"])])})
    labels = Labels.of(chunks, "x")
    assert [labels.names[code] for code in labels.codes] == ["b", "unknown", "a", "b"]
