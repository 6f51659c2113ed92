"""`python -m tests.support.killed_dub FOLDER`: dubs FOLDER/catalogue.csv calmly, then again while it is killed.

In a process of its own: the runs are forked from it, and a process that has ever used mediapipe cannot be. Prints how
often it was killed and a digest of every file that each of the two delivered, as one JSON object.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from flows.cluster.config import EngineConfig
from flows.dub import RECORDS, make_titles, plan_catalogue
from flows.dubbing.config import DubConfig
from tests.support.forks import Child, fork

KILLS = 10
PATIENT = DubConfig(engine=EngineConfig(backoff_s=0, max_attempts=2 * KILLS))
"""In a plain loop a unit dies with the run, and nobody can tell whose fault it was."""
DEADLINE_S = 200


def dub(folder: Path, out: Path) -> None:
    planned = plan_catalogue.fn(str(folder / "catalogue.csv"), str(folder / "checkpoint"), None)
    make_titles.fn(planned, str(out), PATIENT, "none")


def finished(out: Path) -> dict[str, str]:
    """Digest of every film that was delivered, and of what is told beside it."""
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("film*"))
        if path.is_file() and RECORDS not in path.parts and path.suffix in (".mp4", ".json")
    }


def disturbed(begin: Callable[[], Child], whole_s: float, rng: random.Random) -> int:
    """Starts it and kills it, ten times at most; how often it was killed before it was through."""
    for kill in range(KILLS):
        child, until = begin(), time.monotonic() + rng.uniform(0.1, 0.6) * whole_s
        while time.monotonic() < until:
            pid, _ = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                return kill
            time.sleep(0.01)
        os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)
    return KILLS


def main() -> None:
    folder = Path(sys.argv[1])
    calm, out, log = folder / "calm", folder / "disturbed", folder / "log"
    whole_s = _through(lambda: fork(lambda: dub(folder, calm), log))
    kills = disturbed(lambda: fork(lambda: dub(folder, out), log), whole_s, random.Random(7))
    _through(lambda: fork(lambda: dub(folder, out), log))
    sys.stdout.write(json.dumps({"kills": kills, "calm": finished(calm), "disturbed": finished(out)}) + "\n")


def _through(begin: Callable[[], Child]) -> float:
    """Seconds until it ended by itself, and well."""
    begun, child = time.monotonic(), begin()
    ended = child.wait(DEADLINE_S)
    if ended is None or ended.exit_code != 0:
        raise SystemExit(child.output.read_text()[-4000:])
    return time.monotonic() - begun


if __name__ == "__main__":
    main()
