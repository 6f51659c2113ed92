"""Trains the sync expert, measures it, and keeps it in a folder of its own: it judges the model and is no part of it.

Each clip gives several items, at least `MIN_SHIFT` frames apart: each is the other's hardest wrong answer, the same
mouth in the same light a moment later. They weigh as much as all pairs of different clips together, which a voice that
does not suit a face would answer.

What goes wrong without an error is a `Trap`: it is logged by its name, and training goes on.
"""

# ruff: noqa: N815  (shape suffixes)

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.batch import grid
from model.config import Config
from model.errors import CheckpointDamaged, NonFinite
from model.sync import STUCK_AT, SyncConfig, SyncExpert, check_clip, clip_tensors, mouths, pair_loss
from model.training.clips import ClipSource
from shards.errors import RequestError
from shards.meanface import mean_face
from shards.schema import SCHEMA_VERSION, ClipSample, check_schema_version

log = logging.getLogger(__name__)

MIN_SHIFT = 5
"""Frames. Mouths a frame or two late look right to people, too: they are held against nobody."""
MAX_SHIFT = 15
"""Frames; the largest shift the expert is measured at."""
ENOUGH_ITEMS = 256
CONFIG, WEIGHTS = "sync.json", "sync.safetensors"
_MAX_OFF_EYES = 0.15
"""Eye units between a clip's upper face and the mean face; of 150 clips of real footage the worst had 0.07."""
_MAX_LATE_S, _SURE = 0.1, 0.3
"""As the gates of preprocessing: an offset found with less confidence is not believed."""
_TOO_MANY = 0.1
"""Share of the clips looked at."""


class Trap(StrEnum):
    """What others fell into, by the name it is logged under."""

    SMALL_BATCH = "small_batch"
    """Fewer than 256 items a step: too few wrong answers are hard, and the loss rests at 0.693."""
    CROPS_NOT_ALIGNED = "crops_not_aligned"
    """The upper face is not where the crop window has it: what moves is the crop, not the mouth."""
    CLIPS_OUT_OF_SYNC = "clips_out_of_sync"
    """The stored offsets of sound against lips are not 0: right answers are wrong."""
    STUCK = "stuck_at_0.693"
    """The loss of answering "don't know" to everything."""


class SyncTraining(Config):
    """How the expert is trained. The batch is what it learns from: pairs grow with its square."""

    expert: SyncConfig = SyncConfig()
    seed: int = 0
    steps: int = Field(4_000, ge=1)
    clips: int = Field(40, ge=2, description="clips a step")
    items: int = Field(8, ge=2, description="windows of each clip, as far as it is long enough")
    rate: float = Field(1e-3, gt=0, description="AdamW's learning rate after the warm-up, falling to 0 by a cosine")
    warmup: int = Field(100, ge=0, description="steps")
    weight_decay: float = Field(0.01, ge=0)
    gain: float = Field(0.2, ge=0, description="spread of brightness, contrast and loudness, as a share of their range")
    device: str = "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncItems:
    """Windows of clips: mouths and what was heard with them."""

    mouths_NTCHW: Tensor
    audio_NTWC: Tensor
    clip_N: Tensor
    """Which clip; the same number for the same clip drawn twice."""
    start_N: Tensor
    """First frame."""

    def wrong(self) -> tuple[Tensor, Tensor]:
        """(N, N) each: pairs of one clip at least MIN_SHIFT apart, and pairs of two clips."""
        same = self.clip_N[:, None] == self.clip_N
        far = (self.start_N[:, None] - self.start_N).abs() >= MIN_SHIFT
        return same & far, ~same


# -- training ----------------------------------------------------------------------------------------------------------


def train_expert(
    config: SyncTraining, clips: ClipSource, *, on_step: Callable[[int, float], None] | None = None
) -> SyncExpert:
    """A trained expert, on the CPU, frozen. `on_step` is told (step, loss)."""
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        expert = SyncExpert(config.expert).to(config.device)
    optimizer = torch.optim.AdamW(expert.parameters(), lr=0.0, weight_decay=config.weight_decay)
    recent, drawn = float("nan"), clips.train()
    for step in range(config.steps):
        batch = [next(drawn) for _ in range(config.clips)]
        rng = np.random.default_rng([config.seed, step])
        items = items_of(batch, config, rng)
        if step == 0:
            _warn_of_data(batch, items)
        for group in optimizer.param_groups:
            group["lr"] = config.rate * _pace(step, config)
        loss = _step(expert, optimizer, items, step)
        recent = loss if step == 0 else 0.95 * recent + 0.05 * loss
        if on_step is not None:
            on_step(step + 1, loss)
    if recent > 0.95 * STUCK_AT:
        _warn(Trap.STUCK, f"the loss ended at {recent:.3f}; its usual causes are the other three traps")
    optimizer.zero_grad(set_to_none=True)  # or every copy of the expert carries its last gradients
    return expert.cpu().eval().requires_grad_(False)


