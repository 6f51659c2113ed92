"""Folders in which files are finished."""

from __future__ import annotations

from pathlib import Path

from flows.dubbing.scratch import SCRATCH, clear, scratch
from shards.leases import hold_lease
from shards.store import open_store


def test_nothing_is_left_of_a_file_that_was_finished(tmp_path: Path) -> None:
    with scratch(tmp_path, "run") as folder:
        (folder / "film.mp4").write_bytes(b"film")
        assert folder.is_relative_to(tmp_path / SCRATCH / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_alive_keeps_its_folder_and_a_dead_ones_goes(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    with hold_lease(store, "alive") as alive, hold_lease(store, "witness") as witness:
        for run in (alive.run, "dead"):
            (tmp_path / SCRATCH / run / "x").mkdir(parents=True)
            (tmp_path / SCRATCH / run / "x" / "film.mp4").write_bytes(b"half a film")
        clear(tmp_path, store, witness.run)
        assert [path.name for path in (tmp_path / SCRATCH).iterdir()] == [alive.run]
    clear(tmp_path / "elsewhere", store, "nobody")
