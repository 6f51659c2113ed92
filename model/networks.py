"""The four networks of one model, built from its config: the one place that knows how they fit together."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from model.autoencoder import Autoencoder
from model.completion import LandmarkCompletion
from model.config import ModelConfig
from model.denoiser import Denoiser
from model.reference import ReferenceEncoder
from shards.topology import topology


class Networks(nn.Module):
    """What a checkpoint holds."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        layout = topology(config.condition.topology)
        self.autoencoder = Autoencoder(config.autoencoder)
        self.completion = LandmarkCompletion(config.completion, layout, config.condition.audio_dim)
        self.reference = ReferenceEncoder(config.autoencoder.latent_channels, config.denoiser)
        self.denoiser = Denoiser(config.autoencoder.latent_channels, layout, config.denoiser)

    def load_sources(self) -> None:
        """Takes over the pretrained weights the config names; done once, before training."""
        if self.config.autoencoder.source is not None:
            self.autoencoder.load_pretrained(Path(self.config.autoencoder.source))

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def sizes(self) -> dict[str, int]:
        """Parameters per network."""
        return {name: sum(p.numel() for p in net.parameters()) for name, net in self.named_children()}