def _step(expert: SyncExpert, optimizer: torch.optim.Optimizer, items: SyncItems, step: int) -> float:
    device = expert.bias.device
    seen, heard = expert.see_mouths(items.mouths_NTCHW.to(device)), expert.hear(items.audio_NTWC.to(device))
    loss = pair_loss(expert.logits(seen, heard), *(kind.to(device) for kind in items.wrong()))
    value = float(loss.detach())
    if not np.isfinite(value):
        raise NonFinite(stage="sync", step=step, parts={"pairs": value})
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(expert.parameters(), 1.0)
    optimizer.step()
    return value


def _pace(step: int, config: SyncTraining) -> float:
    """Share of the rate: up in a line, down in half a cosine."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    done = (step - config.warmup) / max(config.steps - config.warmup, 1)
    return float(0.5 * (1 + np.cos(np.pi * done)))


# -- items -------------------------------------------------------------------------------------------------------------


def items_of(batch: Sequence[ClipSample], config: SyncTraining, rng: np.random.Generator) -> SyncItems:
    """The items of a step; a clip in which no window is seen whole gives none."""
    number = {clip.key: i for i, clip in enumerate(batch)}
    parts, of_clip, starts = [], [], []
    for clip in batch:
        check_clip(config.expert, clip)
        small_TCHW = mouths(config.expert, torch.from_numpy(np.ascontiguousarray(clip.frames)).permute(0, 3, 1, 2))
        for start in item_starts(clip, config, rng):
            parts.append(_item(small_TCHW, clip, start, config, rng))
            of_clip.append(number[clip.key])
            starts.append(start)
    if not parts:
        raise RequestError(f"no clip shows a face for {config.expert.frames} frames", field="clips", value=len(batch))
    return SyncItems(
        mouths_NTCHW=torch.stack([seen for seen, _ in parts]),
        audio_NTWC=torch.stack([heard for _, heard in parts]),
        clip_N=torch.tensor(of_clip),
        start_N=torch.tensor(starts),
    )


def item_starts(clip: ClipSample, config: SyncTraining, rng: np.random.Generator) -> list[int]:
    """Up to `items` first frames of windows that are seen whole, at least MIN_SHIFT apart, at random."""
    seen, size = clip.landmarks.seen(), config.expert.frames
    if len(seen) < size:
        return []
    whole = np.lib.stride_tricks.sliding_window_view(seen, size).all(axis=1)
    chosen: list[int] = []
    for start in rng.permutation(np.flatnonzero(whole)).tolist():
        if len(chosen) < config.items and all(abs(start - other) >= MIN_SHIFT for other in chosen):
            chosen.append(start)
    return chosen


def _item(
    small_TCHW: Tensor, clip: ClipSample, start: int, config: SyncTraining, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """One window, in another light, perhaps mirrored, louder or softer: none of it tells when something was said."""
    rows = slice(start, start + config.expert.frames)
    seen = small_TCHW[rows].float() / 127.5 - 1
    seen = (1 + config.gain * rng.normal()) * seen + config.gain * rng.normal()
    if rng.random() < 0.5:
        seen = seen.flip(-1)
    heard = clip.feature("mel").at(grid(clip.times.seconds()[rows], config.expert.columns))
    return seen, torch.from_numpy(heard) + 4 * config.gain * float(rng.normal())


# -- traps -------------------------------------------------------------------------------------------------------------


def _warn(trap: Trap, detail: str) -> None:
    log.warning("trap %s: %s", trap.value, detail)


def _warn_of_data(batch: Sequence[ClipSample], items: SyncItems) -> None:
    """Looks at one step's clips."""
    if (count := len(items.start_N)) < ENOUGH_ITEMS:
        _warn(Trap.SMALL_BATCH, f"{count} items a step; take more clips, at least {ENOUGH_ITEMS} items, better 1024")
    off = np.mean([off_eyes(clip) > _MAX_OFF_EYES for clip in batch])
    if off > _TOO_MANY:
        _warn(Trap.CROPS_NOT_ALIGNED, f"in {off:.0%} of the clips the eyes are not where the crop window has them")
    late = np.mean([_is_late(clip) for clip in batch])
    if late > _TOO_MANY:
        _warn(Trap.CLIPS_OUT_OF_SYNC, f"{late:.0%} of the clips have sound that is {_MAX_LATE_S:g} s off, or more")


