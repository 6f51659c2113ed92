"""Tensors that several processes may hold together, each a share: what one holds, and how they become whole.

A plain tensor is its own share, so whoever works through these functions need not know how a model is held.
"""

from __future__ import annotations

from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


def whole(value: Tensor) -> Tensor:
    """All of a tensor of which this process may hold a share; every process must ask."""
    value = value.detach()
    return value.full_tensor() if isinstance(value, DTensor) else value


def own(value: Tensor) -> Tensor:
    """What this process holds of a tensor: a view of it."""
    value = value.detach()
    return value.to_local() if isinstance(value, DTensor) else value


def shared_as(like: Tensor, value: Tensor) -> Tensor:
    """A whole tensor as `like` is held: this process's share of it, or all."""
    if not isinstance(like, DTensor) or value.shape != like.shape:
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
