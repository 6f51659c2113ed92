"""Pixels <-> latents of about unit spread: our light one for small presets, diffusers' `AutoencoderKL` for large ones.

Encoding is deterministic: the same picture always has the same latent. The spread is measured by stage 0 and kept
with the weights.

B batch, C channels, H W pixels or cells. Pictures are in [-1, 1].
"""

# ruff: noqa: N815  (shape suffixes)

from __future__ import annotations

from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle, silu

from model.config import AutoencoderConfig
from model.layers import zeroed
from shards.errors import RequestError

HUB = "hub:"
"""Before a source that lies on the Hugging Face hub: a name alone never leaves this machine."""


class Residual(nn.Module):
    """Two convolutions; the second starts at zero."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, width)
        self.conv_in = nn.Conv2d(width, width, 3, padding=1)
        self.conv_out = zeroed(nn.Conv2d(width, width, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.conv_out(silu(self.conv_in(silu(self.norm(x)))))
        return out


class LightAutoencoder(nn.Module):
    """Four pixels a cell along a side: a linear map of each patch, and convolutions that correct it.

    The linear part alone is a principal-component code and is learned in seconds. The convolutions start at zero and
    never work at full resolution, which is where the time of a small autoencoder goes.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        (fine, coarse), groups, c, n = config.channels, config.norm_groups, config.latent_channels, config.blocks
        self.patch_in, self.patch_out = nn.Conv2d(48, c, 1), nn.Conv2d(c, 48, 1)
        self.down = nn.Sequential(
            nn.Conv2d(12, fine, 3, padding=1),
            Residual(fine, groups),
            nn.Conv2d(fine, coarse, 3, stride=2, padding=1),
            *(Residual(coarse, groups) for _ in range(n)),
            nn.GroupNorm(groups, coarse),
            nn.SiLU(),
            zeroed(nn.Conv2d(coarse, c, 3, padding=1)),
        )
        self.up = nn.Sequential(
            nn.Conv2d(c, coarse, 3, padding=1),
            *(Residual(coarse, groups) for _ in range(n)),
            nn.Conv2d(coarse, 4 * fine, 3, padding=1),
            nn.PixelShuffle(2),
            Residual(fine, groups),
            nn.GroupNorm(groups, fine),
            nn.SiLU(),
            zeroed(nn.Conv2d(fine, 12, 3, padding=1)),
        )

    def encode(self, picture_BCHW: Tensor) -> Tensor:
        out: Tensor = self.patch_in(pixel_unshuffle(picture_BCHW, 4)) + self.down(pixel_unshuffle(picture_BCHW, 2))
        return out

    def decode(self, raw_BCHW: Tensor) -> Tensor:
        return pixel_shuffle(self.patch_out(raw_BCHW), 4) + pixel_shuffle(self.up(raw_BCHW), 2)


