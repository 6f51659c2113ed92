"""`make bench`: what is measured, on this machine, now. Ratios come from one run; times say what they were taken on.

Asserts nothing; `make bench WHAT=reader` measures only what has that word in its name. A figure that cannot be
measured here is left out, not guessed.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support import (
    bench_compose,
    bench_dub,
    bench_engine,
    bench_faces,
    bench_model,
    bench_pack,
    bench_quality,
    bench_reader,
    bench_sources,
    bench_sync,
    bench_training,
)

ROOT = Path(__file__).parents[2]
HOPPER = ROOT / "examples" / "hopper.mp4"
COMMAND = Path(sys.executable).with_name("dubwright")


def main(wanted: list[str]) -> None:
    """All benches, or those whose name holds one of the words."""
    print(f"on {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    for name, measure in (
        ("dubwright --help, s (the best of 5)", help_seconds),
        *bench_pack.BENCHES,
        *bench_reader.BENCHES,
        *bench_engine.BENCHES,
        *bench_sources.BENCHES,
        ("one pass over examples/hopper.mp4", functools.partial(bench_faces.one_pass, HOPPER)),
        ("FAN over 64 crops against its own loop", bench_faces.batched_fan),
        ("scoring the clips of examples/hopper.mp4", functools.partial(bench_quality.scoring_cost, HOPPER)),
        ("preprocess examples/hopper.mp4", preprocessing),
        ("compose a mouth at 1080p, CPU a frame", bench_compose.compose_cost),
        ("dub the sample, two languages", dubbing),
        *bench_dub.BENCHES,
        *bench_model.BENCHES,
        *bench_sync.BENCHES,
        *bench_training.BENCHES,
    ):
        if not wanted or any(word in name for word in wanted):
            print(f"{name}: {measure()}", flush=True)


def help_seconds() -> str:
    return f"{min(_seconds(COMMAND, '--help') for _ in range(5)):.2f}"


def preprocessing() -> str:
    """Engine overhead: the whole command against the work itself, done in this process by a plain loop."""
    with tempfile.TemporaryDirectory() as folder:
        source, store = HOPPER, Path(folder, "store")
        whole = _seconds(COMMAND, "preprocess", source, "--store", store, "--json")
        work = _work_seconds(source, Path(folder, "plain"))
    return f"{whole:.1f} s, of which clips {work:.1f} s, so Prefect, Ray and the records {whole - work:.1f} s"


def _work_seconds(source: Path, store: Path) -> float:
    """The same unit by the same worker, without Prefect or Ray."""
    from flows.planning import PreprocessJob, plan_footage
    from flows.sources.find import find
    from flows.workers.extract import ExtractWorker
    from shards.store import open_store
    from tests.support.datasets import done_by

    job = PreprocessJob()
    plan = plan_footage(find([str(source)]), job)
    worker = ExtractWorker(open_store(store).uri, job.clips.model_dump(mode="json"))
    begun = time.monotonic()
    worker.setup()
    for unit in plan.units:
        done_by(worker, unit)
    worker.close()
    return time.monotonic() - begun


def dubbing() -> str:
    with tempfile.TemporaryDirectory() as folder:
        arguments = ("dub", ROOT / "examples" / "catalogue.csv", "--out", folder, "--json")
        first = _seconds(COMMAND, *arguments)
        again = _seconds(COMMAND, *arguments)
        report = json.loads(Path(folder, "report.json").read_text())
    frames = sum(row["frames"] for row in report["rows"])
    return f"{first:.1f} s for {frames} frames; again, all up to date: {again:.1f} s"


def _timed(work: Callable[[], Any]) -> float:
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def _seconds(*command: str | Path) -> float:
    return _timed(lambda: subprocess.run([str(c) for c in command], check=True, capture_output=True, timeout=900))


if __name__ == "__main__":
    main(sys.argv[1:])
