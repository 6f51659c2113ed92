from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model.training.world import World, joined
from shards.errors import DubwrightError, RequestError
from tests.support.ranks import on_ranks


def test_one_process_needs_no_others() -> None:
    with joined("cpu") as world:
        assert (world.rank, world.size, world.is_main) == (0, 1, True)
        assert world.sum(torch.tensor(3.0)) == 3.0
        assert world.any(True)
        assert world.from_main(lambda: "told") == "told"


def test_cuda_is_the_device_of_this_rank_and_a_numbered_one_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert World.here("cuda").device == torch.device("cuda:3")
    assert World.here("cuda:1").device == torch.device("cuda:1")


def _two(folder: Path) -> None:
    world = World.here("cpu")
    said = [float(world.sum(torch.tensor(1.0 + world.rank))), world.any(world.rank == 1), world.any(False)]
    said.append(world.from_main(lambda: f"from {world.rank}"))
    mine = {"w": torch.full((2,), float(world.rank))}
    world.share(mine)
    said.append(mine["w"].tolist())

    def fail(error: Exception) -> None:
        raise error

    for error in (RequestError("no", field="x"), OSError("full")):
        try:
            world.from_main(lambda error=error: fail(error))  # type: ignore[misc]
        except (OSError, DubwrightError) as caught:
            said.append((type(caught).__name__, str(caught)))
    (folder / str(world.rank)).write_text(repr(said))


def test_two_processes_agree_and_the_first_ones_trouble_is_everybodys(tmp_path: Path) -> None:
    on_ranks(2, _two, tmp_path)
    same = "[3.0, True, False, 'from 0', [0.0, 0.0]"
    assert (tmp_path / "0").read_text() == f"{same}, ('RequestError', '`x`: no'), ('OSError', 'full')]"
    told = "('RequestError', 'rank 0: `x`: no'), ('DubwrightError', 'rank 0: full')]"
    assert (tmp_path / "1").read_text() == f"{same}, {told}"
