"""Several training processes on this machine, joined by gloo over loopback, each running the same function."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed, multiprocessing


def on_ranks(size: int, work: Callable[..., None], *given: Any) -> None:
    """Calls `work(*given)` on so many joined processes; a failure of any of them is raised here."""
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(_joined, args=(size, Path(folder, "meet"), work, given), nprocs=size)  # type: ignore[no-untyped-call]


def _joined(rank: int, size: int, meet: Path, work: Callable[..., None], given: tuple[Any, ...]) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{meet}", rank=rank, world_size=size)
    try:
        work(*given)
        # None leaves while another still has a word to say; one that fails is raised by `spawn`, which ends the rest.
        distributed.barrier()
    finally:
        distributed.destroy_process_group()
