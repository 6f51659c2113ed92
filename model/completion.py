"""Landmark completion: from speech, the pose of the target frames and a few full faces, the lips and the jaw.

What is predicted is a residual to the references' mean mouth. The crop is fitted to the upper face, so crop units
already are a face-normalised frame, and a silent network says "this person's neutral mouth".

B batch, T frames, W audio columns, C feature channels, P all points, O pose points, K content points (jaw, then lips),
N references, L tokens, D width. Landmarks are crop units in [-1, 1].
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from model.config import CompletionConfig
from model.layers import zeroed
from shards.topology import Topology

SPECTROGRAM = "mel"
"""The feature whose channels are neighbours."""


class Residual2d(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.conv = nn.GroupNorm(4, width), nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.conv(silu(self.norm(x)))
        return out


def _picture_net(width: int) -> nn.Sequential:
    """(B, 1, W, C) columns of a spectrogram -> (B, D): a residual CNN over time and frequency."""
    c = max(16, width // 8)
    return nn.Sequential(
        nn.Conv2d(1, c, 3, stride=(1, 2), padding=1),
        Residual2d(c),
        nn.Conv2d(c, 2 * c, 3, stride=2, padding=1),
        Residual2d(2 * c),
        nn.Conv2d(2 * c, 4 * c, 3, stride=2, padding=1),
        Residual2d(4 * c),
        nn.AdaptiveAvgPool2d((2, 5)),  # keeps before / after and where in the spectrum
        nn.Flatten(),
        nn.Linear(4 * c * 10, width),
    )


class Channels(nn.Module):
    """(B, W, C) columns of any feature -> (B, D): convolutions over time, whatever the order of the channels."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        c = max(32, width // 4)
        self.mix = nn.Linear(channels, c)
        self.net = nn.Sequential(
            nn.GroupNorm(1, c),
            nn.Conv1d(c, c, 5, padding=2),
            nn.SiLU(),
            nn.Conv1d(c, c, 4, stride=4),
            nn.SiLU(),
            nn.AdaptiveAvgPool1d(4),
            nn.Flatten(),
            nn.Linear(4 * c, width),
        )

    def forward(self, audio_BWC: Tensor) -> Tensor:
        out: Tensor = self.net(self.mix(audio_BWC).transpose(1, 2))
        return out


class AudioEncoder(nn.Module):
    """(B, T, W, C) columns around each frame -> (B, T, D): every feature by an encoder of its own, added up."""

    def __init__(self, width: int, features: Mapping[str, int], *, as_picture: bool) -> None:
        super().__init__()
        self.dims = list(features.values())
        self.picture_at = list(features).index(SPECTROGRAM) if as_picture and SPECTROGRAM in features else None
        self.net = None if self.picture_at is None else _picture_net(width)
        self.others = nn.ModuleDict(
            {str(i): Channels(width, dim) for i, dim in enumerate(self.dims) if i != self.picture_at}
        )

    def forward(self, audio_BTWC: Tensor) -> Tensor:
        parts = torch.split(audio_BTWC.flatten(0, 1), self.dims, dim=-1)
        heard = [self.others[name](parts[int(name)]) for name in self.others]
        if self.net is not None and self.picture_at is not None:
            heard.append(self.net(parts[self.picture_at][:, None] / 4))
        return torch.stack(heard).sum(dim=0).reshape(*audio_BTWC.shape[:2], -1)


