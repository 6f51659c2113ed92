"""The processes that train one model together: how many, which one this is, and what they tell each other.

One process needs no torch.distributed. Several are torchrun's or Ray Train's: whoever started them set the environment
or the process group up. What is trained how is `parallel.py`'s; which clips a rank gets, the clip source's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor, distributed

from shards.errors import DubwrightError, RequestError

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """All of a run's processes, as one of them sees them."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def here(cls, device: str) -> World:
        """The process group that is set up, or this process alone. `cuda` is the device of this rank on its machine."""
        place = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if device == "cuda" else device)
        rank, size = (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)
        return cls(rank=rank, size=size, device=place)

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def sum(self, value: Tensor) -> Tensor:
        """The sum over all ranks; the order of addition is the backend's, so only nearly the same for any number."""
        if self.size == 1:
            return value
        total = value.detach().clone()
        distributed.all_reduce(total)
        return total

    def any(self, said: bool) -> bool:
        """Whether one of them says so: all stop after the same step."""
        return said if self.size == 1 else bool(self.sum(torch.tensor(float(said), device=self.device)) > 0)

    def from_main(self, work: Callable[[], Value]) -> Value:
        """What rank 0 alone does, told to all; its failure is everybody's, or the others would wait for ever."""
        if self.size == 1:
            return work()
        told: list[tuple[Value | None, str | None, bool]] = [(None, None, False)]
        failure: Exception | None = None
        if self.is_main:
            try:
                told = [(work(), None, False)]
            except Exception as error:  # noqa: BLE001  (told to the others, then raised again)
                failure = error
                told = [(None, f"rank 0: {error}", isinstance(error, RequestError))]
        distributed.broadcast_object_list(told, src=0, device=self.device)
        if failure is not None:
            raise failure
        value, why, is_request = told[0]
        if why is not None:
            raise (RequestError if is_request else DubwrightError)(why)
        return value  # type: ignore[return-value]

    def share(self, tensors: Mapping[str, Tensor]) -> None:
        """Rank 0's values into everybody's tensors, in place."""
        if self.size > 1:
            for value in tensors.values():
                here = value.detach().to(self.device)
                distributed.broadcast(here, src=0)
                value.detach().copy_(here)


@contextmanager
def joined(device: str) -> Iterator[World]:
    """The world that torchrun's environment names; this process alone where there is none."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield World.here(device)
        return
    world = World.here(device)  # before the group: NCCL binds to the device that is current
    if world.device.type == "cuda":
        torch.cuda.set_device(world.device)
    distributed.init_process_group("nccl" if world.device.type == "cuda" else "gloo")
    try:
        yield World.here(device)
    finally:
        distributed.destroy_process_group()