class KlAutoencoder(nn.Module):
    """diffusers' `AutoencoderKL`, as Stable Diffusion has it."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        levels = len(config.channels)
        self.kl = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=config.channels,
            layers_per_block=config.blocks,
            latent_channels=config.latent_channels,
            norm_num_groups=config.norm_groups,
        )

    def load_pretrained(self, source: str) -> float:
        """Takes over published weights and returns their scale; refuses another architecture."""
        found = _published(source)
        mine, theirs = self.kl.state_dict(), found.state_dict()
        if {k: v.shape for k, v in mine.items()} != {k: v.shape for k, v in theirs.items()}:
            raise RequestError("these weights have another shape", field="autoencoder.source", value=source)
        self.kl.load_state_dict(theirs)
        return float(found.config["scaling_factor"])

    def encode(self, picture_BCHW: Tensor) -> Tensor:
        mode: Tensor = self.kl.encode(picture_BCHW).latent_dist.mode()
        return mode

    def decode(self, raw_BCHW: Tensor) -> Tensor:
        picture: Tensor = self.kl.decode(raw_BCHW).sample
        return picture


def _published(source: str) -> AutoencoderKL:
    """From a folder, that of a whole Stable Diffusion included, or from the hub; safetensors only."""
    folder = _fetched(source.removeprefix(HUB)) if source.startswith(HUB) else Path(source)
    folder = folder / "vae" if (folder / "vae").is_dir() else folder
    if not (folder / "config.json").is_file():
        wanted = f"no autoencoder here; name a folder with its config.json, or {HUB}OWNER/NAME@REVISION"
        raise RequestError(wanted, field="autoencoder.source", value=source)
    try:
        found: AutoencoderKL = AutoencoderKL.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        return found
    except OSError as error:
        raise RequestError(f"no safetensors weights: {error}", field="autoencoder.source", value=source) from error


def _fetched(name: str) -> Path:
    """The repository's autoencoder in the hub's cache, fetched when it is not there and the hub may be asked."""
    repository, _, revision = name.partition("@")
    wanted = ["config.json", "*.safetensors", "vae/config.json", "vae/*.safetensors"]
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=wanted))
    except (HfHubHTTPError, LocalEntryNotFoundError, HFValidationError) as error:
        raise RequestError(
            "neither in the cache nor to be had from the hub; with HF_HUB_OFFLINE=1 it is not asked",
            field="autoencoder.source",
            value=f"{HUB}{name}",
        ) from error


class Autoencoder(nn.Module):
    """Either of them, with latents of mean 0 and spread 1 per channel."""

    mean_C: Tensor
    std_C: Tensor
    slicing: bool
    """Decode picture by picture: less memory, for pictures so large that one of them fills the machine."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.net = LightAutoencoder(config) if config.kind == "light" else KlAutoencoder(config)
        self.slicing = False
        self.register_buffer("mean_C", torch.zeros(config.latent_channels))
        self.register_buffer("std_C", torch.full((config.latent_channels,), 1 / config.latent_scale))

    def load_pretrained(self, source: str) -> None:
        """Published weights with their published scale, until stage 0 measures it on face crops."""
        if not isinstance(self.net, KlAutoencoder):
            raise RequestError("the light autoencoder has no published weights", field="autoencoder.source")
        scale = self.net.load_pretrained(source)
        self.mean_C.zero_()
        self.std_C.fill_(1 / scale)

    def encode(self, picture_BCHW: Tensor) -> Tensor:
        """The normalised latent the denoiser works on."""
        return (self.net.encode(picture_BCHW) - self.mean_C[:, None, None]) / self.std_C[:, None, None]

    def decode(self, z_BCHW: Tensor) -> Tensor:
        raw_BCHW = z_BCHW * self.std_C[:, None, None] + self.mean_C[:, None, None]
        if self.slicing and not self.training:
            return torch.cat([self.net.decode(one_1CHW) for one_1CHW in torch.split(raw_BCHW, 1)])
        return self.net.decode(raw_BCHW)

    def roundtrip(self, picture_BCHW: Tensor, noise_BCHW: Tensor) -> Tensor:
        """There and back with noise on the latent, in shares of its spread: what stage 0 trains.

        The noise stands for what the denoiser will get wrong; without it neighbouring latents decode to strangers.
        """
        raw_BCHW = self.net.encode(picture_BCHW)
        spread = raw_BCHW.detach().std(dim=(2, 3), keepdim=True)  # a picture's own, whatever is beside it
        return self.net.decode(raw_BCHW + spread * noise_BCHW)

    @torch.no_grad()
    def measure_scale(self, picture_BCHW: Tensor) -> None:
        """Sets the normalisation from real pictures: many, or its error becomes the denoiser's."""
        raw_BCHW = self.net.encode(picture_BCHW)
        self.mean_C.copy_(raw_BCHW.mean(dim=(0, 2, 3)))
        self.std_C.copy_(raw_BCHW.std(dim=(0, 2, 3)).clamp_min(1e-4))
