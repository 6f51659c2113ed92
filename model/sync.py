"""The sync expert: do these mouths say this? Filters data, supervises the joint stage in pixels, scores output.

Sixteen frames of the mouth and the mel columns around them each become one unit vector; their cosine says how well
they belong together. All pairs of a batch are judged at once, as independent yes-or-no questions with a learned
temperature and bias: with far more wrong pairs than right ones, a plain cross-entropy on the cosine would sit at
0.693 and learn nothing.

B windows, T frames, C H W picture, W audio columns of a frame, D width; N windows a frame apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import interpolate, logsigmoid, normalize

from model.config import Config
from shards.crop import CropWindow, crop_window

STUCK_AT = math.log(2)
"""The loss of an expert that knows nothing: at this value after many steps, the clips are not in sync."""


class SyncConfig(Config):
    """What the expert looks at, and how large it is."""

    frames: int = Field(16, ge=5, description="frames of a window, at 25 Hz")
    columns: int = Field(4, ge=1, description="audio columns taken of each frame; 80 Hz has 3.2 of them a frame")
    bands: int = Field(80, ge=1, description="channels of an audio column")
    window: str = Field("lower_face", description="what the crop shows; see shards/crop.py")
    side_px: int = Field(48, multiple_of=16, description="the generated region of the crop is scaled to this square")
    channels: tuple[int, ...] = Field((48, 96, 192), min_length=1, description="per level of either encoder")
    width: int = Field(256, description="D, length of the vectors")
    norm_groups: int = Field(8, ge=1)


class _Level(nn.Sequential):
    """Half the side, then a residual convolution."""

    def __init__(self, c_in: int, c_out: int, groups: int) -> None:
        super().__init__(
            nn.Conv2d(c_in, c_out, 3, stride=2, padding=1),
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

    def __init__(self, c_in: int, side: tuple[int, int], config: SyncConfig) -> None:
        super().__init__()
        widths = (c_in, *config.channels)
        self.levels = nn.Sequential(*(_Level(a, b, config.norm_groups) for a, b in pairwise(widths)))
        cells = math.prod(math.ceil(s / 2 ** len(config.channels)) for s in side)
        # All cells, not their mean: where in the picture or the window something happens is what sync is about.
        self.out = nn.Linear(widths[-1] * cells, config.width)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return normalize(self.out(self.levels(x_BCHW).flatten(1)), dim=1)


class SyncExpert(nn.Module):
    """Two encoders and a temperature."""

    def __init__(self, config: SyncConfig) -> None:
        super().__init__()
        self.config = config
        self.eye = _Encoder(3 * config.frames, (config.side_px, config.side_px), config)
        self.ear = _Encoder(1, (config.bands, config.frames * config.columns), config)
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.bias = nn.Parameter(torch.tensor(-5.0))

    def see(self, frames_BTCHW: Tensor) -> Tensor:
        """(B, D) of crops in [-1, 1], of any size; differentiable, so it may judge generated pixels."""
        b, t = frames_BTCHW.shape[:2]
        box = mouth_box(crop_window(self.config.window), frames_BTCHW.shape[-1])
        left, top, right, bottom = box
        mouths = frames_BTCHW[..., top:bottom, left:right].flatten(0, 1)
        side = self.config.side_px
        # Area sampling when shrinking: anything else folds teeth and lip edges into moving patterns.
        small = interpolate(mouths, (side, side), mode="area") if mouths.shape[-1] > side else _grown(mouths, side)
        out: Tensor = self.eye(small.reshape(b, t * 3, side, side))
        return out

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


def pair_loss(logits_BB: Tensor, same_BB: Tensor | None = None) -> Tensor:
    """Every pair as a yes-or-no question; right and wrong pairs weigh the same in all.

    `same_BB` marks pairs that must not be held against anybody (windows that overlap); the diagonal is right.
    """
    right = torch.eye(len(logits_BB), device=logits_BB.device, dtype=torch.bool)
    wrong = ~right if same_BB is None else ~(right | same_BB)
    yes, no = -logsigmoid(logits_BB), -logsigmoid(-logits_BB)
    return 0.5 * (yes[right].mean() + no[wrong].mean())


def mouth_box(window: CropWindow, size_px: int) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) in crop px of the region that is generated: fixed, so it tells nothing itself."""
    k = size_px / window.side
    left, top, right, bottom = window.mask_box
    x, y = (window.side / 2 - c for c in window.centre)
    edges = ((left + x) * k, (top + y) * k, (right + x) * k, (bottom + y) * k)
    return tuple(min(max(round(e), 0), size_px) for e in edges)  # type: ignore[return-value]


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncScore:
    """How well a clip and its sound belong together."""

    offset_frames: int
    """By how many frames the sound is late (negative: early) where they fit best."""
    confidence: float
    """Best mean distance subtracted from the median one over all offsets; near 0 means that no offset fits."""
    distance: float
    """Mean distance at the best offset."""
    distance_at_zero: float
    """Mean distance as the clip is: what counts for a dubbed one."""


def score_offsets(seen_ND: Tensor, heard_ND: Tensor, offsets: Sequence[int]) -> SyncScore:
    """Compares windows a frame apart with the sound at each offset (+k: the sound of k frames later).

    Windows whose partner lies outside the clip are left out, not padded: silence is a sound of its own.
    """
    distances = torch.stack([_distance_at(seen_ND, heard_ND, k) for k in offsets])
    best = int(distances.argmin())
    zero = float(distances[list(offsets).index(0)])
    return SyncScore(
        offset_frames=offsets[best],
        confidence=float(distances.median() - distances[best]),
        distance=float(distances[best]),
        distance_at_zero=zero,
    )


def _distance_at(seen_ND: Tensor, heard_ND: Tensor, offset: int) -> Tensor:
    n = len(seen_ND)
    rows = torch.arange(max(0, -offset), min(n, n - offset))
    distance: Tensor = (seen_ND[rows] - heard_ND[rows + offset]).norm(dim=1).mean()
    return distance


def _grown(mouths: Tensor, side: int) -> Tensor:
    return interpolate(mouths, (side, side), mode="bilinear", align_corners=False)