class PointEncoder(nn.Module):
    """(..., P, 2) -> (..., D): a residual CNN along the points."""

    def __init__(self, num_points: int, width: int) -> None:
        super().__init__()
        c = max(16, width // 8)
        self.lift = nn.Conv1d(2, c, 3, padding=1)
        self.convs = nn.ModuleList(nn.Conv1d(c, c, 3, padding=1) for _ in range(2))
        self.out = nn.Linear(c * num_points, width)

    def forward(self, lm_BTP2: Tensor) -> Tensor:
        b, t = lm_BTP2.shape[:2]
        h = self.lift(lm_BTP2.flatten(0, 1).transpose(1, 2))
        for conv in self.convs:
            h = h + conv(silu(h))
        out: Tensor = self.out(h.flatten(1)).unflatten(0, (b, t))
        return out


class LandmarkCompletion(nn.Module):
    """Tokens: N references | T audio | T pose. Lips are read at the audio tokens, the jaw at the pose tokens."""

    def __init__(self, config: CompletionConfig, topology: Topology, features: Mapping[str, int]) -> None:
        super().__init__()
        self.config = config
        self.pose, self.jaw, self.lips = list(topology.pose), list(topology.jaw), list(topology.lips)
        d = config.width
        self.audio = AudioEncoder(d, features, as_picture=config.spectrogram == "picture")
        self.pose_points = PointEncoder(len(self.pose), d)
        self.reference_points = PointEncoder(topology.num_points, d)
        self.kind_3D = nn.Parameter(torch.randn(3, d) * 0.1)
        self.unseen_D = nn.Parameter(torch.zeros(d))
        layer = nn.TransformerEncoderLayer(
            d, config.heads, config.feedforward, config.dropout, "gelu", batch_first=True, norm_first=True
        )
        self.body = nn.TransformerEncoder(layer, config.layers, nn.LayerNorm(d), enable_nested_tensor=False)
        self.read_lips = zeroed(nn.Linear(d, 2 * len(self.lips)))
        self.read_jaw = zeroed(nn.Linear(d, 2 * len(self.jaw)))

    def forward(self, audio_BTWC: Tensor, lm_BTP2: Tensor, seen_BT: Tensor, ref_BNP2: Tensor) -> Tensor:
        """(B, T, P, 2): the pose points as given, lips and jaw predicted. Given lips and jaw are never looked at."""
        t, n = lm_BTP2.shape[1], ref_BNP2.shape[1]
        neutral_B1P2 = ref_BNP2.mean(dim=1, keepdim=True)

        # tokens
        steps_TD = self._steps(t, ref_BNP2)
        pose_BTD = self.pose_points(lm_BTP2[:, :, self.pose] - neutral_B1P2[:, :, self.pose])
        pose_BTD = torch.where(seen_BT[..., None], pose_BTD, self.unseen_D)
        tokens = [
            self.reference_points(ref_BNP2) + self.kind_3D[0],
            self.audio(audio_BTWC) + self.kind_3D[1] + steps_TD,
            pose_BTD + self.kind_3D[2] + steps_TD,
        ]
        h_BLD = self.body(torch.cat(tokens, dim=1))

        # residuals to the neutral face
        lips = self.read_lips(h_BLD[:, n : n + t]).unflatten(-1, (-1, 2))
        jaw = self.read_jaw(h_BLD[:, n + t :]).unflatten(-1, (-1, 2))
        out_BTP2 = lm_BTP2.clone()
        out_BTP2[:, :, self.lips] = neutral_B1P2[:, :, self.lips] + lips
        out_BTP2[:, :, self.jaw] = neutral_B1P2[:, :, self.jaw] + jaw
        return out_BTP2

    def _steps(self, t: int, like: Tensor) -> Tensor:
        """(T, D) sines and cosines of the place in the window."""
        half = self.config.width // 2
        rate = torch.exp(torch.arange(half, device=like.device) * (-math.log(1000.0) / half))
        angle = torch.arange(t, device=like.device)[:, None] * rate
        return torch.cat([angle.sin(), angle.cos()], dim=1).to(like.dtype)


def window_starts(length: int, window: int, overlap: int) -> list[int]:
    """Where windows begin: neighbours share at least `overlap` frames, and the last one ends with the sequence."""
    if length <= window:
        return [0]
    return [*range(0, length - window, window - overlap), length - window]


def complete(
    net: LandmarkCompletion, audio_TWC: Tensor, lm_TP2: Tensor, seen_T: Tensor, ref_NP2: Tensor, batch_size: int = 16
) -> Tensor:
    """(T, P, 2) for any length: windows that overlap, cross-faded where they do."""
    length, window = len(lm_TP2), net.config.window_frames
    starts = window_starts(length, window, net.config.overlap_frames)
    size = min(length, window)
    # A triangle, nowhere zero: where windows overlap their weights move linearly from one to the next.
    ramp = torch.arange(1, size + 1, device=lm_TP2.device, dtype=lm_TP2.dtype)
    weight_T = torch.minimum(ramp, ramp.flip(0))[:, None, None]
    total, weights = torch.zeros_like(lm_TP2), torch.zeros_like(lm_TP2[:, :1, :1])
    for i in range(0, len(starts), batch_size):
        part = starts[i : i + batch_size]
        cut = [slice(s, s + size) for s in part]
        out_BTP2 = net(
            torch.stack([audio_TWC[c] for c in cut]),
            torch.stack([lm_TP2[c] for c in cut]),
            torch.stack([seen_T[c] for c in cut]),
            ref_NP2.expand(len(part), -1, -1, -1),
        )
        for c, out_TP2 in zip(cut, out_BTP2, strict=True):
            total[c] += weight_T * out_TP2
            weights[c] += weight_T
    return total / weights
