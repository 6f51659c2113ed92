"""A running mean of the weights: what is shown and shipped; the raw weights are only trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.held import own, shared_as


class Ema:
    """Follows the trainable parameters of a module, slowly once it has seen many steps."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.mean = {name: p.detach().clone() for name, p in module.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        self.steps += 1
        # Young means forget fast: otherwise the first thousand steps carry the random start along.
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        now = dict(module.named_parameters())
        for name, mean in self.mean.items():
            own(mean).lerp_(own(now[name]), 1 - decay)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Overwrites the module's parameters with the mean."""
        params = dict(module.named_parameters())
        for name, mean in self.mean.items():
            own(params[name]).copy_(own(mean))

    def load(self, mean: dict[str, Tensor], steps: int) -> None:
        for name, value in mean.items():
            own(self.mean[name]).copy_(own(shared_as(self.mean[name], value)))
        self.steps = steps
