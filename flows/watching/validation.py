"""Validation while training: the shift protocol on a few held-out clips, cut short, with pictures and a table.

validation/{step}/table.md           goals and figures, for people
validation/{step}/metrics.json       the means that were told to the loop
validation/{step}/{identity}.jpg     source, truth, generated, with the faces that were found
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flows.evaluation.config import EvaluationConfig
from flows.evaluation.judge import Judge, Judged
from flows.evaluation.pictures import jpeg, strip
from flows.evaluation.scorecard import ClipRow, scorecard, summed
from flows.evaluation.shift import SHORTEST
from flows.report.contact import spread
from model.errors import NonFinitePicture
from model.networks import Networks
from model.pipeline import DubbingPipeline
from shards.reader import Dataset
from shards.schema import U8, ClipSample

log = logging.getLogger(__name__)

CHEAP = EvaluationConfig(max_frames=40, silent_frames=10)
TABLE, METRICS = "table.md", "metrics.json"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Validated:
    """What came out."""

    metrics: Mapping[str, float]
    """Figure -> mean; empty when not one picture was finite."""
    strips: Mapping[str, U8]
    broken: str | None
    """Why a clip has no pictures."""


def held_out_clips(dataset: Dataset, number: int = 4) -> list[ClipSample]:
    """A few clips of people who are not trained on, as many as can be had; of `val`, else of `test`."""
    long_enough = np.asarray(dataset.table.column("num_frames").to_numpy()) >= SHORTEST
    for split in ("val", "test"):
        rows = dataset.rows(split)
        rows = rows[long_enough[rows]]
        if len(rows):
            return [dataset.read_row(int(rows[i])) for i in spread(dataset.table.take(rows), number)]
    log.warning("validation_impossible: nobody of at least %d frames is held out; this run is not validated", SHORTEST)
    return []


class Validation:
    """The clips, and the judge that is loaded once for all steps."""

    def __init__(self, clips: Sequence[ClipSample], folder: Path, config: EvaluationConfig = CHEAP) -> None:
        self._clips, self._folder = list(clips), folder
        self._judge = Judge(config)
        self._is_set_up = False

    def run(self, step: int, networks: Networks) -> Validated:
        """Judges the networks as they are; the loop gives those with the running mean in place."""
        if not self._is_set_up:
            self._judge.setup()
            self._is_set_up = True
        pipe = DubbingPipeline.from_networks(networks)
        judged: list[Judged] = []
        broken = None
        for clip in self._clips:
            try:
                judged.append(self._judge.judge(pipe, clip))
            except NonFinitePicture as error:
                # A model that has diverged must be told of, not end the run that may recover from a checkpoint.
                broken = str(error)
        metrics = _metrics(judged)
        strips = {f"{each.clip.identity} {each.clip.key[:8]}": strip(each, landmarks=True) for each in judged}
        self._keep(step, judged, metrics, strips)
        return Validated(metrics=metrics, strips=strips, broken=broken)

    def close(self) -> None:
        self._judge.close()

    def _keep(
        self, step: int, judged: Sequence[Judged], metrics: Mapping[str, float], strips: Mapping[str, U8]
    ) -> None:
        folder = self._folder / f"{step:09d}"
        folder.mkdir(parents=True, exist_ok=True)
        for name, picture in strips.items():
            (folder / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', name)}.jpg").write_bytes(jpeg(picture))
        (folder / METRICS).write_text(json.dumps({"step": step, "metrics": dict(metrics)}, indent=2), encoding="utf-8")
        (folder / TABLE).write_text(table(step, _rows(judged)), encoding="utf-8")


def table(step: int, rows: Sequence[ClipRow]) -> str:
    """Markdown: what is aimed at and what is reached, then clip by clip."""
    told = [f"Validation at step {step:,}: {len(rows)} held-out clips, dubbed with their speech turned round.", ""]
    told += ["| figure | reached | wanted | met |", "|---|---|---|---|"]
    for goal in scorecard(rows)["goals"]:
        told.append(f"| {goal['name']} | {_number(goal['value'])} | {goal['wanted']} | {goal['reached']} |")
    told += [
        "",
        "| clip | lip distance | undubbed | neutral | correlation | closed in silence |",
        "|---|---|---|---|---|---|",
    ]
    names = ("made.lips", "undubbed.lips", "neutral.lips", "made.correlation", "silent.closed")
    for row in rows:
        cells = " | ".join(_number(row.figures.get(name)) for name in names)
        told.append(f"| {row.identity} {row.key[:8]} | {cells} |")
    return "\n".join(told) + "\n"


def _metrics(judged: Sequence[Judged]) -> dict[str, float]:
    """Means, and the two shares that decide: a checkpoint is best by one of these names."""
    means = {name: each["mean"] for name, each in summed(_rows(judged)).items()}
    for name, (above, below) in {
        "lips_share": ("made.lips", "undubbed.lips"),
        "speed_share": ("made.speed", "real.speed"),
    }.items():
        if means.get(below, 0.0) > 0 and above in means:
            means[name] = means[above] / means[below]
    return means


def _rows(judged: Sequence[Judged]) -> list[ClipRow]:
    return [
        ClipRow(
            key=each.clip.key,
            identity=each.clip.identity,
            language=each.clip.language,
            split="held out",
            frames=len(each.clip.frames),
            figures=each.figures,
        )
        for each in judged
    ]


def _number(value: float | None) -> str:
    return "-" if value is None or not np.isfinite(value) else f"{value:.3g}"
