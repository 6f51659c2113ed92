"""Which samples of a split a run draws from, and how often: filters and weights over the columns of the index.

Plain values, so that a run can save what it drew from. In which order is `order.py`'s.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from shards.errors import RequestError
from shards.fingerprint import fingerprint
from shards.schema import F64, I64

UNKNOWN = "unknown"
"""The language of a clip that names none."""
MAX_CHOICES = 20
Mask = NDArray[np.bool_]
Number = Annotated[float, Field(allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class ScoreWeight(BaseModel):
    """A weight for the samples with a score in a range; a sample without that score is left as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    score: str
    at_least: Number | None = Field(None, description="lower end of the range; none: no end")
    below: Number | None = Field(None, description="upper end, itself not in the range; none: no end")
    weight: Weight

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.at_least is not None and self.below is not None and self.at_least >= self.below:
            raise ValueError(f"{self.score}: no score is at least {self.at_least} and below {self.below}")
        return self


class Selection(BaseModel):
    """Filters leave samples out; weights multiply, and say how often an epoch has a sample (1: once)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    languages: tuple[str, ...] = Field((), description=f"only these; none: any. A clip that names none: {UNKNOWN!r}")
    identities: tuple[str, ...] = Field((), description="only these; none: any")
    min_duration_s: Number | None = None
    max_duration_s: Number | None = None
    min_scores: Mapping[str, Number] = Field({}, description="by name; a sample without that score is left out")
    max_scores: Mapping[str, Number] = Field({}, description="by name; a sample without that score is left out")
    language_weights: Mapping[str, Weight] = Field({}, description="languages not named here have 1")
    identity_weights: Mapping[str, Weight] = Field({}, description="identities not named here have 1")
    score_weights: tuple[ScoreWeight, ...] = ()

    @field_validator("languages", "identities")
    @classmethod
    def _once_each(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        # In whatever order they are given they mean the same, so they have the same fingerprint.
        return tuple(sorted(set(names)))

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        pairs = {"duration_s": (self.min_duration_s, self.max_duration_s)}
        pairs |= {name: (low, self.max_scores.get(name)) for name, low in self.min_scores.items()}
        for name, (low, high) in pairs.items():
            if low is not None and high is not None and low > high:
                raise ValueError(f"{name}: the minimum {low} is above the maximum {high}")
        return self

    @property
    def name(self) -> str:
        """`all` for the whole split, else a fingerprint."""
        return "all" if self == Selection() else fingerprint("selection", self)


class Chosen(NamedTuple):
    """What a selection comes to."""

    rows: I64
    weights: F64 | None
    """How often an epoch has each row; None: once."""


@dataclass(frozen=True, slots=True)
class Labels:
    """A column of few different strings, as numbers: a million Python strings would take seconds to compare."""

    codes: I64
    """(rows,) number of each row's name; names are numbered as they first appear."""
    names: tuple[str, ...]

    @classmethod
    def of(cls, table: pa.Table, column: str) -> Labels:
        """The column's labels; what is null is `UNKNOWN`."""
        encoded = pc.fill_null(table.column(column), UNKNOWN).dictionary_encode().combine_chunks()
        if isinstance(encoded, pa.ChunkedArray):  # what combining gives of no rows at all
            return cls(np.empty(0, dtype=np.int64), ())
        return cls(encoded.indices.to_numpy().astype(np.int64), tuple(encoded.dictionary.to_pylist()))

    def each(self, values: Mapping[str, float], default: float) -> F64:
        """(rows,) the value of each row's name."""
        return np.array([values.get(name, default) for name in self.names], dtype=np.float64)[self.codes]


def choose(table: pa.Table, rows: I64, selection: Selection, where: str) -> Chosen:
    """The rows of the selection among `rows`, and their weights. `where` names the samples in errors."""
    kept = np.ones(len(rows), dtype=np.bool_)
    conditions = []
    for text, mask in _filters(_Columns(table, rows), selection):
        kept &= mask
        conditions.append(f"{text} ({np.count_nonzero(mask)} by itself)")
    weights = _weights(_Columns(table, rows), selection)
    if weights is not None:
        conditions.append(f"weight above 0 ({np.count_nonzero(weights)} by itself)")
        kept &= weights > 0
    if not np.any(kept):
        message = f"no sample of the {len(rows)} of {where} fulfils all of: {'; '.join(conditions)}"
        raise RequestError(message, field="selection")
    return Chosen(rows[kept], None if weights is None else weights[kept])


@dataclass(frozen=True, slots=True)
class _Columns:
    """The columns of an index at some of its rows. What a name may be is judged by the whole index."""

    table: pa.Table
    rows: I64

    def labelled(self, column: str, values: Mapping[str, float], default: float) -> F64:
        """The value of each row's label; a label that no row of the index has is refused."""
        labels = Labels.of(self.table, column)
        _need_known(column, values, labels.names)
        return labels.each(values, default)[self.rows]

    def scores(self, name: str) -> F64:
        """That score, NaN where it was not measured."""
        column = self.table.column("scores")
        _need_known(
            "score", [name], sorted({key for part in column.chunks for key in pc.unique(part.keys).to_pylist()})
        )
        return np.asarray(pc.map_lookup(column, pa.scalar(name), "first").to_numpy(), dtype=np.float64)[self.rows]

    def durations(self) -> F64:
        return np.asarray(self.table.column("duration_s").to_numpy(), dtype=np.float64)[self.rows]


def _filters(columns: _Columns, selection: Selection) -> Iterator[tuple[str, Mask]]:
    """(condition in words, which rows fulfil it)."""
    for column, names in (("language", selection.languages), ("identity", selection.identities)):
        if names:
            yield f"{column} {' or '.join(names)}", columns.labelled(column, dict.fromkeys(names, 1.0), 0.0) > 0
    if (least := selection.min_duration_s) is not None:
        yield f"at least {least:g} s", columns.durations() >= least
    if (most := selection.max_duration_s) is not None:
        yield f"at most {most:g} s", columns.durations() <= most
    for name, least in selection.min_scores.items():
        yield f"{name} at least {least:g}", columns.scores(name) >= least
    for name, most in selection.max_scores.items():
        yield f"{name} at most {most:g}", columns.scores(name) <= most


def _weights(columns: _Columns, selection: Selection) -> F64 | None:
    by_label = {"language": selection.language_weights, "identity": selection.identity_weights}
    if not any(by_label.values()) and not selection.score_weights:
        return None
    weights = np.ones(len(columns.rows))
    for column, values in by_label.items():
        if values:
            weights *= columns.labelled(column, values, 1.0)
    for rule in selection.score_weights:
        scores = columns.scores(rule.score)
        low = -np.inf if rule.at_least is None else rule.at_least
        high = np.inf if rule.below is None else rule.below
        weights[(scores >= low) & (scores < high)] *= rule.weight
    return weights


def _need_known(field: str, asked: Iterable[str], known: Sequence[str]) -> None:
    for name in asked:
        if name not in known:
            # Of thousands of identities only the likely ones help.
            near = known if len(known) <= MAX_CHOICES else difflib.get_close_matches(name, known, n=5, cutoff=0.3)
            raise RequestError(f"no sample of this dataset has this {field}", field=field, value=name, choices=near)
