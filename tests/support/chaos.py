"""Kills, races and damage, then the question whether anybody could tell: `python -m tests.support.chaos`.

Each schedule is a store of its own in which a small real pipeline is disturbed and started again until it ends by
itself. It must then hold what the undisturbed run holds: dataset hash, shard bytes, account, one decision a unit.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import pipeline
from tests.support.faults import ENDS, Fault, Steps, journal_steps, let_time_pass
from tests.support.forks import Child, Ended, fork
from tests.support.schedules import TROUBLE, Journals, Process, Schedule, Start, Wakes, covering, deal

WORK = {
    Process.RUN: pipeline.run_pipeline,
    Process.OTHER: pipeline.run_other,
    Process.SWEEP: pipeline.run_sweep,
    Process.RETRY: pipeline.run_retry,
    Process.REPAIR: pipeline.run_repair,
}
DAMAGING = (Fault.FLIP, Fault.TRUNCATE)
TRIES_TO_FINISH = 4
MEMORY = Path("/dev/shm")  # noqa: S108 - an fsync costs nothing there; what it is called for is seen all the same


class Unequal(Exception):
    """A disturbed run came to something else than the undisturbed one."""


@dataclass
class Course:
    """One schedule under way: its folder, and what has happened so far."""

    schedule: Schedule
    folder: Path
    processes: list[Path] = field(default_factory=list)
    """The journal of each process that was started."""
    failed: dict[Path, str] = field(default_factory=dict)
    """What processes said that ended with an error: the last line of each, by its output."""

    @property
    def uri(self) -> str:
        return str(self.folder / "store")

    def run(self) -> dict[str, Any]:
        """Disturbs, finishes, and tells what the store has come to."""
        (self.folder / "store").mkdir(parents=True)
        (self.folder / "tmp").mkdir()
        for start in self.schedule.starts:
            self.through(start)
        self.finish()
        found = self.outcome()
        if found["problems"] and self.hit(*DAMAGING):
            self.through(Start(Process.REPAIR))
            self.finish()
            found = self.outcome()
        return found

    def through(self, start: Start) -> None:
        """Starts a process and sees it to its end, and with it those that are started meanwhile."""
        if start.after_lapse:
            let_time_pass(Path(self.uri))
        child = self.begin(start)
        while (ended := child.wait()) is None:
            if start.wakes is Wakes.LAST:
                let_time_pass(Path(self.uri))
            if start.wakes is Wakes.AT_ONCE:
                others = [self.begin(other) for other in start.meanwhile]
                child.resume()
                for other_child in others:
                    self.note(other_child, other_child.wait())
            else:
                for other in start.meanwhile:
                    self.through(other)
                child.resume()
        self.note(child, ended)

    def begin(self, start: Start) -> Child:
        journal = self.next_journal()
        self.processes.append(journal)
        return fork(functools.partial(self.work, start, journal), output_of(journal))

    def next_journal(self) -> Path:
        return self.folder / f"journal-{len(self.processes)}"

    def work(self, start: Start, journal: Path) -> None:
        """In the child."""
        tempfile.tempdir = str(scratch := self.folder / "tmp")
        steps = Steps(Path(self.uri), journal, start.planned, scratch=scratch, seed=self.schedule.seed)
        with steps.hooked():
            WORK[start.process](self.uri, steps.enter)

    def note(self, child: Child, ended: Ended | None) -> None:
        if ended is not None and ended.exit_code:
            self.failed[child.output] = child.output.read_text().rstrip().rpartition("\n")[2]

    def finish(self) -> None:
        """Starts the run until it ends by itself."""
        for _ in range(TRIES_TO_FINISH):
            output = output_of(self.next_journal())
            self.through(Start())
            if output not in self.failed:
                return
            if not self.hit(*DAMAGING):
                raise Unequal(f"an undisturbed start failed: {self.failed[output]}")
            self.through(Start(Process.REPAIR))
        raise Unequal(f"not over after {TRIES_TO_FINISH} undisturbed starts: {self.failed[output]}")

    def outcome(self) -> dict[str, Any]:
        """Asked in a child as well: nobody opens a store here."""
        told = self.folder / "outcome.json"
        child = fork(lambda: _write_outcome(self.uri, told), self.folder / "outcome.txt")
        ended = child.wait()
        if ended is None or ended.exit_code != 0:
            raise Unequal(f"the outcome cannot be told: {child.output.read_text()}")
        found: dict[str, Any] = json.loads(told.read_text())
        return found

    def steps(self) -> Iterator[tuple[str, str]]:
        """(name, fault) of every step that any process came to."""
        for journal in self.processes:
            yield from journal_steps(journal)

    def hits(self) -> list[tuple[str, str]]:
        return [(name, fault) for name, fault in self.steps() if fault]

    def hit(self, *faults: Fault) -> bool:
        return any(fault in faults for _, fault in self.hits())


def output_of(journal: Path) -> Path:
    return journal.with_suffix(".txt")


def _write_outcome(uri: str, told: Path) -> None:
    told.write_text(json.dumps(pipeline.outcome(uri)))
    told.with_name("modules.txt").write_text("\n".join(sys.modules))


def _import_all(names: Iterable[str]) -> None:
    """What the children would import by and by, each for itself."""
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def undisturbed(folder: Path) -> tuple[dict[str, Any], Journals]:
    """What the run comes to when it is left alone; its steps, and those of what clears up after trouble."""
    course = Course(Schedule(0, "undisturbed", ()), folder / "run")
    outcome = course.run()
    _import_all((course.folder / "modules.txt").read_text().split())
    journals = {Process.RUN: course.processes[0]}
    failed = list(course.failed.values())
    for process, trouble in TROUBLE.items():
        other = Course(Schedule(0, "undisturbed", (*trouble, Start(process, after_lapse=True))), folder / process)
        failed += differences(outcome, other.run())
        journals[process] = other.processes[len(trouble)]
        failed += [other.failed[output] for output in other.failed if output == output_of(journals[process])]
    if failed:
        raise Unequal("; ".join(failed))
    return outcome, {process: [name for name, _ in journal_steps(journal)] for process, journal in journals.items()}


def differences(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """What differs, in words; the lists of problems must be empty besides."""
    told = [f"{name}: {expected[name]} became {found[name]}" for name in expected if expected[name] != found[name]]
    return told + [f"{name}: {found[name]}" for name in ("problems", "twice") if found[name]]


@dataclass
class Tally:
    """What many schedules came to together."""

    steps: Counter[str] = field(default_factory=Counter)
    """Step -> processes that were killed at it."""
    faults: Counter[str] = field(default_factory=Counter)
    processes: int = 0
    equal: int = 0

    def add(self, course: Course) -> None:
        self.equal += 1
        self.processes += len(course.processes)
        for name, fault in course.hits():
            self.faults[fault] += 1
            if fault in ENDS:
                self.steps[name] += 1

    def summary(self, journals: Journals) -> str:
        kills = sum(self.faults[fault] for fault in ENDS)
        told = ", ".join(f"{fault} {count}" for fault, count in sorted(self.faults.items()))
        steps = ", ".join(
            f"{len(set(names) & set(self.steps))} of {len(set(names))} steps of a {process}"
            for process, names in journals.items()
        )
        return (
            f"{self.equal} schedules, {self.processes} processes, {kills} killed ({told}), at {steps};"
            " every dataset, shard and account as undisturbed"
        )


def disturb(schedule: Schedule, expected: dict[str, Any], folder: Path) -> Course:
    """Runs the schedule and refuses what differs from the undisturbed run."""
    course = Course(schedule, folder)
    found = course.run()
    if told := differences(expected, found):
        raise Unequal("; ".join(told))
    return course


def line(course: Course, seconds: float) -> str:
    """`seed 7 (raced): pause @ extract: before link commits/*.json; 3 processes, 0.9 s`"""
    told = "; ".join(f"{fault} @ {name}" for name, fault in course.hits()) or "nothing was hit"
    seed, family = course.schedule.seed, course.schedule.family
    return f"seed {seed} ({family}): {told}; {len(course.processes)} processes, {seconds:.1f} s"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.support.chaos", description=__doc__)
    parser.add_argument("--schedules", type=int, default=200, help="how many random schedules")
    parser.add_argument("--seed", type=int, default=0, help="of the first; the others follow it")
    parser.add_argument(
        "--every-step",
        type=Process,
        nargs="+",
        default=[],
        metavar="PROCESS",
        help="first, kill such a process (run, sweep, repair) at each of its steps",
    )
    parser.add_argument("--folder", type=Path, help="where to work; the store of a failure is kept there")
    options = parser.parse_args(arguments)
    if options.folder and options.folder.exists() and any(options.folder.iterdir()):
        parser.error(f"{options.folder} is not empty")
    with tempfile.TemporaryDirectory(prefix="dubwright-chaos-", dir=MEMORY if MEMORY.is_dir() else None) as scratch:
        return through(options.folder or Path(scratch), options.schedules, options.seed, options.every_step)


def through(folder: Path, schedules: int, seed: int, every_step: Sequence[Process]) -> int:
    """Undisturbed once, then each schedule; the exit code."""
    try:
        expected, journals = undisturbed(folder / "undisturbed")
    except Unequal as error:
        say(f"undisturbed: {error}")
        return 1
    say(f"undisturbed: dataset {expected['dataset'][:12]}")
    for process, names in journals.items():
        say(f"a {process}: {len(names)} steps of {len(set(names))} kinds")
    tally = Tally()
    hands = [hand for process in every_step for hand in covering(journals, process)]
    for schedule in (*hands, *(deal(number, journals) for number in range(seed, seed + schedules))):
        begun = time.monotonic()
        course_folder = folder / f"{schedule.family.replace(' ', '-')}-{schedule.seed}"
        try:
            course = disturb(schedule, expected, course_folder)
        except (Unequal, TimeoutError) as error:
            say(f"seed {schedule.seed} ({schedule.family}): {error}")
            again = f"0 --every-step {' '.join(every_step)}" if schedule in hands else f"1 --seed {schedule.seed}"
            say(f"again: python -m tests.support.chaos --schedules {again} --folder DIR, which keeps the store")
            return 1
        tally.add(course)
        say(line(course, time.monotonic() - begun))
        shutil.rmtree(course_folder)
    say(tally.summary(journals))
    return 0


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
