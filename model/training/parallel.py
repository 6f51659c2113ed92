"""A stage's networks on several processes: all weights on each (DDP), or a share of them on each (FSDP2).

Both take the mean of the processes' gradients, so whoever wants a mean over all windows gives each process its sums
divided by everybody's counts, times the number of processes. What a share is, and how all of them become a tensor
again, is `model/held.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel

from model.layers import ResBlock
from model.talkformer import TalkFormer
from model.training.stage import Stage, Task
from model.training.world import World


class Working(nn.Module):
    """A stage's sums as a module, because that is what can be parallel: it holds the networks that the stage trains."""

    def __init__(self, stage: Stage[Any], trained: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.stage, self.trained = stage, nn.ModuleDict(trained)

    def forward(self, task: Task) -> dict[str, Tensor]:
        return self.stage.sums(task)


def parallel(stage: Stage[Any], trained: Mapping[str, nn.Module], kind: str, world: World) -> nn.Module:
    """The stage as this world works it; with FSDP the networks' parameters are shares from here on."""
    working = Working(stage, trained)
    if world.size == 1:
        return working
    if kind == "ddp":
        # A level of the denoiser that attends to nothing leaves weights unused; looking for them takes a while.
        has_idle = "denoiser" in trained and not all(stage.config.model.denoiser.attention)
        # Buffers are constants while a stage runs.
        return DistributedDataParallel(working, forward_sync_buffers=False, find_unused_parameters=has_idle)
    mesh = init_device_mesh(world.device.type, (world.size,))
    # Blocks first: one is made whole when it is needed, and the next one while it computes.
    for part in [part for part in working.modules() if isinstance(part, ResBlock | TalkFormer)]:
        fully_shard(part, mesh=mesh)
    fully_shard(working, mesh=mesh)
    return working


def part_of_step(working: nn.Module, *, is_last: bool) -> AbstractContextManager[None]:
    """In which gradients only add up; with the last part of a step they are exchanged."""
    if isinstance(working, FSDPModule):
        working.set_requires_gradient_sync(is_last)
    elif isinstance(working, DistributedDataParallel) and not is_last:
        return _unexchanged(working)
    return nullcontext()


@contextmanager
def _unexchanged(working: DistributedDataParallel) -> Iterator[None]:
    with working.no_sync():
        yield
