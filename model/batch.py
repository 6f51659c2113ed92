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

    def to(self, device: torch.device) -> ClipBatch:
        return replace(self, **{f.name: getattr(self, f.name).to(device) for f in fields(self)})


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

    In the share `other_pose` of them the head turns as it does in another part of the clip (see `head.py`), while the
    mouth says what is heard.
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
    return [
        _with_other_pose(window, sample, int(start), rng, size=config.condition.crop_px)
        if rng.random() < other_pose
        else window
        for window, start in zip(made, starts, strict=True)
    ]


def _with_other_pose(
    window: ClipBatch, sample: ClipSample, start: int, rng: np.random.Generator, *, size: int
) -> ClipBatch:
    """The clip is a circle: the head is that of a quarter to three quarters of it later, and carries the mouth."""
    total, shape = len(sample.frames), sample.landmarks.topology
    later = int(rng.integers(total // 4, 3 * total // 4 + 1))
    points = to_units(sample.landmarks.points, size)
    other_TP2, other_T = filled(
        torch.from_numpy(points[(np.arange(start, start + len(window.seen_BT)) + later) % total])
    )
    pose, content, head = list(shape.pose), list(shape.content), Head(points, shape)

    points_TP2, seen_T = window.landmarks_BTP2.clone(), window.seen_BT & other_T
    carried = head.carries(other_TP2[:, pose].numpy()) - head.carries(points_TP2[:, pose].numpy())
    points_TP2[:, content] += torch.from_numpy(carried).float()
    points_TP2[:, pose] = other_TP2[:, pose]
    return replace(window, landmarks_BTP2=torch.where(seen_T[:, None, None], points_TP2, 0.0), seen_BT=seen_T)


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
    stacked = {
        f.name: torch.stack([getattr(item, f.name) for item in items]) for f in fields(ClipBatch) if f.name != "mask_HW"
    }
    return ClipBatch(mask_HW=items[0].mask_HW, **stacked)
