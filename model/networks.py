"""The four networks of one model, built from its config: the one place that knows how they fit together."""

from __future__ import annotations

import logging
from typing import Self

import torch
from torch import nn

from model.autoencoder import Autoencoder
from model.completion import LandmarkCompletion
from model.config import ModelConfig
from model.denoiser import Denoiser
from model.reference import ReferenceEncoder
from model.stable_diffusion import load_unet
from shards.errors import RequestError
from shards.topology import topology

log = logging.getLogger(__name__)

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Precisions a model can be held in, by the names the commands use."""


class Networks(nn.Module):
    """What a checkpoint holds."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        condition, latent = config.condition, config.autoencoder.latent_channels
        layout = topology(condition.topology)
        self.autoencoder = Autoencoder(config.autoencoder)
        self.completion = LandmarkCompletion(config.completion, layout, condition.dims)
        self.reference = ReferenceEncoder(latent, config.denoiser)
        self.denoiser = Denoiser(latent, layout, config.denoiser, condition.audio_dim)

    def load_sources(self) -> None:
        """Takes over the pretrained weights the config names; done once, before training."""
        if (source := self.config.autoencoder.source) is not None:
            self.autoencoder.load_pretrained(source)
        if (source := self.config.denoiser.source) is not None:
            report = load_unet(self.denoiser, self.reference, source, prediction=self.config.diffusion.prediction)
            log.info("%s", report)

    def to(self, device: object = None, dtype: torch.dtype | None = None) -> Self:  # type: ignore[override]
        """Moves all; `dtype` is taken by the convolutions and linear maps of the three networks of the picture.

        Norms, places and scales stay float32: they are small, and half precision would move where a landmark lies.
        So does completion, for the same reason.
        """
        if isinstance(device, torch.dtype):
            device, dtype = None, device
        if dtype is not None and dtype not in DTYPES.values():
            raise RequestError("no precision for a model", field="dtype", value=str(dtype), choices=map(str, DTYPES))
        if device is not None:
            super().to(device=device)  # type: ignore[call-overload]
        if dtype is not None:
            for net in (self.autoencoder, self.reference, self.denoiser):
                for part in net.modules():
                    if isinstance(part, nn.Linear | nn.Conv1d | nn.Conv2d):
                        part.to(dtype=dtype)
        return self

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights that are the bulk of it."""
        return self.denoiser.conv_in.weight.dtype

    def sizes(self) -> dict[str, int]:
        """Parameters per network."""
        return {name: sum(p.numel() for p in net.parameters()) for name, net in self.named_children()}
