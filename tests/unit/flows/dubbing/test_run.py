"""A catalogue's titles on their way, over the plain engine: who waits for whom, what ends one title and no other."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from flows.cluster.config import EngineConfig
from flows.cluster.plain import PlainEngine
from flows.cluster.work import WorkerSpec
from flows.dubbing.budget import Budget
from flows.dubbing.run import OPENED_AGAIN, OVER_BUDGET, STAGES, CatalogueRun
from flows.title import Title
from shards.commit import Claim, Ledger, Quarantine, Receipt, Unit
from shards.errors import RequestError, Superseded
from shards.leases import hold_lease
from shards.store import open_store
from tests.support.titles import make_title

CONFIG = EngineConfig(backoff_s=0, max_attempts=2, max_transient=1, grace_s=0.01)


@dataclass
class Paperwork:
    """Plans one unit a stage (two to render), shared where `shared` says so; keeps a diary of what was done."""

    ledger: Ledger
    shared: frozenset[str] = frozenset()
    fails: Callable[[Unit], None] = lambda unit: None
    refuses: Callable[[Title, str], None] = lambda title, stage: None
    diary: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    # -- the planner

    def units(self, title: Title, stage: str) -> Sequence[Unit]:
        self.refuses(title, stage)
        owner = "all" if stage in self.shared else title.row.title_id
        names = ["first", "second"] if stage == "render" else ["only"]
        return [Unit(unit_id=f"{stage}-{owner}-{name}", stage=stage, payload={"title": owner}) for name in names]

    # -- the worker

    def setup(self) -> None:
        """Nothing is loaded."""

    def process(self, item: Claim) -> Receipt:
        self.fails(item.unit)
        self.diary.append(item.unit.unit_id)
        with tempfile.TemporaryDirectory() as folder:
            result = Path(folder, "result")
            result.write_text(item.unit.unit_id)
            kept = self.ledger.put_object(item, result, ".txt")
        return self.ledger.commit(item, Receipt(unit_id=item.unit.unit_id, stage=item.unit.stage, objects=(kept,)))

    def close(self) -> None:
        """Nothing is held."""

    # -- the watcher

    def begin(self) -> None:
        self.told.append("begin")

    def entered(self, title: Title, stage: str, units: Sequence[Unit], is_done: Callable[[Unit], bool]) -> None:
        self.told.append(f"{title.row.title_id} {stage} {sum(not is_done(unit) for unit in units)}")

    def settled(self, unit: Unit, result: Receipt | Quarantine | None) -> None:
        """The diary has it."""

    def over(self, title: Title) -> None:
        self.told.append(f"{title.row.title_id} over")


@pytest.fixture
def paper(tmp_path: Path) -> Paperwork:
    return Paperwork(Ledger(open_store(tmp_path / "store")))


@pytest.fixture
def titles(tmp_path: Path) -> list[Title]:
    return [make_title(tmp_path, title_id=name, output=f"{name}.mp4") for name in ("one", "two")]


def run(
    paper: Paperwork,
    titles: Sequence[Title],
    budget: Budget | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> CatalogueRun:
    specs: dict[str, WorkerSpec[Claim, Receipt]] = {
        stage: WorkerSpec(name=stage, factory=lambda: paper) for stage in STAGES
    }
    with hold_lease(paper.ledger.store, "test") as lease:
        going = CatalogueRun(
            paper,
            titles,
            lease,
            engine=PlainEngine(),
            config=CONFIG,
            reproduce=lambda title: f"dubwright dub --only {title.row.title_id}",
            watcher=paper,
            budget=budget or Budget(None),
        )
        going.through(specs, should_stop)
    return going


def failing(unit_id: str, error: Exception) -> Callable[[Unit], None]:
    def fails(unit: Unit) -> None:
        if unit.unit_id == unit_id:
            raise error

    return fails


def test_every_title_goes_through_every_stage_in_order(paper: Paperwork, titles: list[Title]) -> None:
    assert run(paper, titles).stuck == {}
    for name in ("one", "two"):
        own = [unit_id.partition("-")[0] for unit_id in paper.diary if f"-{name}-" in unit_id]
        assert own == ["analyse", "adapt", "render", "render", "picture", "master"]


def test_work_that_two_titles_share_is_done_once_and_both_go_on(paper: Paperwork, titles: list[Title]) -> None:
    paper.shared = frozenset({"analyse"})
    run(paper, titles)
    assert paper.diary.count("analyse-all-only") == 1
    assert {"master-one-only", "master-two-only"} <= set(paper.diary)


def test_the_same_run_again_does_nothing(paper: Paperwork, titles: list[Title]) -> None:
    run(paper, titles)
    paper.diary.clear()
    assert run(paper, titles).stuck == {}
    assert paper.diary == []


def test_a_title_of_higher_priority_is_begun_first(paper: Paperwork, tmp_path: Path) -> None:
    rows = [make_title(tmp_path, title_id=n, output=f"{n}.mp4", priority=p) for n, p in (("low", -1), ("high", 5))]
    run(paper, rows)
    assert paper.diary[0] == "analyse-high-only"


def test_a_poisoned_unit_is_decided_and_its_title_goes_on(paper: Paperwork, titles: list[Title]) -> None:
    paper.fails = failing("render-one-first", ValueError("poison"))
    assert run(paper, titles).stuck == {}
    given_up = paper.ledger.quarantined("render-one-first")
    assert given_up is not None
    assert given_up.reproduce == "dubwright dub --only one"
    assert "master-one-only" in paper.diary


def test_lasting_trouble_ends_its_title_and_no_other_and_the_next_run_goes_on(
    paper: Paperwork, titles: list[Title]
) -> None:
    paper.fails = failing("picture-one-only", OSError(errno.ENOSPC, "no space left"))
    going = run(paper, titles)
    assert set(going.stuck) == {"one.mp4"}
    assert "no space left" in str(going.troubled["picture-one-only"].message)
    assert "master-two-only" in paper.diary
    assert "master-one-only" not in paper.diary
    paper.fails = lambda unit: None
    paper.diary.clear()
    assert run(paper, titles).stuck == {}
    assert paper.diary == ["picture-one-only", "master-one-only"]


def test_a_title_whose_work_cannot_be_planned_ends_and_the_others_go_on(paper: Paperwork, titles: list[Title]) -> None:
    def refuses(title: Title, stage: str) -> None:
        if (title.row.title_id, stage) == ("two", "render"):
            raise RequestError("the speech is gone")

    paper.refuses = refuses
    going = run(paper, titles)
    assert str(going.stuck["two.mp4"]) == "the speech is gone"
    assert "master-one-only" in paper.diary
    assert "two over" in paper.told


def test_trouble_with_shared_work_ends_every_title_that_needs_it(paper: Paperwork, titles: list[Title]) -> None:
    paper.shared = frozenset({"render"})
    paper.fails = failing("render-all-second", OSError(errno.ENOSPC, "the disk is full"))
    assert set(run(paper, titles).stuck) == {"one.mp4", "two.mp4"}


def test_a_budget_that_is_used_up_leaves_what_is_not_rendered_for_the_next_run(
    paper: Paperwork, titles: list[Title]
) -> None:
    now = [0.0]
    budget = Budget(1.0, clock=lambda: now[0])

    def fails(unit: Unit) -> None:
        if unit.unit_id == "render-one-second":
            now[0] = 3601.0

    paper.fails = fails
    going = run(paper, titles, budget)
    assert going.stuck == {"two.mp4": OVER_BUDGET}
    assert "master-one-only" in paper.diary
    paper.diary.clear()
    assert run(paper, titles).stuck == {}
    assert paper.diary == ["render-two-first", "render-two-second", "picture-two-only", "master-two-only"]


def test_a_run_that_is_stopped_keeps_what_is_done(paper: Paperwork, titles: list[Title]) -> None:
    run(paper, titles, should_stop=lambda: len(paper.diary) >= 3)
    done = list(paper.diary)
    assert len(done) < 12
    run(paper, titles)
    assert sorted(paper.diary) == sorted(set(paper.diary)), "nothing is done twice"
    assert len(paper.diary) == 12


def test_the_watcher_hears_how_every_title_gets_on(paper: Paperwork, titles: list[Title]) -> None:
    run(paper, titles[:1])
    assert paper.told == [
        "one analyse 1",
        "begin",
        "one adapt 1",
        "one render 2",
        "one picture 1",
        "one master 1",
        "one over",
    ]


def test_work_that_was_opened_again_meanwhile_is_told_as_that_and_not_as_a_budget(
    paper: Paperwork, titles: list[Title], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Ledger.decide

    def decide(self: Ledger, claim: Claim, result: Receipt | Quarantine) -> Receipt | Quarantine:
        if claim.unit.unit_id == "picture-one-only":
            raise Superseded("it was opened again")
        return real(self, claim, result)

    monkeypatch.setattr(Ledger, "decide", decide)
    paper.fails = failing("picture-one-only", ValueError("poison"))
    assert run(paper, titles).stuck == {"one.mp4": OPENED_AGAIN}
    assert "master-two-only" in paper.diary
