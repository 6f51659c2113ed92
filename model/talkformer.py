"""TalkFormer: how the picture listens to the target landmarks and looks at the references.

    x = x + SelfAttn(x)
    h = x + CrossAttn(q = x, kv = landmarks)            motion alignment,     F_h
    y = h + CrossAttn(q = h, kv = reference features)   appearance alignment, F_a: an implicit warp, no optical flow
    y = y + FFN(y)

B batch, L queries, M keys, D width, E heads, P points, C channels, H W cells. Places are crop units in [-1, 1].
"""

# ruff: noqa: N815  (shape suffixes)

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, silu

from model.config import DenoiserConfig
from model.layers import PlaceCode, cell_places, zeroed


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tokens:
    """Something to attend to. A smaller batch serves a larger one: neighbouring items share the same tokens."""

    value_BMD: Tensor
    place_BM2: Tensor
    """Where each token lies in the crop."""


class LandmarkEmbed(nn.Module):
    """Landmarks -> tokens: place, learned point identity, then a 1-D convolution along the contour."""

    def __init__(self, num_points: int, width: int, place_dim: int) -> None:
        super().__init__()
        self.place = PlaceCode(place_dim)
        self.lift = nn.Linear(2 + place_dim, width)
        self.point_PD = nn.Parameter(torch.randn(num_points, width) * 0.5)
        self.convs = nn.ModuleList(nn.Conv1d(width, width, 3, padding=1) for _ in range(2))
        self.norm = nn.LayerNorm(width)

    def forward(self, lm_BP2: Tensor) -> Tokens:
        h_BPD = self.lift(torch.cat([lm_BP2, self.place(lm_BP2)], dim=-1)) + self.point_PD
        h_BDP = h_BPD.transpose(1, 2)
        for conv in self.convs:
            h_BDP = h_BDP + silu(conv(h_BDP))
        return Tokens(value_BMD=self.norm(h_BDP.transpose(1, 2)), place_BM2=lm_BP2)


class Attention(nn.Module):
    """Multi-head attention in which queries and keys also carry where they are."""

    def __init__(self, width: int, kv_width: int, head_dim: int, *, nearness: float) -> None:
        super().__init__()
        self.heads = width // head_dim
        self.norm = nn.LayerNorm(width)
        self.q = nn.Linear(width, width, bias=False)
        self.kv = nn.Linear(kv_width, 2 * width, bias=False)
        self.out = zeroed(nn.Linear(width, width))
        self.place = PlaceCode(head_dim)
        # How much place weighs against content, per head; learned from a start that favours what is near.
        self.nearness_E = nn.Parameter(torch.full((self.heads,), nearness))

    def _split(self, x_BLD: Tensor) -> Tensor:
        return x_BLD.reshape(*x_BLD.shape[:2], self.heads, -1).transpose(1, 2)

    def forward(self, x_BLD: Tensor, place_L2: Tensor, to: Tokens | None = None) -> Tensor:
        q_BLD = self.norm(x_BLD)
        kv_BMD = q_BLD if to is None else to.value_BMD
        place_q = self.place(place_L2)
        place_k = place_q if to is None else self.place(to.place_BM2)[:, None]
        k, v = (self._split(part) for part in self.kv(kv_BMD).chunk(2, dim=-1))
        q = self._split(self.q(q_BLD)) + self.nearness_E[:, None, None] * place_q
        k = k + self.nearness_E[:, None, None] * place_k
        if (shared := len(q) // len(k)) > 1:
            k, v = (part.repeat_interleave(shared, dim=0) for part in (k, v))
        seen_BELd = scaled_dot_product_attention(q, k, v)
        out: Tensor = self.out(seen_BELd.transpose(1, 2).flatten(-2))
        return out


class TalkFormer(nn.Module):
    """The block. Each of its four outputs starts at zero: at first the U-Net does not know it is there."""

    def __init__(self, width: int, config: DenoiserConfig) -> None:
        super().__init__()
        self.own = Attention(width, width, config.head_dim, nearness=0.5)
        self.motion: Attention | None = None
        self.appearance: Attention | None = None
        if config.motion_attention:
            self.motion = Attention(width, config.landmark_width, config.head_dim, nearness=1.5)
        if config.appearance_attention:
            self.appearance = Attention(width, width, config.head_dim, nearness=1.5)
        self.ffn = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), zeroed(nn.Linear(2 * width, width))
        )

    def forward(
        self, h_BCHW: Tensor, landmarks: Tokens, reference: Tokens | None, scale_B: tuple[Tensor, Tensor]
    ) -> Tensor:
        motion_B, appearance_B = (s[:, None, None] for s in scale_B)
        place_L2 = cell_places(h_BCHW.shape[2], h_BCHW.shape[3], h_BCHW.device)
        x = h_BCHW.flatten(2).transpose(1, 2)
        x = x + self.own(x, place_L2)
        if self.motion is not None:
            x = x + motion_B * self.motion(x, place_L2, landmarks)
        if self.appearance is not None and reference is not None:
            x = x + appearance_B * self.appearance(x, place_L2, reference)
        x = x + self.ffn(x)
        out: Tensor = x.transpose(1, 2).reshape(h_BCHW.shape)
        return out
