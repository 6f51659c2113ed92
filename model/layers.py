"""Small pieces that several networks share: residual block, time embedding, the code of a place in the picture.

B batch, C channels, H W cells, L tokens, D width, F frequencies. Places are in crop units, [-1, 1] from edge to edge.
"""

# ruff: noqa: N815  (shape suffixes)

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def zeroed(module: nn.Module) -> nn.Module:
    """The module with all parameters at zero: what is new starts as a no-op."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


class TimeEmbedding(nn.Module):
    """Diffusion step -> (B, D)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t_B: Tensor) -> Tensor:
        half = self.width // 2
        rate_F = torch.exp(torch.arange(half, device=t_B.device) * (-math.log(10_000.0) / half))
        angle_BF = t_B.float()[:, None] * rate_F
        code_BD = torch.cat([angle_BF.sin(), angle_BF.cos()], dim=1)
        out: Tensor = self.mlp(code_BD)
        return out


class ResBlock(nn.Module):
    """Two convolutions; the time embedding scales and shifts in between; the second convolution starts at zero."""

    def __init__(self, c_in: int, c_out: int, time_width: int, groups: int) -> None:
        super().__init__()
        self.norm_in, self.norm_out = nn.GroupNorm(groups, c_in), nn.GroupNorm(groups, c_out)
        self.conv_in = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.time = nn.Linear(time_width, 2 * c_out)
        self.conv_out = zeroed(nn.Conv2d(c_out, c_out, 3, padding=1))
        self.skip = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()
        self.act = nn.SiLU()

    def forward(self, x_BCHW: Tensor, time_BD: Tensor) -> Tensor:
        h = self.conv_in(self.act(self.norm_in(x_BCHW)))
        scale, shift = self.time(self.act(time_BD))[:, :, None, None].chunk(2, dim=1)
        h = self.conv_out(self.act(self.norm_out(h) * (1 + scale) + shift))
        out: Tensor = self.skip(x_BCHW) + h
        return out


class PlaceCode(nn.Module):
    """(..., 2) places -> (..., 4F) sines and cosines.

    The dot product of two codes is largest where the places meet. Cells, landmarks and reference cells share the
    code, so every attention starts out looking at what is near and learns the rest.
    """

    rate_F: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        num = dim // 4
        # Wavelengths from 4 (twice the picture) down to an eighth of it: finer would alias at 16 cells.
        octaves = torch.linspace(0, 4, num) if num > 1 else torch.zeros(1)
        self.register_buffer("rate_F", (math.pi / 2) * 2**octaves, persistent=False)

    def forward(self, place_2: Tensor) -> Tensor:
        angle = (place_2[..., None] * self.rate_F).flatten(-2)
        return torch.cat([angle.sin(), angle.cos()], dim=-1)


def cell_places(height: int, width: int, device: torch.device) -> Tensor:
    """(H*W, 2): the centre of each cell, row by row."""
    y = (torch.arange(height, device=device) + 0.5) / height * 2 - 1
    x = (torch.arange(width, device=device) + 0.5) / width * 2 - 1
    return torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1).flip(-1).reshape(-1, 2)
