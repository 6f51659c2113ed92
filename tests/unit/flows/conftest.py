"""What all tests of the flows share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.support.models import nano_checkpoint


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Small nets are slower on many threads, and sums are the same everywhere on one."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nano_checkpoint(tmp_path_factory.mktemp("checkpoint"))
