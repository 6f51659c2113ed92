"""The sync expert: do these mouths say this? Filters data, supervises the joint stage in pixels, scores output.

Sixteen frames of the mouth and the mel columns around them each become one unit vector; their cosine says how well
they belong together. All pairs of a batch are judged at once, as independent yes-or-no questions with a learned
temperature and bias: with far more wrong pairs than right ones, a plain cross-entropy on the cosine would sit at
0.693 and learn nothing. How it is trained and kept is `training/sync.py`; the published SyncNet is `lse.py`.

B windows, T frames, C H W picture, W audio columns of a frame, D width; N windows a frame apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import interpolate, logsigmoid, normalize

from model.batch import FRAME_S, grid, pictures
from model.config import Config
from shards.crop import CropWindow, crop_window
from shards.errors import RequestError
from shards.schema import ClipSample

STUCK_AT = math.log(2)
"""The loss of an expert that knows nothing."""
OFFSETS = range(-15, 16)
"""Frames by which sound and picture are moved against each other."""
LEAST_WINDOWS = 10
"""An offset at which fewer windows overlap is not judged: their mean would be chance."""
_AT_ONCE = 64
"""Windows encoded together."""


class SyncConfig(Config):
    """What the expert looks at, and how large it is."""

    frames: int = Field(16, ge=5, description="frames of a window, at 25 Hz")
    columns: int = Field(4, ge=1, description="audio columns taken of each frame; 80 Hz has 3.2 of them a frame")
    bands: int = Field(80, ge=1, description="channels of an audio column")
    window: str = Field("lower_face", description="what the crop shows; see shards/crop.py")
    side_px: int = Field(48, multiple_of=16, description="the generated region of the crop is scaled to this square")
    channels: tuple[int, ...] = Field((32, 64, 128), min_length=1, description="per level of either encoder")
    width: int = Field(256, description="D, length of the vectors")
    norm_groups: int = Field(8, ge=1)


class _Level(nn.Sequential):
    """A smaller picture, then a residual convolution."""

    def __init__(self, c_in: int, c_out: int, groups: int, stride: tuple[int, int]) -> None:
        down, across = stride
        super().__init__(
            nn.Conv2d(c_in, c_out, (down + 1, across + 1), stride=stride, padding=(down // 2, across // 2)),
            nn.GroupNorm(groups, c_out),
            nn.SiLU(),
            _Residual(c_out, groups),
        )


class _Residual(nn.Module):
    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm, self.act = nn.GroupNorm(groups, channels), nn.SiLU()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        out: Tensor = self.act(x_BCHW + self.norm(self.conv(x_BCHW)))
        return out


class _Encoder(nn.Module):
    """A picture of any size -> (B, D) on the unit sphere."""

    def __init__(self, c_in: int, side: tuple[int, int], config: SyncConfig, first_stride: tuple[int, int]) -> None:
        super().__init__()
        widths = (c_in, *config.channels)
        strides = [first_stride] + [(2, 2)] * (len(config.channels) - 1)
        levels = zip(pairwise(widths), strides, strict=True)
        self.levels = nn.Sequential(*(_Level(a, b, config.norm_groups, stride) for (a, b), stride in levels))
        for stride in strides:
            side = (math.ceil(side[0] / stride[0]), math.ceil(side[1] / stride[1]))
        # All cells, not their mean: where in the picture or the window something happens is what sync is about.
        self.out = nn.Linear(widths[-1] * side[0] * side[1], config.width)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return normalize(self.out(self.levels(x_BCHW).flatten(1)), dim=1)


class SyncExpert(nn.Module):
    """Two encoders, a temperature and a bias."""

    def __init__(self, config: SyncConfig) -> None:
        super().__init__()
        self.config = config
        self.eye = _Encoder(3 * config.frames, (config.side_px, config.side_px), config, (2, 2))
        # Bands are read coarsely at once: a voice's pitch is not what lips show, and the ear would cost most.
        self.ear = _Encoder(1, (config.bands, config.frames * config.columns), config, (4, 2))
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        # Right and wrong weigh the same in `pair_loss`, so 0 is where it begins: below, the first steps would only pull
        # all vectors together to say yes more often, and an expert whose vectors are all alike stays at 0.693.
        self.bias = nn.Parameter(torch.tensor(0.0))

    def see_mouths(self, mouths_BTCHW: Tensor) -> Tensor:
        """(B, D) of what `mouths` gave."""
        out: Tensor = self.eye(mouths_BTCHW.flatten(1, 2))
        return out

    def see(self, frames_BTCHW: Tensor) -> Tensor:
        """(B, D) of crops in [-1, 1], of any size; differentiable, so it may judge generated pixels."""
        # A decoder under mixed precision gives half floats, which the scaling does not know everywhere.
        small = mouths(self.config, frames_BTCHW.flatten(0, 1).float())
        return self.see_mouths(small.reshape(*frames_BTCHW.shape[:2], *small.shape[1:]))

    def hear(self, audio_BTWC: Tensor) -> Tensor:
        """(B, D) of the audio columns around each frame, as `ClipBatch` has them; mel comes first among C."""
        first = (audio_BTWC.shape[2] - self.config.columns) // 2
        middle = audio_BTWC[:, :, first : first + self.config.columns, : self.config.bands]
        out: Tensor = self.ear(middle.flatten(1, 2).transpose(1, 2)[:, None])
        return out

    def logits(self, seen_BD: Tensor, heard_BD: Tensor) -> Tensor:
        """(B, B): row sees, column hears; above 0 means in sync."""
        return self.log_scale.exp() * seen_BD @ heard_BD.T + self.bias

    def cosine(self, frames_BTCHW: Tensor, audio_BTWC: Tensor) -> Tensor:
        """(B,): each window with its own sound."""
        return (self.see(frames_BTCHW) * self.hear(audio_BTWC)).sum(dim=1)

    @torch.no_grad()
    def trace(self, frames_TCHW: Tensor, audio_TWC: Tensor) -> tuple[Tensor, Tensor]:
        """(N, D) seen and (N, D) heard by every window of a clip, N = T - frames + 1."""
        size, count = self.config.frames, len(frames_TCHW) - self.config.frames + 1
        if count < 1:
            raise RequestError(
                f"the sync expert looks at {size} frames at once", field="frames", value=len(frames_TCHW)
            )
        small = torch.cat([mouths(self.config, part) for part in torch.split(frames_TCHW, _AT_ONCE)])
        rows = torch.split(torch.arange(count)[:, None] + torch.arange(size), _AT_ONCE)
        seen = [self.see_mouths(small[part]) for part in rows]
        heard = [self.hear(audio_TWC[part]) for part in rows]
        return torch.cat(seen), torch.cat(heard)


def mouths(config: SyncConfig, frames_TCHW: Tensor) -> Tensor:
    """(T, C, side, side): the generated region of crops of any size and number format, scaled; differentiable."""
    left, top, right, bottom = mouth_box(crop_window(config.window), frames_TCHW.shape[-1])
    side = (config.side_px, config.side_px)
    # Anti-aliased: plain sampling would fold teeth and lip edges into patterns that move.
    return interpolate(frames_TCHW[..., top:bottom, left:right], side, mode="bilinear", antialias=True)


def mouth_box(window: CropWindow, size_px: int) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) in crop px of the region that is generated: fixed, so it tells nothing itself."""
    k = size_px / window.side
    left, top, right, bottom = window.mask_box
    x, y = (window.side / 2 - c for c in window.centre)
    edges = ((left + x) * k, (top + y) * k, (right + x) * k, (bottom + y) * k)
    return tuple(min(max(round(e), 0), size_px) for e in edges)  # type: ignore[return-value]


