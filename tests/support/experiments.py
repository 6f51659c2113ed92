"""The paper's first three experiments as recorded runs: `python -m tests.support.experiments STORE OUT`.

    completion         landmarks from speech, learned from nothing: how near are they to the true ones? Once under
                       each clip's own head and once under another's (see model/head.py)
    talkformer         pictures from true landmarks: how well does the denoiser obey?
    joint, detached    both together; the diffusion loss teaches the denoiser only
    joint, end to end  the same steps on the same draws; it teaches completion too: the paper's claim

All but the first begin with the weights that ship. Each is trained with several seeds and judged on people held out,
under their own speech turned round. What is in OUT is not done again; OUT/experiments.md is the model card's section.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from flows.evaluation import measures
from flows.evaluation.shift import cut, shift_of, shifted_features, shifted_landmarks
from flows.report.contact import spread
from flows.voice import SHIPPED
from model.metrics import opening_speed
from model.pipeline import DubbingPipeline
from model.shot import Sampling, Take
from model.training.clips import DatasetClips, fitted
from model.training.config import TrainConfig, recipe
from model.training.loop import train
from preprocessing.landmarks.crops import CropFaces
from shards.reader import Dataset, open_dataset
from shards.schema import ClipSample, Landmarks
from shards.selection import Selection
from shards.store import open_store

WEIGHTS = Path(__file__).parents[2] / "model" / SHIPPED
TOLD = "experiments.md"
WEIGHING = Selection(identity_weights={"news-anchors": 0.35, "grid-s1": 0.5})
"""As in examples/compact.yaml."""
Asked = Literal["points only", "true landmarks", "own landmarks"]
Figures = dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """One arm: what is trained, and how it is judged."""

    name: str
    steps: Mapping[str, Mapping[str, Any]]
    """Stage -> what differs from the recipe. A stage that is not named is not trained."""
    asked: Asked
    """Judged by the landmarks alone, by pictures made of the true ones, or by pictures made of its own."""
    end_to_end: bool = True
    other_pose: float = 1.0
    is_continued: bool = True
    """Begins with the weights that ship."""

    def config(self, base: TrainConfig, seed: int, weights: Path) -> TrainConfig:
        none = {name: base.stage(name).model_copy(update={"steps": 0}) for name in type(base).model_fields if _is(name)}
        some = {name: base.stage(name).model_copy(update=dict(update)) for name, update in self.steps.items()}
        how = {
            "seed": seed,
            "end_to_end": self.end_to_end,
            "other_pose": self.other_pose,
            "start_from": str(weights) if self.is_continued else None,
            # A mean over a thousand steps would hardly show what so few have done.
            "ema_decay": 0.95,
            "checkpoint_every": 200,
        }
        return base.model_copy(update=none | some | how)


def _is(name: str) -> bool:
    return name in ("autoencoder", "completion", "diffusion", "joint", "refine")


ALONE = {"completion": {"steps": 250, "clips": 12, "windows": 2, "rate": 6e-4}}
JOINT = {"joint": {"steps": 60, "rate": 2e-4, "warmup": 20}}
EXPERIMENTS = (
    Experiment(name="completion alone, own head", steps=ALONE, asked="points only", is_continued=False, other_pose=0.0),
    Experiment(name="completion alone, other head", steps=ALONE, asked="points only", is_continued=False),
    Experiment(
        name="TalkFormer, true landmarks",
        steps={"diffusion": {"steps": 120, "rate": 3e-4, "warmup": 20}},
        asked="true landmarks",
    ),
    Experiment(name="joint, detached", steps=JOINT, asked="own landmarks", end_to_end=False),
    Experiment(name="joint, end to end", steps=JOINT, asked="own landmarks"),
)
COLUMNS = {
    "lips": "lip distance",
    "correlation": "correlation of opening",
    "speed": "speed of opening, of real",
}


class Referee:
    """Judges a checkpoint on the same held-out clips as every other."""

    def __init__(self, dataset: Dataset, clips: int, frames: int) -> None:
        rows = np.sort(np.concatenate([dataset.rows("val"), dataset.rows("test")]))
        chosen = rows[spread(dataset.table.take(rows), clips)]
        read = [dataset.read_row(int(row)) for row in chosen]
        self.clips = [cut(clip, 0, min(len(clip.frames), frames)) for clip in read]
        self._faces = CropFaces()

    def __enter__(self) -> Referee:
        self._faces.setup()
        return self

    def __exit__(self, *_: object) -> None:
        self._faces.close()

    def judge(self, folder: Path, asked: Asked) -> Figures:
        """Means over the clips."""
        pipe = DubbingPipeline.from_pretrained(folder)
        each = [self._clip(pipe, clip, asked) for clip in self.clips]
        means = {name: statistics.fmean(told[name] for told in each) for name in each[0]}
        # Of the sums: a clip that hardly moves would rule a mean of shares.
        return means | {"speed": means["speed"] / means["real_speed"]}

    def _clip(self, pipe: DubbingPipeline, clip: ClipSample, asked: Asked) -> Figures:
        by, times_s = shift_of(clip), clip.times.seconds()
        true = shifted_landmarks(clip.landmarks, by)
        references = pipe.choose_references(clip.frames, clip.landmarks)
        said = pipe.predict_landmarks(shifted_features(clip, by), times_s, clip.landmarks, references, emphasis=1.0)
        if asked == "points only":
            return _against(said, true)
        # The pose is the frame's, the mouth the one of half a clip later: what completion's answer looks like, too.
        target = _with_mouth_of(clip.landmarks, true) if asked == "true landmarks" else said
        take = Take(
            frames=clip.frames,
            target=target,
            references=references,
            seed=0,
            times_s=times_s,
            features=shifted_features(clip, by),
        )
        (made,) = pipe.render_all([take], Sampling())
        real = self._faces.found_in(clip.frames, clip)
        return _against(self._faces.found_in(made, clip), shifted_landmarks(real, by))


def _against(made: Landmarks, true: Landmarks) -> Figures:
    told = measures.motion(made, true)
    return {name: told[name] for name in ("lips", "correlation", "speed")} | {"real_speed": opening_speed(true)}


def _with_mouth_of(face: Landmarks, other: Landmarks) -> Landmarks:
    content, points = list(face.topology.content), face.points.copy()
    points[:, content] = other.points[:, content]
    points[~(face.seen() & other.seen())] = np.nan
    return dataclasses.replace(face, points=points)


def run(
    store: str,
    out: Path,
    *,
    base: TrainConfig,
    experiments: Sequence[Experiment] = EXPERIMENTS,
    weights: Path = WEIGHTS,
    seeds: int = 3,
    clips: int = 12,
    frames: int = 40,
) -> str:
    """Trains and judges whatever is not in `out` yet; returns the section for the model card."""
    dataset = open_dataset(open_store(store, create=False))
    first = dataset.read(dataset.keys("train")[0])
    told: dict[str, list[Figures]] = {}
    with Referee(dataset, clips, frames) as referee:
        told["as it ships, true landmarks"] = [_kept(out / "ships-true.json", referee, weights, "true landmarks")]
        told["as it ships"] = [_kept(out / "ships.json", referee, weights, "own landmarks")]
        for experiment in experiments:
            for seed in range(seeds):
                folder = out / f"{experiment.name.replace(', ', '-').replace(' ', '-')}-{seed}"
                config = fitted(experiment.config(base, seed, weights), first)
                train(config, DatasetClips(dataset, seed=seed, selection=config.selection), folder)
                figures = _kept(folder / "figures.json", referee, folder, experiment.asked)
                told.setdefault(experiment.name, []).append(figures)
        judged = len(referee.clips)
    text = section(told, experiments, judged)
    (out / TOLD).write_text(text, encoding="utf-8")
    return text


def _kept(path: Path, referee: Referee, folder: Path, asked: Asked) -> Figures:
    if not path.exists():
        figures = referee.judge(folder, asked)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures), encoding="utf-8")
    kept: Figures = json.loads(path.read_text(encoding="utf-8"))
    return kept


def section(told: Mapping[str, Sequence[Figures]], experiments: Sequence[Experiment], clips: int) -> str:
    """A table: the mean over seeds, and the smallest and the largest."""
    steps = {e.name: ", ".join(f"{stage} {how['steps']}" for stage, how in e.steps.items()) for e in experiments}
    lines = [
        f"{clips} clips of people who were not trained on, dubbed with their own speech turned round and without"
        " emphasis. Of several seeds the mean, and from the smallest to the largest. Lip distance in eye distances.",
        "",
        f"| run | steps | seeds | {' | '.join(COLUMNS.values())} |",
        f"|---|---|---|{'---|' * len(COLUMNS)}",
    ]
    for name, figures in told.items():
        cells = [_cell([each[column] for each in figures if column in each]) for column in COLUMNS]
        lines.append(f"| {name} | {steps.get(name, 'none')} | {len(figures)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(values: Sequence[float]) -> str:
    if not values:
        return ""
    mean = f"{statistics.fmean(values):.3g}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.3g} to {max(values):.3g})"


def main() -> None:
    parser = argparse.ArgumentParser(description="the paper's first three experiments at `compact`, three seeds each")
    parser.add_argument("store")
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    base = recipe("compact").model_copy(update={"selection": WEIGHING})
    print(run(given.store, given.out, base=base))


if __name__ == "__main__":
    main()
