"""Noise to latent: diffusers' schedulers and one loop. It knows no network: `predict` is any function.

B batch, C channels, H W cells.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from torch import Tensor

from model.config import DiffusionConfig
from shards.errors import RequestError

Predict = Callable[[Tensor, Tensor], Tensor]
"""(z_t, t of each item) -> what the config's `prediction` says."""


def forward_process(config: DiffusionConfig) -> Any:
    """Adds noise, and says what v is."""
    return DDPMScheduler(**_shared(config))


def sampler(config: DiffusionConfig) -> Any:
    """The backward process of the config; trailing steps, so that few of them still begin at pure noise."""
    if config.sampler == "ddim":
        return DDIMScheduler(**_shared(config), clip_sample=False, timestep_spacing="trailing")
    return DPMSolverMultistepScheduler(
        **_shared(config), algorithm_type="dpmsolver++", timestep_spacing="trailing", final_sigmas_type="zero"
    )


def _shared(config: DiffusionConfig) -> dict[str, Any]:
    return {
        "num_train_timesteps": config.num_steps,
        "beta_start": config.beta_start,
        "beta_end": config.beta_end,
        "beta_schedule": "scaled_linear",
        "prediction_type": config.prediction,
    }


def target(process: Any, config: DiffusionConfig, z: Tensor, noise: Tensor, t_B: Tensor) -> Tensor:
    """What the denoiser should say at step t."""
    if config.prediction == "epsilon":
        return noise
    if config.prediction == "sample":
        return z
    velocity: Tensor = process.get_velocity(z, noise, t_B)
    return velocity


def estimate(process: Any, config: DiffusionConfig, z_t: Tensor, said: Tensor, t_B: Tensor) -> Tensor:
    """The clean latent in one step from what the denoiser said at t: `target`, solved for z."""
    if config.prediction == "sample":
        return said
    a_B111: Tensor = process.alphas_cumprod.to(z_t.device)[t_B][:, None, None, None]
    if config.prediction == "epsilon":
        return (z_t - (1 - a_B111).sqrt() * said) / a_B111.sqrt()
    return a_B111.sqrt() * z_t - (1 - a_B111).sqrt() * said


def signal_to_noise(process: Any, t_B: Tensor) -> Tensor:
    """(B,) variance of the signal over that of the noise in z_t."""
    a_B = process.alphas_cumprod.to(t_B.device)[t_B]
    snr_B: Tensor = a_B / (1 - a_B)
    return snr_B


def shot_noise(shape: tuple[int, int, int], seed: int, device: torch.device) -> Tensor:
    """(1, C, H, W): one noise for all frames of a shot, so that what differs between them is the mouth alone.

    Drawn on the CPU: the same seed is the same picture on every machine.
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, *shape, generator=generator).to(device)


@torch.no_grad()
def sample(predict: Predict, noise_BCHW: Tensor, scheduler: Any, steps: int) -> Tensor:
    """Runs the process backwards in `steps` steps."""
    if not 1 <= steps <= scheduler.config.num_train_timesteps:
        raise RequestError(f"1 to {scheduler.config.num_train_timesteps} steps", field="steps", value=steps)
    scheduler.set_timesteps(steps, device=noise_BCHW.device)
    z_BCHW: Tensor = noise_BCHW * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        said = predict(z_BCHW, t.expand(len(z_BCHW)))
        z_BCHW = scheduler.step(said, t, z_BCHW).prev_sample
    return z_BCHW


def guided(conditional: Tensor, unconditional: Tensor, guidance: float) -> Tensor:
    """Classifier-free guidance; 1 is the conditional prediction itself."""
    return unconditional + guidance * (conditional - unconditional)
