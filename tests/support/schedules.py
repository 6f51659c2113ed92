"""What is done to a run: which processes start, at which step what happens to each. All from a seed.

Steps are taken from the journals of an undisturbed run, so a step that the code gains is met without a word here.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tests.support.faults import WRITING, Fault, Planned

KILLS_PER_COVERING = 12
"""More, and the kills that meet one unit could use up its tries."""
PUT_OF_A_TRY = "extract: after put_file objects/*.tar"
PUTS = ("after put_file objects/*.tar", "after create commits/*.json", "after create attempts/*.json")
"""After which something lies on the disk that can be damaged, and that `repair` mends."""


class Process(StrEnum):
    """A process that can be started on a store."""

    RUN = "run"
    OTHER = "other"
    SWEEP = "sweep"
    RETRY = "retry"
    REPAIR = "repair"


class Wakes(StrEnum):
    """When a process that was paused goes on."""

    AT_ONCE = "at once"
    """As soon as the others have started: they race."""
    AFTER = "after"
    """When the others are through; nobody could take it for dead."""
    LAST = "last"
    """When the others are through and its lease had lapsed before they began: a zombie."""


@dataclass(frozen=True, slots=True)
class Start:
    """A process, what happens to it, and who else is started while it is paused."""

    process: Process = Process.RUN
    planned: tuple[Planned, ...] = ()
    meanwhile: tuple[Start, ...] = ()
    wakes: Wakes = Wakes.AT_ONCE
    after_lapse: bool = False
    """It starts when the leases of those before it have lapsed."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Starts, one after the other. Whatever is left to do is then done undisturbed."""

    seed: int
    family: str
    starts: tuple[Start, ...]


TROUBLE = {
    Process.SWEEP: (
        Start(Process.OTHER),
        Start(planned=(Planned("pack: after put_file objects/*.tar", Fault.KILL, 2),)),
        Start(planned=(Planned("publish: before replace datasets/*.json", Fault.KILL),)),
        Start(),
        Start(Process.RETRY),
    ),
    Process.REPAIR: (
        Start(
            planned=(
                Planned("extract: after put_file objects/*.tar", Fault.FLIP, 2),
                Planned("extract: after create commits/*.json", Fault.TRUNCATE, 4),
                Planned("extract: after create attempts/*.json", Fault.FLIP),
            )
        ),
    ),
}
"""What gives each something of every kind to do. To a sweep: a dataset that is not the newest, objects and parts of
files of tries that were killed, a dataset half published, a decision that counts no more. To a repair: an object, a
decision and the record of a try, damaged."""

Journals = Mapping[Process, Sequence[str]]
"""The names of all steps that an undisturbed process of each kind comes to, in order."""


def deal(seed: int, journals: Journals) -> Schedule:
    """The schedule of that seed."""
    rng = random.Random(seed)
    family = rng.choice(list(FAMILIES))
    starts = (*FAMILIES[family](rng, journals), *_kills(rng, journals, rng.randint(1, 2)))
    if rng.random() < 0.3:
        again = Start(Process.RETRY, after_lapse=rng.random() < 0.5)
        starts += (again, *_kills(rng, journals, 1), *_swept(rng, journals))
    return Schedule(seed, family, starts)


