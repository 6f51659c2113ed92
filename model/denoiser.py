"""The latent U-Net: plain residual blocks, with a TalkFormer at the levels the config names.

Input is z_t (+) mask (+) latent of the masked source. What is outside the mask is context, not to be changed.

B batch, C channels, H W cells, P points, G drawn groups.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pixel_unshuffle, silu

from model.config import DenoiserConfig
from model.layers import ResBlock, cell_places, zeroed
from model.reference import DownPath
from model.talkformer import LandmarkEmbed, TalkFormer, Tokens
from shards.topology import Topology


class LandmarkMap(nn.Module):
    """Lips and jaw drawn as soft dots, twice as fine as the latent; differentiable in the points."""

    def __init__(self, topology: Topology, width: int) -> None:
        super().__init__()
        self.groups = (topology.lips_outer, topology.lips_inner, topology.jaw)
        self.conv = zeroed(nn.Conv2d(4 * len(self.groups), width, 3, padding=1))

    def forward(self, lm_BP2: Tensor, height: int, width: int) -> Tensor:
        cells_L2 = cell_places(2 * height, 2 * width, lm_BP2.device)
        drawn = []
        for group in self.groups:
            far_BLP = torch.cdist(cells_L2[None], lm_BP2[:, list(group)]) * width
            drawn.append(torch.exp(-0.5 * far_BLP.amin(dim=2).square() / 0.5**2))
        map_BGHW = torch.stack(drawn, dim=1).reshape(len(lm_BP2), -1, 2 * height, 2 * width)
        out: Tensor = self.conv(pixel_unshuffle(map_BGHW, 2))
        return out


class Denoiser(DownPath):
    """(z_t, mask, masked source, t, landmarks, reference features) -> prediction of the same shape as z_t."""

    def __init__(self, latent_channels: int, topology: Topology, config: DenoiserConfig) -> None:
        super().__init__(2 * latent_channels + 1, config)
        self.config = config
        self.points = list(range(topology.num_points) if config.landmarks == "full" else topology.content)
        self.landmarks = LandmarkEmbed(len(self.points), config.landmark_width, config.head_dim)
        self.landmark_map = LandmarkMap(topology, config.channels[0]) if config.landmark_map else None
        channels, time, groups = config.channels, config.channels[0] * 4, config.norm_groups
        self.talk_down = self._talkformers()
        self.talk_up = self._talkformers()
        self.middle = nn.ModuleList(ResBlock(channels[-1], channels[-1], time, groups) for _ in range(2))
        self.talk_middle = TalkFormer(channels[-1], config)
        self.up_levels = nn.ModuleList(
            nn.ModuleList(
                ResBlock((2 if j == 0 else 1) * channels[i], channels[i], time, groups) for j in range(config.blocks)
            )
            for i in range(len(channels))
        )
        self.ups = nn.ModuleList(
            nn.Conv2d(channels[i + 1], channels[i], 3, padding=1) for i in range(len(channels) - 1)
        )
        self.norm_out = nn.GroupNorm(groups, channels[0])
        self.conv_out = zeroed(nn.Conv2d(channels[0], latent_channels, 3, padding=1))

    def _talkformers(self) -> nn.ModuleDict:
        levels = enumerate(zip(self.config.channels, self.config.attention, strict=True))
        return nn.ModuleDict({str(i): TalkFormer(c, self.config) for i, (c, there) in levels if there})

    def forward(
        self,
        z_BCHW: Tensor,
        mask_B1HW: Tensor,
        source_BCHW: Tensor,
        t_B: Tensor,
        lm_BP2: Tensor,
        references: list[Tokens],
        motion_scale: Tensor | float = 1.0,
        appearance_scale: Tensor | float = 1.0,
    ) -> Tensor:
        """A scale of 0 is the model without that attention: per item in training, for guidance in sampling."""
        ones_B = z_BCHW.new_ones(len(z_BCHW))
        scales = (ones_B * motion_scale, ones_B * appearance_scale)
        landmarks = self.landmarks(lm_BP2[:, self.points])
        time_BD = self.time(t_B)

        # in
        x = self.conv_in(torch.cat([z_BCHW, mask_B1HW, source_BCHW], dim=1))
        if self.landmark_map is not None:
            x = x + scales[0][:, None, None, None] * self.landmark_map(lm_BP2, *x.shape[-2:])

        # down
        kept: list[Tensor] = []
        for i, blocks in enumerate(self.levels):
            for block in blocks:  # type: ignore[attr-defined]
                x = block(x, time_BD)
            if str(i) in self.talk_down:
                x = self.talk_down[str(i)](x, landmarks, references[i], scales)
            kept.append(x)
            x = self.downs[i](x) if i < len(self.downs) else x

        # middle
        x = self.middle[0](x, time_BD)
        x = self.talk_middle(x, landmarks, references[-1], scales)
        x = self.middle[1](x, time_BD)

        # up
        for i in reversed(range(len(self.up_levels))):
            x = torch.cat([x, kept[i]], dim=1)
            for block in self.up_levels[i]:  # type: ignore[attr-defined]
                x = block(x, time_BD)
            if str(i) in self.talk_up:
                x = self.talk_up[str(i)](x, landmarks, references[i], scales)
            if i > 0:
                x = self.ups[i - 1](interpolate(x, scale_factor=2.0, mode="nearest"))

        # out
        out: Tensor = self.conv_out(silu(self.norm_out(x)))
        return out
