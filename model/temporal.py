"""Temporal attention: each cell of the picture looks at itself in the other frames of a window.

Zero-initialised, so that a model trained frame by frame starts from what it can do. Which frames make a window, and
that they share their noise, is the caller's.

V windows, T frames of one, C channels, H W cells, N = V*H*W sequences, E heads, D width.
"""

# ruff: noqa: N815  (shape suffixes)

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from model.layers import zeroed

LONGEST_FRAMES = 64.0
"""Half a wavelength of the slowest code of time, in frames: two moments further apart look alike again."""


class TemporalAttention(nn.Module):
    """Multi-head self-attention over the frames of a window, cell by cell."""

    rate_F: Tensor

    def __init__(self, width: int, head_dim: int) -> None:
        super().__init__()
        self.heads = width // head_dim
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = zeroed(nn.Linear(width, width))
        rate_F = math.pi * torch.logspace(0, math.log10(1 / LONGEST_FRAMES), head_dim // 2)
        self.register_buffer("rate_F", rate_F, persistent=False)

    def forward(self, h_BCHW: Tensor, moment_VT: Tensor) -> Tensor:
        """B = V*T, windows one after the other. A moment is a frame number at 25 Hz, NaN where nothing is to be seen.

        A frame without a moment is looked at by nobody else.
        """
        (_, c, height, width), (v, t) = h_BCHW.shape, moment_VT.shape
        cells = height * width
        x_NTC = h_BCHW.reshape(v, t, c, cells).permute(0, 3, 1, 2).reshape(v * cells, t, c)
        q, k, value = (self._split(part) for part in self.qkv(self.norm(x_NTC)).chunk(3, dim=-1))
        seen_VT = moment_VT.isfinite()
        code_N1TD = self._code(moment_VT).repeat_interleave(cells, dim=0)[:, None].to(q.dtype)
        may_VTT = seen_VT[:, None, :] | torch.eye(t, dtype=torch.bool, device=h_BCHW.device)
        may_N1TT = may_VTT.repeat_interleave(cells, dim=0)[:, None]
        seen_NETd = scaled_dot_product_attention(q + code_N1TD, k + code_N1TD, value, attn_mask=may_N1TT)
        out_NTC = self.out(seen_NETd.transpose(1, 2).flatten(-2))
        back: Tensor = out_NTC.reshape(v, cells, t, c).permute(0, 2, 3, 1).reshape(h_BCHW.shape)
        return h_BCHW + back

    def _split(self, x_NTC: Tensor) -> Tensor:
        return x_NTC.reshape(*x_NTC.shape[:2], self.heads, -1).transpose(1, 2)

    def _code(self, moment_VT: Tensor) -> Tensor:
        """(V, T, d) sines and cosines of the time since the window's first moment: a late window is as an early one."""
        first_V1 = moment_VT.nan_to_num(nan=torch.inf).amin(dim=1, keepdim=True)
        angle_VTF = (moment_VT - first_V1).nan_to_num()[..., None] * self.rate_F
        return torch.cat([angle_VTF.sin(), angle_VTF.cos()], dim=-1)
