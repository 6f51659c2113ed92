"""What the person looks like: a copy of the U-Net's down path, run once per reference picture at t = 0.

Its features are per level, do not depend on the frame or the denoising step, and are kept for a whole title.

B batch, R references, C channels, H W cells, M tokens, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.config import DenoiserConfig
from model.layers import ResBlock, TimeEmbedding, cell_places
from model.talkformer import Tokens
from shards.errors import RequestError


class DownPath(nn.Module):
    """The convolutional half of the U-Net that goes down; one list of features per level."""

    def __init__(self, c_in: int, config: DenoiserConfig) -> None:
        super().__init__()
        widths = (config.channels[0], *config.channels)
        time = config.channels[0] * 4
        self.time = TimeEmbedding(time)
        self.conv_in = nn.Conv2d(c_in, config.channels[0], 3, padding=1)
        self.levels = nn.ModuleList(
            nn.ModuleList(
                ResBlock(widths[i] if j == 0 else widths[i + 1], widths[i + 1], time, config.norm_groups)
                for j in range(config.blocks)
            )
            for i in range(len(config.channels))
        )
        self.downs = nn.ModuleList(nn.Conv2d(c, c, 3, stride=2, padding=1) for c in config.channels[:-1])


class ReferenceEncoder(DownPath):
    """Reference latents -> tokens per level; the references of one frame are simply joined."""

    def __init__(self, latent_channels: int, config: DenoiserConfig) -> None:
        super().__init__(latent_channels, config)
        self.norms = nn.ModuleList(nn.LayerNorm(c) for c in config.channels)

    def forward(self, z_BRCHW: Tensor) -> list[Tokens]:
        b, r = z_BRCHW.shape[:2]
        if r == 0:
            raise RequestError("no reference picture: there is nothing to take the looks from", field="references")
        x = self.conv_in(z_BRCHW.flatten(0, 1))
        time_BD = self.time(torch.zeros(b * r, device=x.device))
        out: list[Tokens] = []
        for i, blocks in enumerate(self.levels):
            for block in blocks:  # type: ignore[attr-defined]
                x = block(x, time_BD)
            tokens_BMD = self.norms[i](x.flatten(2).transpose(1, 2)).unflatten(0, (b, r)).flatten(1, 2)
            place_M2 = cell_places(x.shape[2], x.shape[3], x.device).repeat(r, 1)
            out.append(Tokens(value_BMD=tokens_BMD, place_BM2=place_M2[None].expand(b, -1, -1)))
            if i < len(self.downs):
                x = self.downs[i](x)
        return out
