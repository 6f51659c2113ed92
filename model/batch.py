"""What training sees of a clip: windows of it as tensors, joined to a batch. Owns every choice of frames.

B windows, T frames, R reference pictures, N reference faces, C H W picture, P points, W audio columns.
A frame whose landmarks are NaN stays in its window with `seen` false and zero landmarks: every loss leaves it out.
"""

# ruff: noqa: N815  (shape suffixes)

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from model.choice import spread_by_opening
from model.config import ModelConfig
from model.errors import CheckpointMismatch
from model.head import Head
from model.landmarks import filled, opening, to_units
from shards.errors import RequestError
from shards.schema import F32, F64, U8, AudioFeatures, ClipSample

FRAME_S = 0.04
"""The completion module's clock: 25 Hz."""
COLUMN_S = 1 / 80
"""Between the moments at which audio features are read: the rate of the mel and the phones."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClipBatch:
    """Windows of clips; without the leading B, one window."""

    frames_BTCHW: Tensor
    """In [-1, 1]."""
    landmarks_BTP2: Tensor
    """Crop units; zero where not seen."""
    seen_BT: Tensor
    mask_HW: Tensor
    """1 where the model generates."""
    audio_BTWC: Tensor
    """Columns centred on each frame's timestamp."""
    ref_frames_BRCHW: Tensor
    ref_landmarks_BNP2: Tensor
    turned_BTP2: Tensor | None = None
    """The same mouths, as crop units too, under heads that turn as in another part of the clip; None: not asked for."""
    turned_seen_BT: Tensor | None = None

    def to(self, device: torch.device) -> ClipBatch:
        return replace(self, **{name: x.to(device) for name, x in self.tensors().items()})

    def tensors(self) -> dict[str, Tensor]:
        """By name; without those that are not there."""
        return {f.name: x for f in fields(self) if (x := getattr(self, f.name)) is not None}

    def under_other_heads(self) -> ClipBatch:
        """The batch with other heads for its own, where they were asked for: they do not tell what the mouth says."""
        if self.turned_BTP2 is None or self.turned_seen_BT is None:
            return self
        return replace(self, landmarks_BTP2=self.turned_BTP2, seen_BT=self.turned_seen_BT)


