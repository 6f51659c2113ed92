"""TalkFormer: how the picture listens to the target landmarks and looks at the references.

    x = x + SelfAttn(x)
    h = x + CrossAttn(q = x, kv = landmarks)            motion alignment,     F_h
    y = h + CrossAttn(q = h, kv = reference features)   appearance alignment, F_a: an implicit warp, no optical flow
    y = y + FFN(y)
    y = y + TemporalAttn(y)                             across the frames of a window, where the config has it

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
from model.temporal import TemporalAttention


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


class AudioEmbed(nn.Module):
    """Audio columns around a frame -> tokens: the direct mapping the paper argues against, kept to be measured."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.lift = nn.Linear(channels, width)
        self.place = PlaceCode(width)
        self.convs = nn.ModuleList(nn.Conv1d(width, width, 3, padding=1) for _ in range(2))
        self.norm = nn.LayerNorm(width)

    def forward(self, audio_BWC: Tensor) -> Tokens:
        b, w = audio_BWC.shape[:2]
        moment_W2 = torch.linspace(-1, 1, w, device=audio_BWC.device)[:, None].expand(-1, 2)
        h_BDW = (self.lift(audio_BWC / 4) + self.place(moment_W2)).transpose(1, 2)
        for conv in self.convs:
            h_BDW = h_BDW + silu(conv(h_BDW))
        # Sound has no place in the picture: the same one for all tokens weighs the same for all.
        place_BW2 = audio_BWC.new_zeros(b, w, 2)
        return Tokens(value_BMD=self.norm(h_BDW.transpose(1, 2)), place_BM2=place_BW2)


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
        q, k, v = self._queries_keys_values(x_BLD, place_L2, to)
        seen_BELd = scaled_dot_product_attention(q, k, v)
        out: Tensor = self.out(seen_BELd.transpose(1, 2).flatten(-2))
        return out

    def looks_at(self, x_BLD: Tensor, place_L2: Tensor, to: Tokens) -> Tensor:
        """(B, L, 2): the mean place each query looks at, over tokens and heads: the implicit warp, made visible."""
        q, k, _ = self._queries_keys_values(x_BLD, place_L2, to)
        place_BM2 = to.place_BM2.repeat_interleave(len(q) // len(to.place_BM2), dim=0)
        return scaled_dot_product_attention(q, k, place_BM2[:, None].expand(-1, self.heads, -1, -1)).mean(dim=1)

    def _queries_keys_values(self, x_BLD: Tensor, place_L2: Tensor, to: Tokens | None) -> tuple[Tensor, Tensor, Tensor]:
        """(B, E, L or M, d) each."""
        q_BLD = self.norm(x_BLD)
        kv_BMD = q_BLD if to is None else to.value_BMD
        place_q = self.place(place_L2)
        place_k = place_q if to is None else self.place(to.place_BM2)[:, None]
        k, v = (self._split(part) for part in self.kv(kv_BMD).chunk(2, dim=-1))
        q = self._split(self.q(q_BLD)) + self.nearness_E[:, None, None] * place_q
        k = k + self.nearness_E[:, None, None] * place_k
        if (shared := len(q) // len(k)) > 1:
            k, v = (part.repeat_interleave(shared, dim=0) for part in (k, v))
        return q, k, v


class TalkFormer(nn.Module):
    """The block. Each of its outputs starts at zero: at first the U-Net does not know it is there."""

    def __init__(self, width: int, config: DenoiserConfig) -> None:
        super().__init__()
        self.own = Attention(width, width, config.head_dim, nearness=0.5)
        self.motion: Attention | None = None
        self.appearance: Attention | None = None
        self.temporal: TemporalAttention | None = None
        if config.motion_attention:
            self.motion = Attention(width, config.landmark_width, config.head_dim, nearness=1.5)
        if config.appearance_attention:
            self.appearance = Attention(width, width, config.head_dim, nearness=1.5)
        self.ffn = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), zeroed(nn.Linear(2 * width, width))
        )
        if config.temporal_attention:
            self.temporal = TemporalAttention(width, config.head_dim)

    def forward(
        self,
        h_BCHW: Tensor,
        landmarks: Tokens,
        reference: Tokens,
        scale_B: tuple[Tensor, Tensor],
        moment_VT: Tensor | None = None,
    ) -> Tensor:
        motion_B, appearance_B = (s[:, None, None] for s in scale_B)
        place_L2 = cell_places(h_BCHW.shape[2], h_BCHW.shape[3], h_BCHW.device)
        x = h_BCHW.flatten(2).transpose(1, 2)
        x = x + self.own(x, place_L2)
        if self.motion is not None:
            x = x + motion_B * self.motion(x, place_L2, landmarks)
        if self.appearance is not None:
            x = x + appearance_B * self.appearance(x, place_L2, reference)
        x = x + self.ffn(x)
        y_BCHW: Tensor = x.transpose(1, 2).reshape(h_BCHW.shape)
        if self.temporal is not None:
            y_BCHW = self.temporal(y_BCHW, h_BCHW.new_zeros(len(h_BCHW), 1) if moment_VT is None else moment_VT)
        return y_BCHW