def off_eyes(clip: ClipSample) -> float:
    """Eye units between the clip's upper face and the mean face's, the median over its frames; infinite if unseen."""
    points = clip.landmarks.points[clip.landmarks.seen()]
    if not len(points):
        return float("inf")
    anchor = list(clip.landmarks.topology.anchor)
    matrix = clip.transform.window.matrix(clip.transform.size_px)
    expected = mean_face(clip.landmarks.topology_name)[anchor] @ matrix[:, :2].T + matrix[:, 2]
    far = np.linalg.norm((points[:, anchor] - expected).mean(axis=1), axis=1)
    return float(np.median(far) / matrix[0, 0])


def _is_late(clip: ClipSample) -> bool:
    is_known = clip.scores.get("av_confidence", 0.0) >= _SURE
    return is_known and abs(clip.scores.get("av_offset_s", 0.0)) >= _MAX_LATE_S


# -- how good it is ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftAccuracy:
    """Of clips it was not trained on: is a window told from the same window with the sound of another moment?"""

    right: float
    """Share of windows with their own sound that it calls in sync."""
    wrong: float
    """Share of windows with sound MIN_SHIFT to MAX_SHIFT frames away that it calls out of sync."""
    ranked: float
    """Share of those pairs in which the own sound fits better."""
    windows: int

    @property
    def accuracy(self) -> float:
        """Right and wrong answers weigh the same; 0.5 is chance."""
        return 0.5 * (self.right + self.wrong)


@torch.no_grad()
def shift_accuracy(expert: SyncExpert, clips: Iterable[ClipSample]) -> ShiftAccuracy:
    """Every whole window of every clip against every shift that the clip has room for."""
    right: list[Tensor] = []
    wrong: list[Tensor] = []
    ranked: list[Tensor] = []
    for clip in clips:
        seen, heard = expert.trace(*clip_tensors(expert.config, clip))
        whole = torch.from_numpy(clip.landmarks.seen()).unfold(0, expert.config.frames, 1).all(dim=1)
        logits = expert.logits(seen, heard)
        at = torch.arange(len(seen))
        apart = (at[:, None] - at).abs()
        pairs = (apart >= MIN_SHIFT) & (apart <= MAX_SHIFT) & whole[:, None] & whole
        own = logits.diagonal()
        right.append(own[whole] > 0)
        wrong.append(logits[pairs] < 0)
        ranked.append((own[:, None] > logits)[pairs])
    shares = [float(torch.cat(part).float().mean()) for part in (right, wrong, ranked)]
    return ShiftAccuracy(right=shares[0], wrong=shares[1], ranked=shares[2], windows=sum(map(len, right)))


# -- keeping it --------------------------------------------------------------------------------------------------------


def save_expert(folder: Path, expert: SyncExpert) -> None:
    """Writes the expert's two files, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().cpu().contiguous() for name, value in expert.state_dict().items()}
    record = {"schema_version": SCHEMA_VERSION, "expert": expert.config.model_dump(mode="json")}
    _replace(folder / WEIGHTS, lambda path: save_file(weights, path))
    _replace(folder / CONFIG, lambda path: path.write_text(json.dumps(record, indent=2) + "\n"))


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    part = path.with_name(path.name + ".part")
    write(part)
    part.chmod(0o644)  # safetensors writes for the owner alone
    os.replace(part, path)


def load_expert(folder: Path) -> SyncExpert:
    """The expert that was saved there, on the CPU, frozen."""
    if missing := [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]:
        raise RequestError(f"no sync expert here: {', '.join(missing)} missing", field="sync", value=str(folder))
    try:
        raw = json.loads((folder / CONFIG).read_text())
    except ValueError as error:
        raise CheckpointDamaged(f"{folder / CONFIG}: not JSON: {error}") from error
    check_schema_version(raw.get("schema_version"), str(folder / CONFIG))
    try:
        expert = SyncExpert(SyncConfig.model_validate(raw["expert"]))
        expert.load_state_dict(load_file(folder / WEIGHTS))
    except (ValidationError, SafetensorError, KeyError, RuntimeError) as error:
        raise CheckpointDamaged(f"{folder}: not a readable sync expert: {error}") from error
    return expert.eval().requires_grad_(False)