def pictures(frames: U8) -> Tensor:
    """(T, S, S, 3) uint8 -> (T, 3, S, S) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 127.5 - 1


def grid(at_s: F64, width: int) -> F64:
    """(T, W) the moments, `COLUMN_S` apart, around each time at which audio features are read."""
    offsets_W = (np.arange(width) - (width - 1) / 2) * COLUMN_S
    out: F64 = np.asarray(at_s, dtype=np.float64)[:, None] + offsets_W
    return out


def audio_columns(features: Sequence[AudioFeatures], at_s: F64, config: ModelConfig) -> Tensor:
    """(T, W, C): the condition's features, joined along C, around each time.

    They meet by time and not by number: each is read at the same `W` moments, its nearest column there, whatever its
    rate and origin. Nearest and not interpolated: a network is given columns that an extractor made, and from a feature
    of the grid's own rate exactly its columns.
    """
    config.condition.check(feature_versions={f.name: f.version for f in features})
    grid_TW = grid(at_s, config.completion.audio_columns)
    by_name = {f.name: f for f in features}
    parts: list[F32] = []
    for name, dim in zip(config.condition.features, config.condition.feature_dims, strict=True):
        if name not in by_name or by_name[name].values.shape[1] != dim:
            given = {f.name: f.values.shape[1] for f in features}
            raise CheckpointMismatch.between("features", checkpoint={name: dim}, given=given)
        parts.append(by_name[name].at(grid_TW))
    return torch.from_numpy(np.concatenate(parts, axis=2))


def windows(
    sample: ClipSample,
    length: int,
    rng: np.random.Generator,
    config: ModelConfig,
    count: int = 1,
    *,
    other_pose: float = 0.0,
) -> list[ClipBatch]:
    """`count` random stretches of `length` frames; a shorter clip is filled up with unseen frames.

    With a share `other_pose` above 0 each also comes under another head, in this share of them truly another.
    """
    config.condition.check_sample(sample)
    times_s = sample.times.seconds()
    seen = np.flatnonzero(sample.landmarks.seen())
    if len(seen) == 0:
        raise RequestError("a clip in which no face is seen cannot be trained on", field="clips", value=sample.key)
    if len(times_s) > 1 and abs(np.median(np.diff(times_s)) / FRAME_S - 1) > 0.1:
        raise RequestError("training clips are 25 frames a second", field="clips", value=sample.key)
    starts = rng.integers(0, max(len(times_s) - length, 0) + 1, size=count)
    made = [_window(sample, int(start), length, times_s, seen, rng, config) for start in starts]
    if not other_pose:
        return made
    size = config.condition.crop_px
    heads = zip(made, starts, rng.random(count) < other_pose, strict=True)
    return [
        _turned(window, sample, int(start) if is_other else None, rng, size=size) for window, start, is_other in heads
    ]


def _turned(
    window: ClipBatch, sample: ClipSample, start: int | None, rng: np.random.Generator, *, size: int
) -> ClipBatch:
    """The window, which begins at `start`, with the head of elsewhere beside its own; its own again for None.

    The clip is a circle: elsewhere is a quarter to three quarters of it later. That head carries the mouth along.
    """
    if start is None:
        return replace(window, turned_BTP2=window.landmarks_BTP2, turned_seen_BT=window.seen_BT)
    total, shape = len(sample.frames), sample.landmarks.topology
    later = int(rng.integers(total // 4, 3 * total // 4 + 1))
    points = to_units(sample.landmarks.points, size)
    frames = (np.arange(start, start + len(window.seen_BT)) + later) % total
    other_TP2, other_T = filled(torch.from_numpy(points[frames]))
    pose, content, head = list(shape.pose), list(shape.content), Head(points, shape)

    points_TP2, seen_T = window.landmarks_BTP2.clone(), window.seen_BT & other_T
    carried = head.carries(other_TP2[:, pose].numpy()) - head.carries(points_TP2[:, pose].numpy())
    points_TP2[:, content] += torch.from_numpy(carried).float()
    points_TP2[:, pose] = other_TP2[:, pose]
    return replace(window, turned_BTP2=torch.where(seen_T[:, None, None], points_TP2, 0.0), turned_seen_BT=seen_T)


def _window(
    sample: ClipSample,
    start: int,
    length: int,
    times_s: F64,
    seen: np.ndarray,
    rng: np.random.Generator,
    config: ModelConfig,
) -> ClipBatch:
    frames = np.minimum(np.arange(start, start + length), len(times_s) - 1)
    past_end = torch.from_numpy(np.arange(start, start + length) >= len(times_s))
    size = config.condition.crop_px
    points = torch.from_numpy(to_units(sample.landmarks.points[frames], size))
    points_TP2, seen_T = filled(torch.where(past_end[:, None, None], torch.nan, points))

    # References come from outside the window where the clip allows: a copied target teaches nothing.
    outside = seen[(seen < start) | (seen >= start + length)]
    pool = outside if len(outside) >= config.completion.num_references else seen
    openings = opening(sample.landmarks.points[pool], sample.landmarks.topology)
    pictures_at = pool[spread_by_opening(openings, config.denoiser.num_references, rng)]
    faces_at = pool[spread_by_opening(openings, config.completion.num_references, rng)]
    return ClipBatch(
        frames_BTCHW=pictures(sample.frames[frames]),
        landmarks_BTP2=points_TP2,
        seen_BT=seen_T,
        mask_HW=torch.from_numpy(sample.transform.window.mask(size)),
        audio_BTWC=audio_columns(sample.features, times_s[frames], config),
        ref_frames_BRCHW=pictures(sample.frames[pictures_at]),
        ref_landmarks_BNP2=torch.from_numpy(to_units(sample.landmarks.points[faces_at], size)),
    )


def collate(items: Sequence[ClipBatch]) -> ClipBatch:
    """Windows -> one batch; the mask is the same for all."""
    stacked = {name: torch.stack([item.tensors()[name] for item in items]) for name in items[0].tensors()}
    return ClipBatch(**{**stacked, "mask_HW": items[0].mask_HW})
