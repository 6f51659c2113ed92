"""A disk that is full, read-only or failing: said by name, nothing half done; once it is mended, the same dataset."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shards.errors import DubwrightError
from tests.support.chaos import MEMORY
from tests.support.faults import Fault, Planned, Steps, journal_steps
from tests.support.pipeline import ENGINE, make_plan, outcome, run_pipeline
from tests.support.schedules import is_os_write

PLAN = make_plan(("keep", "reject"))
SAYINGS = {
    Fault.NO_SPACE: "No space left on device",
    Fault.READ_ONLY: "Read-only file system",
    Fault.IO_ERROR: "Input/output error",
}


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    """A folder in which an fsync costs nothing."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def undisturbed(memory: Path) -> tuple[dict[str, Any], list[str]]:
    """What the run comes to, and the calls that write on the way."""
    steps = Steps(memory / "undisturbed", memory / "journal")
    with steps.hooked():
        run_pipeline(steps.root, steps.enter, plan=PLAN)
    names = [name for name, _ in journal_steps(memory / "journal") if is_os_write(name)]
    return outcome(steps.root, PLAN), list(dict.fromkeys(names))


@pytest.mark.parametrize("fault", SAYINGS)
def test_a_disk_that_fails_at_a_write_costs_a_restart_and_nothing_else(
    fault: Fault, undisturbed: tuple[dict[str, Any], list[str]], memory: Path
) -> None:
    expected, names = undisturbed
    assert {name.split(" ")[2] for name in names} >= {"open", "write", "fsync", "link", "replace", "mkdir"}
    said = []
    # Each of the three faults at every third write; every write meets one of them.
    for number in range(list(SAYINGS).index(fault), len(names), len(SAYINGS)):
        folder = memory / f"{fault.name}-{number}"
        folder.mkdir()
        steps = Steps(folder / "store", folder / "journal", [Planned(names[number], fault)])
        try:
            with steps.hooked():
                run_pipeline(steps.root, steps.enter, plan=PLAN)
        except (DubwrightError, OSError) as error:
            said.append(str(error))
        assert any(hit == fault for _, hit in journal_steps(folder / "journal")), names[number]
        run_pipeline(steps.root, plan=PLAN)
        assert outcome(steps.root, PLAN) == expected, names[number]
    assert len(said) > 10
    assert [text for text in said if SAYINGS[fault] not in text] == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 96 KiB, unmounted at the end."""
    place = tmp_path / "disk"
    place.mkdir()
    mount(place, "-t", "tmpfs", "-o", "size=96k", "tmpfs")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def mount(place: Path, *arguments: str) -> None:
    done = subprocess.run(["mount", *arguments, place], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing may be mounted here: {done.stderr.strip()}")


def test_a_full_disk_is_named_and_with_more_space_the_run_goes_on(
    small_disk: Path, undisturbed: tuple[dict[str, Any], list[str]]
) -> None:
    (small_disk / "somebody-elses").write_bytes(bytes(48 << 10))
    store = small_disk / "store"
    with pytest.raises(DubwrightError, match=f"{store}.*No space left on device"):
        run_pipeline(str(store), plan=PLAN, engine=ENGINE.model_copy(update={"max_transient": 3}))
    mount(small_disk, "-o", "remount,size=64m")
    run_pipeline(str(store), plan=PLAN)
    assert outcome(str(store), PLAN) == undisturbed[0]


def test_a_disk_mounted_read_only_is_named_and_once_it_is_not_the_run_goes_on(
    small_disk: Path, undisturbed: tuple[dict[str, Any], list[str]]
) -> None:
    store = small_disk / "store"
    mount(small_disk, "-o", "remount,size=64m")
    run_pipeline(str(store), plan=make_plan(("keep",)))
    mount(small_disk, "-o", "remount,ro")
    with pytest.raises(DubwrightError, match=rf"{store}.*Read-only file system"):
        run_pipeline(str(store), plan=PLAN)
    mount(small_disk, "-o", "remount,rw")
    run_pipeline(str(store), plan=PLAN)
    assert outcome(str(store), PLAN) == undisturbed[0]