def covering(journals: Journals, process: Process) -> list[Schedule]:
    """Schedules that between them kill such a process at each of its steps, the first time it comes to it.

    Each takes steps from all over it, in the order in which it comes to them: a restart goes on from there.
    """
    first = list(dict.fromkeys(journals[process]))
    count = -(-len(first) // KILLS_PER_COVERING)
    before = TROUBLE.get(process, ())
    after = (Start(process, after_lapse=True),) if before else ()
    schedules = []
    for number in range(count):
        kills = (Start(process, (Planned(name, Fault.KILL),), after_lapse=True) for name in first[number::count])
        schedules.append(Schedule(number, f"every step of a {process}", (*before, *kills, *after)))
    return schedules


def _kills(rng: random.Random, journals: Journals, count: int) -> tuple[Start, ...]:
    """Runs that end before their time, each further on than the one before."""
    names = journals[Process.RUN]
    places = sorted(_place_of(names, _any(rng, names, Fault.KILL)) for _ in range(count))
    starts, done = [], 0
    for place in places:
        # Counted from where the run before was ended: about there this one goes on.
        occurrence = max(1, names[done : place + 1].count(names[place]))
        plan = Planned(names[place], _end_of(rng, names[place]), occurrence)
        starts.append(Start(planned=(plan,), after_lapse=rng.random() < 0.5))
        done = place
    return tuple(starts)


def _place_of(names: Sequence[str], plan: Planned) -> int:
    """Where in the journal the step is that the plan waits for."""
    return [place for place, name in enumerate(names) if name == plan.name][plan.occurrence - 1]


def _killed(rng: random.Random, journals: Journals) -> tuple[Start, ...]:
    return _kills(rng, journals, rng.randint(0, 4))


def _raced(rng: random.Random, journals: Journals) -> tuple[Start, ...]:
    """A second driver begins in the middle of the first; one of them may be killed."""
    other = Start(planned=_one(rng, journals, Fault.KILL)) if rng.random() < 0.5 else Start()
    more = _one(rng, journals, Fault.KILL) if rng.random() < 0.3 else ()
    return (Start(planned=_one(rng, journals, Fault.PAUSE) + more, meanwhile=(other,)),)


def _zombie(rng: random.Random, journals: Journals) -> tuple[Start, ...]:
    """The first driver sleeps until a second has done everything, and perhaps a sweep has been."""
    meanwhile = (Start(after_lapse=True), *_swept(rng, journals))
    return (Start(planned=_one(rng, journals, Fault.PAUSE), meanwhile=meanwhile, wakes=Wakes.LAST),)


def _swept(rng: random.Random, journals: Journals) -> tuple[Start, ...]:
    """A sweep, or one that is killed and then, when its lease has lapsed, another."""
    if rng.random() < 0.5:
        return (Start(Process.SWEEP, after_lapse=rng.random() < 0.7),)
    killed = Start(Process.SWEEP, _one(rng, journals, Fault.KILL, Process.SWEEP), after_lapse=True)
    return (killed, Start(Process.SWEEP, after_lapse=True))


def _sweeping(rng: random.Random, journals: Journals) -> tuple[Start, ...]:
    """Sweeps after a run that was killed, and in the middle of one that goes on."""
    other = (Start(Process.OTHER),) if rng.random() < 0.5 else ()
    killed, paused = _kills(rng, journals, 1), _one(rng, journals, Fault.PAUSE)
    if rng.random() < 0.5:
        # No sweep that dies: what it was removing stays condemned until its lease has lapsed. And no power cut: that
        # would have to end every process.
        meanwhile = (Start(planned=_one(rng, journals, Fault.KILL)), Start(Process.SWEEP))
        last = Start(planned=paused, meanwhile=meanwhile)
    else:
        last = Start(planned=paused, meanwhile=_swept(rng, journals), wakes=Wakes.LAST)
    return (*other, *killed, *_swept(rng, journals), last)


def _overtaken(rng: random.Random, journals: Journals) -> tuple[Start, ...]:
    """A sweep stands still while a run makes an object again that the sweep has found, and nobody needed it then."""
    names = journals[Process.RUN]
    killed = Start(planned=(Planned(PUT_OF_A_TRY, Fault.KILL, rng.randint(1, names.count(PUT_OF_A_TRY))),))
    again, at = Start(), "before write sweeps/*"
    if rng.random() < 0.5:
        # The object is condemned by then. A run that looks, after its pin, is ended as it looks; another would go on.
        looks = names[: names.index("extract: after create attempts/*.pin")].count("extract: after list sweeps/")
        ended = Planned("extract: after list sweeps/", Fault.KILL, looks + 1)
        again, at = Start(planned=(ended,)), "before delete objects/*.tar"
    paused = (Planned(f"sweep: {at}", Fault.PAUSE),)
    sweep = Start(Process.SWEEP, paused, meanwhile=(again,), wakes=Wakes.AFTER, after_lapse=True)
    return (killed, sweep)


def _passed(rng: random.Random, journals: Journals) -> tuple[Start, ...]:
    """A run stands still just before a decision, alive; a sweep comes by."""
    names = [name for name in journals[Process.RUN] if ": before " in name and name.endswith(" commits/*.json")]
    return (Start(planned=(_any(rng, names, Fault.PAUSE),), meanwhile=(Start(Process.SWEEP),), wakes=Wakes.AFTER),)


def _damaged(rng: random.Random, journals: Journals) -> tuple[Start, ...]:
    """An object or a record changes on the disk after it was put."""
    puts = [name for name in journals[Process.RUN] if name.partition(": ")[2] in PUTS]
    return (Start(planned=(_any(rng, puts, rng.choice([Fault.FLIP, Fault.TRUNCATE])),)),)


def _failing(rng: random.Random, journals: Journals) -> tuple[Start, ...]:
    """The disk is full, cannot be written, or fails once."""
    names = [name for name in journals[Process.RUN] if is_os_write(name)]
    fault = rng.choice([Fault.NO_SPACE, Fault.READ_ONLY, Fault.IO_ERROR])
    return (Start(planned=(_any(rng, names, fault),)),)


FAMILIES = {
    "killed": _killed,
    "raced": _raced,
    "zombie": _zombie,
    "sweeping": _sweeping,
    "overtaken": _overtaken,
    "passed": _passed,
    "damaged": _damaged,
    "failing": _failing,
}


def is_os_write(name: str) -> bool:
    """Whether a step is just before a call of the operating system that changes the disk."""
    when, _, rest = name.partition(": ")[2].partition(" ")
    return when == "before" and rest.split(" ")[0] in WRITING


def _one(rng: random.Random, journals: Journals, fault: Fault, process: Process = Process.RUN) -> tuple[Planned, ...]:
    return (_any(rng, journals[process], fault),)


def _any(rng: random.Random, names: Sequence[str], fault: Fault) -> Planned:
    """The fault at one of the steps: every kind of step as likely, and of its kind every one."""
    name = rng.choice(list(dict.fromkeys(names)))
    return Planned(name, fault, rng.randint(1, names.count(name)))


def _end_of(rng: random.Random, name: str) -> Fault:
    if ": before write part of" in name and rng.random() < 0.5:
        return Fault.TORN
    return rng.choice([Fault.KILL, Fault.POWER_CUT])
