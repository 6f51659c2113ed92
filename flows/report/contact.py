"""The contact sheets of a dataset's page: a few clips that were taken and a few that were not, three frames of each."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from flows.report.page import jpeg_url
from flows.report.rejected import LeftOut, read_sample
from shards.errors import StoreError
from shards.reader import Dataset
from shards.schema import I64, ClipSample
from shards.store import Store

KEPT_SHOWN = 24
REJECTED_SHOWN = 24
SHEET_BYTES = 700_000
"""Of one sheet's pictures, before base64 makes them a third longer: with two sheets the page stays below 2 MB."""
FRAME_PX = 120
_FRAMES = 3
_JPEG_QUALITY = 82


def kept_sheet(dataset: Dataset) -> dict[str, Any]:
    """Clips of as many identities as can be shown."""
    rows = dataset.table.select(["key", "identity", "language", "split", "duration_s"])
    clips = []
    for row in spread(dataset.table, KEPT_SHOWN):
        told = {name: column[0] for name, column in rows.slice(row, 1).to_pydict().items()}
        lines = [
            f"{told['identity']}, {told['duration_s']:.1f} s, {told['split']}, language {told['language'] or 'unknown'}"
        ]
        clips.append(_shown(told["key"], lines, functools.partial(dataset.read_row, row)))
    note = f"{len(clips)} of {dataset.table.num_rows:,} clips, of as many identities as fit."
    return {"title": "Clips that were kept", "note": note, "clips": _within(clips)}


def rejected_sheet(store: Store, left_out: Sequence[LeftOut]) -> dict[str, Any]:
    """Clips of every code in turn, so that a common one does not crowd out the others."""
    chosen = in_turn(left_out, REJECTED_SHOWN)
    clips = []
    for left in chosen:
        lines = [f"{left.rejection.code}: {left.rejection.detail}", left.source]
        clips.append(_shown(left.entry.key, lines, functools.partial(read_sample, store, left.object_path, left.entry)))
    note = (
        f"{len(clips)} of {len(left_out):,} clips that were measured and not taken. Footage from which no clip "
        "could be cut has nothing to show; the table above counts it."
    )
    return {"title": "Clips that were rejected", "note": note, "clips": _within(clips)}


def spread(table: pa.Table, number: int) -> list[int]:
    """Row numbers: the first of each identity, spread evenly over those; then further rows, spread as well."""
    codes = table.column("identity").combine_chunks().dictionary_encode().indices.to_numpy()
    _, firsts = np.unique(codes, return_index=True)
    rest = np.setdiff1d(np.arange(len(codes)), firsts)
    chosen = _evenly(np.sort(firsts), number)
    return [int(row) for row in np.concatenate([chosen, _evenly(rest, number - len(chosen))])]


def in_turn(left_out: Sequence[LeftOut], number: int) -> list[LeftOut]:
    """One of each code, then another of each, and so on; at the end side by side by code."""
    seen: dict[str, int] = {}
    turns = []
    for left in left_out:
        code = left.rejection.code
        seen[code] = seen.get(code, 0) + 1
        turns.append((seen[code], code, left.entry.key, left))
    chosen = sorted(turns, key=lambda turn: turn[:3])[:number]
    return [left for *_, left in sorted(chosen, key=lambda turn: (turn[1], turn[0]))]


def film(clip: ClipSample) -> bytes:
    """JPEG of the clip's first, middle and last frames, side by side."""
    picks = np.linspace(0, len(clip.frames) - 1, _FRAMES).round().astype(int)
    small = [cv2.resize(frame, (FRAME_PX, FRAME_PX), interpolation=cv2.INTER_AREA) for frame in clip.frames[picks]]
    sheet = cv2.cvtColor(np.concatenate(small, axis=1), cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", sheet, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not done:
        raise RuntimeError("the frames could not be encoded as JPEG")
    return bytes(data)


def _evenly(rows: I64, number: int) -> I64:
    if len(rows) <= number:
        return rows
    return rows[np.linspace(0, len(rows) - 1, number).round().astype(np.int64)] if number > 0 else rows[:0]


def _shown(key: str, lines: list[str], read: Callable[[], ClipSample]) -> dict[str, Any]:
    """A clip as the page shows it. One that cannot be read is shown as that: the dataset is published all the same."""
    try:
        picture, problem = jpeg_url(film(read())), ""
    except StoreError as error:
        picture, problem = "", str(error)
    return {"key": key, "lines": lines, "picture": picture, "problem": problem}


def _within(clips: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As many as the sheet may weigh."""
    sizes = np.cumsum([len(clip["picture"]) for clip in clips])
    return clips[: int(np.searchsorted(sizes, SHEET_BYTES * 4 / 3, side="right"))]
