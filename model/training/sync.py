"""Trains the sync expert, and keeps it in a folder of its own: it judges the model and is no part of it.

Each window gives two items, at least `MIN_SHIFT` frames apart: each is the other's hardest wrong answer, the same
mouth in the same light a moment later.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.batch import ClipBatch, collate, windows
from model.config import Config, ModelConfig
from model.errors import CheckpointDamaged
from model.sync import STUCK_AT, SyncConfig, SyncExpert, pair_loss
from model.training.clips import ClipSource
from shards.errors import RequestError
from shards.schema import SCHEMA_VERSION, check_schema_version

log = logging.getLogger(__name__)

MIN_SHIFT = 5
"""Frames. Mouths a frame or two late look right to people, too: they are held against nobody."""
CONFIG, WEIGHTS = "sync.json", "sync.safetensors"


class SyncTraining(Config):
    """How the expert is trained. The batch is what it learns from: pairs grow with its square."""

    expert: SyncConfig = SyncConfig()
    seed: int = 0
    steps: int = Field(4_000, ge=1)
    clips: int = Field(64, ge=2, description="clips a step, one window of each")
    rate: float = Field(5e-4, gt=0, description="AdamW's learning rate after the warm-up")
    warmup: int = Field(100, ge=0, description="steps")
    weight_decay: float = Field(0.01, ge=0)
    device: str = "cpu"


def train_expert(
    config: SyncTraining,
    model: ModelConfig,
    clips: ClipSource,
    *,
    on_step: Callable[[int, float], None] | None = None,
) -> SyncExpert:
    """A trained expert for clips of this model's condition."""
    _check(config, model)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        expert = SyncExpert(config.expert).to(config.device)
    optimizer = torch.optim.AdamW(expert.parameters(), lr=0.0, weight_decay=config.weight_decay)
    recent = 0.0
    for step, batch in zip(range(config.steps), _batches(config, model, clips), strict=False):
        rng = np.random.default_rng([config.seed, step, 1])
        frames, audio, apart = items_of(batch.to(torch.device(config.device)), config.expert.frames, rng)
        loss = pair_loss(expert.logits(expert.see(frames), expert.hear(audio)), ~apart)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        for group in optimizer.param_groups:
            group["lr"] = config.rate * min(1.0, (step + 1) / max(config.warmup, 1))
        optimizer.step()
        recent = float(loss.detach()) if step == 0 else 0.95 * recent + 0.05 * float(loss.detach())
        if on_step is not None:
            on_step(step + 1, float(loss.detach()))
    if recent > 0.95 * STUCK_AT:
        log.warning(
            "the loss ended at %.3f, where it knows nothing: are the clips in sync, is the batch large?", recent
        )
    return expert.eval().requires_grad_(False)


def items_of(batch: ClipBatch, frames: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Two items of each window: pictures (2B, T, C, H, W), audio (2B, T, W, C), and who may be held against whom."""
    b, length = batch.seen_BT.shape
    last = length - frames
    first = torch.from_numpy(rng.integers(0, last - MIN_SHIFT + 1, size=b))
    second = torch.minimum(first + MIN_SHIFT + torch.from_numpy(rng.integers(0, last, size=b)), torch.tensor(last))
    starts, window = torch.cat([first, second]).to(batch.seen_BT.device), torch.arange(b).repeat(2)
    at_NT = starts[:, None] + torch.arange(frames, device=starts.device)
    whole = batch.seen_BT[window[:, None], at_NT].all(dim=1)
    rows, at_NT = window[whole.cpu()], at_NT[whole]
    pictures, audio = batch.frames_BTCHW[rows[:, None], at_NT], batch.audio_BTWC[rows[:, None], at_NT]
    same_window = (rows[:, None] == rows[None]).to(starts.device)
    near = (at_NT[:, None, 0] - at_NT[None, :, 0]).abs() < MIN_SHIFT
    return pictures, audio, ~(same_window & near)


def _batches(config: SyncTraining, model: ModelConfig, clips: ClipSource) -> Iterator[ClipBatch]:
    drawn, step = clips.train(), 0
    while True:
        rng = np.random.default_rng([config.seed, step, 0])
        length = model.completion.window_frames
        yield collate([windows(next(drawn), length, rng, model)[0] for _ in range(config.clips)])
        step += 1


def _check(config: SyncTraining, model: ModelConfig) -> None:
    if model.condition.features[0] != "mel":
        raise RequestError("the sync expert hears mel, first of the features", field="features", value=model.condition)
    if model.condition.window != config.expert.window:
        raise RequestError("the expert looks at another window", field="window", value=model.condition.window)
    if model.completion.window_frames < config.expert.frames + MIN_SHIFT:
        raise RequestError(
            f"a window of {model.completion.window_frames} frames has no two items of {config.expert.frames} frames "
            f"that are {MIN_SHIFT} apart",
            field="window_frames",
        )


def save_expert(folder: Path, expert: SyncExpert) -> None:
    """Writes the expert's two files."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in expert.state_dict().items()}, folder / WEIGHTS)
    record = {"schema_version": SCHEMA_VERSION, "expert": expert.config.model_dump(mode="json")}
    (folder / CONFIG).write_text(json.dumps(record, indent=2) + "\n")


def load_expert(folder: Path) -> SyncExpert:
    """The expert that was saved there, on the CPU."""
    if missing := [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]:
        raise RequestError(f"no sync expert here: {', '.join(missing)} missing", field="sync", value=str(folder))
    raw = json.loads((folder / CONFIG).read_text())
    check_schema_version(raw.get("schema_version"), str(folder / CONFIG))
    try:
        expert = SyncExpert(SyncConfig.model_validate(raw["expert"]))
        expert.load_state_dict(load_file(folder / WEIGHTS))
    except (ValidationError, SafetensorError, KeyError, RuntimeError) as error:
        raise CheckpointDamaged(f"{folder}: not a readable sync expert: {error}") from error
    return expert.eval().requires_grad_(False)