# -- losses ------------------------------------------------------------------------------------------------------------


def pair_loss(logits_BB: Tensor, *wrong_BB: Tensor) -> Tensor:
    """Every pair as a yes-or-no question: -(1/2) log s(right) - (1/2K) sum_k log(1 - s(wrong of kind k)).

    The diagonal is right. Each `wrong_BB` marks the pairs of one kind, and each kind weighs the same however few it
    has; pairs that none of them marks are held against nobody. Without any, all that is off the diagonal is wrong.
    """
    right = torch.eye(len(logits_BB), device=logits_BB.device, dtype=torch.bool)
    kinds = [kind for kind in wrong_BB or (~right,) if kind.any()]
    if not kinds:
        raise RequestError("there is no wrong pair to learn from; take more clips", field="clips")
    yes, no = -logsigmoid(logits_BB), -logsigmoid(-logits_BB)
    return 0.5 * (yes[right].mean() + torch.stack([no[kind].mean() for kind in kinds]).mean())


def sync_loss(expert: SyncExpert, frames_BTCHW: Tensor, audio_BTWC: Tensor) -> Tensor:
    """How ill generated mouths fit their sound, in [0, 1]: (1 - cosine) / 2, mean over the windows.

    Frames are consecutive crops in [-1, 1] at 25 Hz, decoded from a one-step x0 estimate; audio is `ClipBatch`'s. A
    stretch longer than the expert's window is judged in windows that overlap by half. The gradient reaches the
    pixels; the expert is judged as it is (`eval`, frozen), or the model would learn to teach it. On a real mouth the
    loss does not reach 0: compare with its value on the true frames.
    """
    size, length = expert.config.frames, frames_BTCHW.shape[1]
    if length < size:
        raise RequestError(f"the sync expert looks at {size} consecutive frames", field="frames", value=length)
    starts = sorted({*range(0, length - size + 1, max(size // 2, 1)), length - size})
    rows = torch.tensor(starts)[:, None] + torch.arange(size)
    with torch.no_grad():
        heard_BD = expert.hear(audio_BTWC[:, rows].flatten(0, 1))
    cosine = (expert.see(frames_BTCHW[:, rows].flatten(0, 1)) * heard_BD).sum(dim=1)
    return (0.5 * (1 - cosine)).mean()


# -- scores ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncScore:
    """How well a clip and its sound belong together. Distances are between unit vectors: 0 to 2."""

    offset_frames: int
    """By how many frames the sound is late (negative: early) where they fit best."""
    confidence: float
    """Best mean distance subtracted from the median one over all offsets; near 0 means that no offset fits."""
    distance: float
    """Mean distance at the best offset."""
    distance_at_zero: float
    """Mean distance as the clip is: what counts for a dubbed one."""


def score_clip(expert: SyncExpert, clip: ClipSample, offsets: Sequence[int] = OFFSETS) -> SyncScore:
    """The clip's picture against its sound; windows with a frame in which no face is seen do not count."""
    frames_TCHW, audio_TWC = clip_tensors(expert.config, clip)
    seen_ND, heard_ND = expert.trace(frames_TCHW, audio_TWC)
    whole_N = torch.from_numpy(clip.landmarks.seen()).unfold(0, expert.config.frames, 1).all(dim=1)
    return score_offsets(torch.where(whole_N[:, None], seen_ND, torch.nan), heard_ND, offsets)


def clip_tensors(config: SyncConfig, clip: ClipSample) -> tuple[Tensor, Tensor]:
    """(T, C, H, W) crops and (T, W, C) mel of a clip; refuses one that the expert was not made for."""
    check_clip(config, clip)
    mel = clip.feature("mel").at(grid(clip.times.seconds(), config.columns))
    return pictures(clip.frames), torch.from_numpy(mel)


def check_clip(config: SyncConfig, clip: ClipSample) -> None:
    """Refuses another crop window, another mel, another rate."""
    if (window := clip.transform.window.name) != config.window:
        raise RequestError(f"the sync expert looks at {config.window!r}", field="window", value=window)
    dims = {f.name: f.values.shape[1] for f in clip.features}
    if dims.get("mel") != config.bands:
        raise RequestError(f"the sync expert hears `mel` of {config.bands} channels", field="features", value=dims)
    times_s = clip.times.seconds()
    if len(times_s) > 1 and abs(np.median(np.diff(times_s)) / FRAME_S - 1) > 0.1:
        raise RequestError("the sync expert judges 25 frames a second", field="clips", value=clip.key)


def score_offsets(seen_ND: Tensor, heard_ND: Tensor, offsets: Sequence[int] = OFFSETS) -> SyncScore:
    """Compares windows a frame apart with the sound at each offset (+k: the sound of k frames later).

    Windows whose partner lies outside the clip are left out, not padded: silence is a sound of its own. So are rows of
    NaN, and offsets at which fewer than `LEAST_WINDOWS` are left.
    """
    at = {k: distance for k in offsets if (distance := _distance_at(seen_ND, heard_ND, k)) is not None}
    if 0 not in at:
        raise RequestError(
            f"{LEAST_WINDOWS} windows and offset 0 are needed for a score", field="clip", value=len(seen_ND)
        )
    best = min(at, key=lambda k: (at[k], abs(k)))
    return SyncScore(
        offset_frames=best,
        confidence=float(np.median(list(at.values()))) - at[best],
        distance=at[best],
        distance_at_zero=at[0],
    )


def _distance_at(seen_ND: Tensor, heard_ND: Tensor, offset: int) -> float | None:
    n = len(seen_ND)
    if abs(offset) >= n:
        return None
    rows = torch.arange(max(0, -offset), min(n, n - offset))
    distance = (seen_ND[rows] - heard_ND[rows + offset]).norm(dim=1)
    known = distance[~distance.isnan()]
    return float(known.mean()) if len(known) >= LEAST_WINDOWS else None
