"""The report for programs: results.parquet, one row per output, and flags.csv, one line per flag."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from flows.report.figures import figures, frame_rate

FLAG_COLUMNS = (
    "title_id", "language", "output", "severity", "code", "tc_in", "tc_out", "start", "stop", "shot", "detail",
)  # fmt: skip
_TEXTS = ("title_id", "language", "output", "video", "status", "reason")
_COUNTED = ("blockers", "issues", "fyis", "shots", "dubbed_frames")


def results_parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Free columns of the catalogue come as `meta.NAME`, text."""
    metas = sorted({name for row in rows for name in row["meta"]})
    told = [figures(row) for row in rows]
    columns: dict[str, pa.Array] = {name: pa.array([row[name] for row in rows], pa.string()) for name in _TEXTS}
    columns["frames"] = pa.array([row["frames"] for row in rows], pa.int64())
    columns["fps"] = pa.array([frame_rate(row) for row in rows], pa.float64())
    columns["duration_s"] = pa.array([row["duration_s"] for row in rows], pa.float64())
    for name in told[0] if told else ():
        kind = pa.int64() if name in _COUNTED or name.startswith("shots_") else pa.float64()
        columns[name] = pa.array([each[name] for each in told], kind)
    for name in metas:
        columns[f"meta.{name}"] = pa.array([row["meta"].get(name) for row in rows], pa.string())
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def flags_csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """With the mark by which spreadsheets know UTF-8. Shots are counted from 1, as on the page."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, FLAG_COLUMNS, extrasaction="ignore", lineterminator="\r\n")
    writer.writeheader()
    for row in rows:
        about = {name: row[name] for name in ("title_id", "language", "output")}
        for flag in row["flags"]:
            line = {**about, **flag, "shot": "" if flag["shot"] is None else flag["shot"] + 1}
            writer.writerow({name: _harmless(line[name]) for name in FLAG_COLUMNS})
    return out.getvalue().encode("utf-8-sig")


def _harmless(value: object) -> object:
    """A spreadsheet takes text that begins like this for a formula, and runs it."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
