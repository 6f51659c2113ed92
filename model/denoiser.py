"""The latent U-Net: plain residual blocks, with a TalkFormer at the levels the config names.

Input is z_t (+) mask (+) latent of the masked source. What is outside the mask is context, not to be changed.

B batch, C channels, H W cells, P points, W audio columns, G drawn groups, V windows of T frames (B = V*T).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pixel_unshuffle, silu
from torch.utils.checkpoint import checkpoint

from model.config import DenoiserConfig
from model.layers import ResBlock, cell_places, zeroed
from model.reference import DownPath
from model.talkformer import AudioEmbed, LandmarkEmbed, TalkFormer, Tokens
from shards.errors import RequestError
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
    """(z_t, mask, masked source, t, what is said, reference features) -> prediction of the same shape as z_t."""

    def __init__(
        self, latent_channels: int, topology: Topology, config: DenoiserConfig, audio_dim: int | None = None
    ) -> None:
        super().__init__(2 * latent_channels + 1, config)
        self.config = config
        self.checkpointing = False
        self.points = list(range(topology.num_points) if config.landmarks == "full" else topology.content)
        self.told_shape = (topology.num_points, 2)
        if config.landmarks == "audio":
            if audio_dim is None:
                raise RequestError("a denoiser that reads audio is built with the features' width", field="landmarks")
            self.landmarks: LandmarkEmbed | AudioEmbed = AudioEmbed(audio_dim, config.landmark_width)
        else:
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
        told: Tensor,
        references: list[Tokens],
        motion_scale: Tensor | float = 1.0,
        appearance_scale: Tensor | float = 1.0,
        moment_VT: Tensor | None = None,
    ) -> Tensor:
        """A scale of 0 is the model without that attention: per item in training, for guidance in sampling.

        `told` is (B, P, 2) landmarks, or (B, W, C) audio columns where the config says that audio takes their place.
        With temporal attention, `moment_VT` says which items are one window, and when each is; without it every frame
        stands alone.
        """
        self._check(z_BCHW, told, references, moment_VT)
        ones_B = z_BCHW.new_ones(len(z_BCHW))
        scales = (ones_B * motion_scale, ones_B * appearance_scale)
        tokens = self.landmarks(told[:, self.points] if isinstance(self.landmarks, LandmarkEmbed) else told)
        time_BD = self.time(t_B)
        if moment_VT is None:
            moment_VT = z_BCHW.new_zeros(len(z_BCHW), 1)

        def talk(block: nn.Module, x: Tensor, level: int) -> Tensor:
            return self._run(block, x, tokens, references[level], scales, moment_VT)

        # in
        x = self.conv_in(torch.cat([z_BCHW, mask_B1HW, source_BCHW], dim=1))
        if self.landmark_map is not None:
            x = x + scales[0][:, None, None, None] * self.landmark_map(told, *x.shape[-2:])

        # down
        kept: list[Tensor] = []
        for i, blocks in enumerate(self.levels):
            for block in blocks:  # type: ignore[attr-defined]
                x = self._run(block, x, time_BD)
            if str(i) in self.talk_down:
                x = talk(self.talk_down[str(i)], x, i)
            kept.append(x)
            x = self.downs[i](x) if i < len(self.downs) else x

        # middle
        x = self._run(self.middle[0], x, time_BD)
        x = talk(self.talk_middle, x, -1)
        x = self._run(self.middle[1], x, time_BD)

        # up
        for i in reversed(range(len(self.up_levels))):
            x = torch.cat([x, kept[i]], dim=1)
            for block in self.up_levels[i]:  # type: ignore[attr-defined]
                x = self._run(block, x, time_BD)
            if str(i) in self.talk_up:
                x = talk(self.talk_up[str(i)], x, i)
            if i > 0:
                x = self.ups[i - 1](interpolate(x, scale_factor=2.0, mode="nearest"))

        # out
        out: Tensor = self.conv_out(silu(self.norm_out(x)))
        return out

    def _run(self, block: nn.Module, *given: Any) -> Tensor:
        """The block; with checkpointing its inner activations are computed again in the backward pass, not kept."""
        if self.checkpointing and torch.is_grad_enabled():
            again: Tensor = checkpoint(block, *given, use_reentrant=False)
            return again
        out: Tensor = block(*given)
        return out

    def _check(self, z_BCHW: Tensor, told: Tensor, references: list[Tokens], moment_VT: Tensor | None) -> None:
        """Refuses by name what would otherwise fail deep inside, or be broadcast in silence."""
        b = len(z_BCHW)
        if isinstance(self.landmarks, AudioEmbed):
            told_fits = told.dim() == 3 and told.shape[0] == b and told.shape[2] == self.landmarks.lift.in_features
        else:
            told_fits = told.shape == (b, *self.told_shape)
        if not told_fits:
            wanted = "(batch, columns, channels) of audio" if self.config.landmarks == "audio" else self.told_shape
            raise RequestError(f"each of {b} items is told {wanted}", field="told", value=tuple(told.shape))
        if len(references) != len(self.levels) or any(b % max(len(r.value_BMD), 1) for r in references):
            raise RequestError(
                f"reference features of {len(self.levels)} levels, for all items or for equal runs of them",
                field="references",
                value=[tuple(r.value_BMD.shape) for r in references],
            )
        if moment_VT is not None and moment_VT.numel() != b:
            raise RequestError(f"one moment for each of {b} items", field="moment", value=tuple(moment_VT.shape))
