"""What finding out that nothing changed costs: the second run over a thousand sources.

Sources are small files that were cut into one clip each by hand, so that the first run costs nothing worth telling.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

SOURCES = 1000
COMMAND = Path(sys.executable).with_name("dubwright")
DAY_S = 86_400.0


def second_run() -> str:
    """The whole command, and the flow's own part of it."""
    with tempfile.TemporaryDirectory() as folder:
        footage, store = Path(folder, "footage"), Path(folder, "store")
        _write_sources(footage)
        _work_off(footage, store)
        command = [str(part) for part in (COMMAND, "preprocess", footage, "--store", store, "--json")]
        begun = time.monotonic()
        done = subprocess.run(command, check=True, capture_output=True, timeout=600)
        whole = time.monotonic() - begun
        told = json.loads(done.stdout.splitlines()[-1])
    return (
        f"{SOURCES} unchanged sources, {told['clips']} clips: {whole:.1f} s, of which the flow's own part "
        f"{told['seconds']:.1f} s"
    )


def first_look() -> str:
    """Hashing against remembering, over files of a megabyte."""
    from flows.sources.find import find
    from flows.sources.identify import identify
    from flows.sources.known import Known

    with tempfile.TemporaryDirectory() as folder:
        _write_sources(Path(folder), bytes_each=1 << 20, number=200)
        places, known = find([folder]), Known()
        first, again = (_seconds(lambda: identify(places, known)) for _ in range(2))
    return f"{200 / first:.0f} MB/s; the second look {first / again:.0f}x as quick"


def _write_sources(folder: Path, *, bytes_each: int = 64, number: int = SOURCES) -> None:
    folder.mkdir(exist_ok=True)
    yesterday = time.time() - DAY_S
    for index in range(number):
        path = folder / f"{index:04d}.mp4"
        path.write_bytes(index.to_bytes(8, "big") * (bytes_each // 8))
        os.utime(path, (yesterday, yesterday))


def _work_off(footage: Path, store: Path) -> None:
    """Commits a clip for every source and publishes."""
    from flows.planning import PreprocessJob, plan_footage
    from flows.preprocess import publish
    from flows.sources.find import find
    from shards.commit import Ledger, Receipt
    from shards.store import open_store
    from shards.writer import FragmentWriter
    from tests.support.clips import make_clip

    job, ledger = PreprocessJob(), Ledger(open_store(store))
    plan = plan_footage(find([str(footage)]), job, ledger.store)
    ledger.write_plan(plan)
    for number, unit in enumerate(plan.units):
        claim = ledger.begin(unit, "bench")
        with FragmentWriter(store.parent / "fragment.tar") as writer:
            writer.add(make_clip(number))
            fragment = writer.seal()
        ref = ledger.put_object(claim, fragment.path, ".tar")
        receipt = Receipt(unit_id=unit.unit_id, stage=unit.stage, objects=(ref,), samples=fragment.entries)
        ledger.commit(claim, receipt)
    publish.fn(plan, str(store), job, "none")


def _seconds(work: Callable[[], object]) -> float:
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


BENCHES = (
    ("sources, the second run", second_run),
    ("sources, hashing and remembering", first_look),
)
