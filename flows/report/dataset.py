"""A dataset's card: one readable page beside its dataset.json. Figures, splits, rejections, scores, contact sheets.

    datasets/{hash}/card.html     self-contained; no address in it leads anywhere

It adds nothing to the dataset: the page can be made again from the store at any time, and comes out the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import shorten
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from flows.report.contact import kept_sheet, rejected_sheet
from flows.report.histogram import histogram
from flows.report.page import render_page
from flows.report.reasons import reason_of
from flows.report.rejected import Looked, look_at_rejected
from preprocessing.quality.duplicates import HASH_SCORES
from preprocessing.quality.gates import GATES
from shards.commit import Ledger
from shards.index import SPLITS, DatasetInfo
from shards.reader import Dataset, open_dataset
from shards.store import Store

EXAMPLE_CHARACTERS = 200
"""Of what was said of a source; media programs are talkative."""


def card_path(name: str) -> str:
    return f"datasets/{name}/card.html"


def write_card(store: Store, name: str) -> str:
    """Makes the page of a published dataset and puts it beside it; returns its path in the store.

    To be called while a lease holds the dataset: a sweep that removes it meanwhile would leave the page behind.
    """
    store.write(card_path(name), card_page(store, name).encode())
    return card_path(name)


def card_page(store: Store, name: str) -> str:
    """The page, as text."""
    dataset = open_dataset(store, name)
    looked = look_at_rejected(Ledger(store), dataset.info, dataset.table)
    return render_page("dataset.html.j2", card=_card(dataset, looked))


def _card(dataset: Dataset, looked: Looked) -> dict[str, Any]:
    info, table = dataset.info, dataset.table
    sheets = [kept_sheet(dataset)]
    if looked.left_out:
        sheets.append(rejected_sheet(dataset.store, looked.left_out))
    by_identity = _by(table, "identity")
    return {
        "hash": info.hash,
        "figures": _figures(info, len(by_identity)),
        "account": str(info.account),
        "quarantined": info.account.quarantined,
        "splits": _splits(info, table),
        "largest_identity": max(hours for _, hours in by_identity.values()) / max(info.hours, 1e-12),
        "languages": [
            {"name": name, "clips": clips, "length": length(hours)}
            for name, (clips, hours) in sorted(_by(table, "language").items(), key=lambda item: -item[1][1])
        ],
        "licences": _licences(info),
        "rejections": _rejections(info, looked),
        "histograms": _histograms(info, table, looked),
        "looked_at": str(looked),
        "sheets": sheets,
        "settings": {
            "Measured with": _flat(info.config),
            "Thresholds": _flat(info.thresholds),
            "Packed with": _flat(info.pack_config),
            "Made from": {"plan": info.plan_id, "pack plan": info.pack_plan_id, "shards": str(len(info.shards))},
        },
    }


def _figures(info: DatasetInfo, num_identities: int) -> dict[str, str]:
    return {
        "Length": length(info.hours),
        "Clips": f"{info.num_samples:,}",
        "Identities": f"{num_identities:,}",
        "Frames": f"{info.num_frames:,}",
        "Size": f"{info.size_bytes / 1e6:,.1f} MB",
        "Shards": f"{len(info.shards):,}",
    }


def length(hours: float) -> str:
    """Minutes where hours would round away."""
    return f"{hours:,.1f} h" if hours >= 1 else f"{60 * hours:.1f} min"


def _by(table: pa.Table, column: str) -> dict[str, tuple[int, float]]:
    """Value of the column -> clips and hours."""
    groups = table.group_by(column).aggregate([("duration_s", "count"), ("duration_s", "sum")]).sort_by(column)
    columns = (groups.column(name).to_pylist() for name in (column, "duration_s_count", "duration_s_sum"))
    return {value or "unknown": (clips, seconds / 3600) for value, clips, seconds in zip(*columns, strict=True)}


def _splits(info: DatasetInfo, table: pa.Table) -> list[dict[str, Any]]:
    found = _by(table, "split")
    rows = []
    for name in SPLITS:
        clips, hours = found.get(name, (0, 0.0))
        identities = info.identities_by_split.get(name, 0)
        share = hours / max(info.hours, 1e-12)
        rows.append({"name": name, "clips": clips, "length": length(hours), "share": share, "identities": identities})
    return rows


def _licences(info: DatasetInfo) -> list[dict[str, Any]]:
    found = sorted(info.hours_by_licence.items(), key=lambda item: -item[1])
    return [{"name": name, "length": length(hours), "share": hours / max(info.hours, 1e-12)} for name, hours in found]


def _rejections(info: DatasetInfo, looked: Looked) -> list[dict[str, Any]]:
    rows = []
    for code, count in sorted(info.rejections.items(), key=lambda item: (-item[1], item[0])):
        source, example = looked.examples.get(code, ("", None))
        reason = reason_of(code, example)
        told = shorten(f"{source}: {example.detail}", EXAMPLE_CHARACTERS) if example is not None else ""
        rows.append({"code": code, "count": count, "meaning": reason.meaning, "remedy": reason.remedy, "example": told})
    return rows


def _histograms(info: DatasetInfo, table: pa.Table, looked: Looked) -> list[dict[str, Any]]:
    scores = table.column("scores").combine_chunks()
    names = {*pc.unique(scores.keys).to_pylist(), *(name for left in looked.left_out for name in left.entry.scores)}
    plots = []
    for name in sorted(names.difference(HASH_SCORES)):
        found = pc.map_lookup(scores, pa.scalar(name), "first").drop_null()
        kept: NDArray[np.float64] = found.to_numpy(zero_copy_only=False)
        rejected = np.array([x.entry.scores[name] for x in looked.left_out if name in x.entry.scores])
        plots.append(histogram(name, kept, rejected, _limits(info.thresholds, name)))
    return plots


def _limits(thresholds: Mapping[str, Any], score: str) -> dict[str, float]:
    """Knob -> value, of the score's gate; of what is judged beside the gates the knob is named for the score."""
    knobs = {gate.threshold for gate in GATES if gate.score == score} | {f"min_{score}", f"max_{score}"}
    found = {knob: float(value) for knob, value in thresholds.items() if knob in knobs}
    # Early or late alike.
    return found | ({f"-{knob}": -value for knob, value in found.items()} if score == "av_offset_s" else {})


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Dotted names, as in a `--config` file."""
    out: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            out |= _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            out[f"{prefix}{name}"] = ", ".join(map(str, value)) or "none"
        else:
            out[f"{prefix}{name}"] = "none" if value is None else str(value)
    return out
