"""The preprocessing flow's phases, each called as a plain function."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import preprocess
from flows.cluster.config import EngineConfig
from flows.planning import PreprocessJob, dry_run
from flows.preprocess import extract_clips, plan_sources, publish, summary, unchanged
from flows.sources import identify as identifying
from flows.workers.pack import PackWorker
from preprocessing.config import PreprocessConfig, QualityConfig
from preprocessing.errors import Unusable
from shards.catalog import current_dataset, current_generation, make_current, published
from shards.commit import Claim, Ledger, Plan, Receipt
from shards.errors import AccountError
from shards.pack import PackConfig
from shards.schema import Rejection
from shards.shard import pack_shard
from shards.store import Store, open_store
from shards.writer import FragmentWriter
from tests.support.clips import make_clip

# Random clips are sharp; `min_seen` and the rest are not measured in them.
JOB = PreprocessJob(
    clips=PreprocessConfig(quality=QualityConfig(min_sharpness=0.0)),
    pack=PackConfig(val_share=0.0, test_share=0.0),
    engine=EngineConfig(backoff_s=0, max_attempts=2),
)


@dataclass
class Paper:
    """Cuts a clip from every source without reading it, but for those whose name says what is wrong."""

    done: list[str] = field(default_factory=list)

    def worker(self, store_uri: str, config: object, staging: object) -> Paper:
        """Stands in for the worker's class."""
        self.ledger = Ledger(open_store(store_uri, create=False))
        return self

    def setup(self) -> None:
        """Nothing is loaded."""

    def process(self, item: Claim) -> Receipt:
        unit = item.unit
        self.done.append(unit.payload["name"])
        if "unusable" in unit.payload["name"]:
            raise Unusable.because("no_face", "nobody is seen")
        if "poison" in unit.payload["name"]:
            raise ValueError("poison")
        with tempfile.TemporaryDirectory() as folder, FragmentWriter(Path(folder, "fragment.tar")) as writer:
            writer.add(make_clip(int(unit.unit_id[:6], 16)))
            fragment = writer.seal()
            ref = self.ledger.put_object(item, fragment.path, ".tar")
        rejection = Rejection(code="too_short", detail="5 frames only")
        return self.ledger.commit(
            item,
            Receipt(
                unit_id=unit.unit_id,
                stage=unit.stage,
                objects=(ref,),
                samples=fragment.entries,
                rejections=(rejection,),
            ),
        )

    def close(self) -> None:
        """Nothing is held."""


@pytest.fixture
def paper(monkeypatch: pytest.MonkeyPatch) -> Paper:
    made = Paper()
    monkeypatch.setattr(preprocess, "ExtractWorker", made.worker)
    return made


@pytest.fixture(autouse=True)
def _files_settle_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identifying, "SETTLE_S", 0.0)


@pytest.fixture(autouse=True)
def _every_clip_is_good_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preprocess, "judge", lambda scores, config: None)


@pytest.fixture
def footage(tmp_path: Path) -> Callable[..., list[str]]:
    """Files of these names, each with its own content."""

    def make(*names: str) -> list[str]:
        folder = tmp_path / "footage"
        folder.mkdir(exist_ok=True)
        for name in names:
            (folder / name).write_text(f"content of {name}")
        return [str(folder)]

    return make


def test_sources_that_cannot_be_read_are_rejected_without_a_worker(
    paper: Paper, footage: Callable[..., list[str]], tmp_path: Path
) -> None:
    folder = Path(*footage("a"))
    (folder / "dead.mp4").symlink_to(folder / "gone")
    os.mkfifo(folder / "pipe.mp4")
    store = str(tmp_path / "store")
    told = run(plan_sources.fn([str(folder)], JOB, store), store)
    assert (told["planned"], told["kept"], told["rejected"]) == (3, 1, 2)
    assert told["rejections"] == {"dead_link": 1, "not_a_file": 1, "too_short": 1}
    assert paper.done == ["a"]


def test_the_same_name_in_two_folders_is_two_sources_and_each_is_told_by_its_place(
    paper: Paper, tmp_path: Path
) -> None:
    for day in ("day1", "day2"):
        (tmp_path / "footage" / day).mkdir(parents=True)
        (tmp_path / "footage" / day / "poison").write_text(day)
    store = str(tmp_path / "store")
    told = run(plan_sources.fn([str(tmp_path / "footage")], JOB, store), store)
    assert (told["planned"], told["quarantined"]) == (2, 2)
    assert set(told["given_up"]) == {str(tmp_path / "footage" / day / "poison") for day in ("day1", "day2")}


SHARD_EACH = JOB.model_copy(update={"pack": PackConfig(target_bytes=1, val_share=0.0, test_share=0.0)})


class RecordingPackWorker(PackWorker):
    """Says what it was given."""

    packed: ClassVar[list[str]] = []

    def process(self, item: Claim) -> Receipt:
        self.packed.append(item.unit.unit_id)
        return super().process(item)


def run(plan: Plan, store: str, job: PreprocessJob = JOB) -> dict[str, object]:
    extract_clips.fn(plan, store, job, "none")
    return summary(publish.fn(plan, store, job, "none"), store)


def reproduce(plan: Plan, store: str, name: str) -> str:
    (unit,) = [unit for unit in plan.units if unit.payload["name"] == name]
    given_up = Ledger(open_store(store)).quarantined(unit.unit_id)
    assert given_up is not None
    return given_up.reproduce


def test_the_account_closes_and_the_dataset_is_published(
    paper: Paper, footage: Callable[..., list[str]], tmp_path: Path
) -> None:
    plan, store = plan_sources.fn(footage("a", "b", "unusable", "poison"), JOB), str(tmp_path / "store")
    told = run(plan, store)
    assert (told["planned"], told["kept"], told["rejected"], told["quarantined"]) == (4, 2, 1, 1)
    assert told["account"] == "4 planned = 2 kept + 1 rejected + 1 quarantined"
    assert (told["clips"], told["is_newest"]) == (2, True)
    assert told["rejections"] == {"no_face": 1, "too_short": 2}
    place = str(tmp_path / "footage" / "poison")
    assert told["given_up"] == {place: f"ValueError: poison; to see it: {reproduce(plan, store, 'poison')}"}
    assert isinstance(told["dataset"], str)
    assert sorted(paper.done) == ["a", "b", "poison", "poison", "unusable"]


def test_the_same_run_again_does_nothing_and_names_the_same_dataset(
    paper: Paper, footage: Callable[..., list[str]], tmp_path: Path
) -> None:
    plan, store = plan_sources.fn(footage("a", "poison"), JOB), str(tmp_path / "store")
    first = run(plan, store)
    paper.done.clear()
    assert run(plan, store) == first
    assert paper.done == []


def test_a_new_file_is_the_only_work_of_the_next_run(
    paper: Paper, footage: Callable[..., list[str]], tmp_path: Path
) -> None:
    store = str(tmp_path / "store")
    run(plan_sources.fn(footage("a", "b"), JOB), store)
    paper.done.clear()
    assert run(plan_sources.fn(footage("c"), JOB), store)["planned"] == 3
    assert paper.done == ["c"]


def test_footage_of_which_nothing_is_worth_keeping_publishes_nothing(
    paper: Paper, footage: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preprocess, "judge", lambda scores, config: Rejection(code="blurred", detail="unsharp"))
    told = run(plan_sources.fn(footage("a"), JOB), str(tmp_path / "store"))
    assert (told["dataset"], told["clips"], told["rejections"]) == (None, 0, {"blurred": 1, "too_short": 1})


def test_an_unfinished_plan_is_never_published(paper: Paper, footage: Callable[..., list[str]], tmp_path: Path) -> None:
    plan, store = plan_sources.fn(footage("a", "b"), JOB), str(tmp_path / "store")
    Ledger(open_store(store)).write_plan(plan)
    with pytest.raises(AccountError, match="2 pending"):
        publish.fn(plan, store, JOB, "none")


def test_decisions_are_read_once_for_the_account_the_dataset_and_the_summary(
    paper: Paper, footage: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = plan_sources.fn(footage("a", "b", "unusable", "poison"), JOB), str(tmp_path / "store")
    run(plan, store)
    read, seen = Store.read, Counter[str]()

    def counted(self: Store, path: str) -> bytes:
        seen[path] += 1
        return read(self, path)

    monkeypatch.setattr(Store, "read", counted)
    # The dataset's page looks at some again, at no more than it can show.
    monkeypatch.setattr(preprocess, "write_card", lambda store, name: "")
    summary(publish.fn(plan, store, JOB, "none"), store)
    assert [seen[f"commits/{unit.unit_id}.json"] for unit in plan.units] == [1] * 4


def test_many_shards_are_packed_by_workers_to_the_same_dataset(
    paper: Paper, footage: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_sources.fn(footage("a", "b", "c"), SHARD_EACH)
    here = run(plan, str(tmp_path / "here"), SHARD_EACH)
    packed = RecordingPackWorker.packed = []
    monkeypatch.setattr(preprocess, "PackWorker", RecordingPackWorker)
    monkeypatch.setattr(preprocess, "PACKED_HERE", 0)
    there = run(plan, str(tmp_path / "there"), SHARD_EACH)
    assert len(packed) == 3
    assert here["dataset"] == there["dataset"] is not None
    # And again there is nothing to pack.
    assert run(plan, str(tmp_path / "there"), SHARD_EACH) == there
    assert len(packed) == 3


def test_a_shard_that_cannot_be_packed_stops_publishing_until_its_cause_is_mended(
    paper: Paper, footage: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preprocess, "PACKED_HERE", 0)
    plan, store = plan_sources.fn(footage("a", "b"), SHARD_EACH), open_store(tmp_path / "store")
    extract_clips.fn(plan, store.uri, SHARD_EACH, "none")
    path = next(iter(store.list("objects/")))
    whole = store.read(path)
    store.write(path, whole.replace(b"fLaC", b"fLaX", 1))
    with pytest.raises(AccountError, match=rf"given up .*{path}, byte 0.*speech\.flac.*run again"):
        publish.fn(plan, store.uri, SHARD_EACH, "none")
    assert current_dataset(store) is None
    store.write(path, whole)
    assert publish.fn(plan, store.uri, SHARD_EACH, "none").publication is not None


def test_a_dataset_overtaken_by_another_is_told_as_such(
    paper: Paper, footage: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = plan_sources.fn(footage("a"), JOB), open_store(tmp_path / "store")
    extract_clips.fn(plan, store.uri, JOB, "none")

    def overtaken(ledger: Ledger, claim: Claim) -> Receipt:
        make_current(store, "f" * 64, current_generation(store))
        return pack_shard(ledger, claim)

    monkeypatch.setattr(preprocess, "pack_shard", overtaken)
    told = summary(publish.fn(plan, store.uri, JOB, "none"), store.uri)
    assert told["is_newest"] is False
    assert told["dataset"] in published(store)
    assert current_dataset(store) == "f" * 64


def test_what_was_given_up_can_be_reproduced_in_a_store_of_its_own(
    paper: Paper, footage: Callable[..., list[str]], tmp_path: Path
) -> None:
    plan, store = plan_sources.fn(footage("poison it's"), JOB), str(tmp_path / "store")
    run(plan, store)
    command = reproduce(plan, store, "poison it's")
    assert command.startswith("dubwright preprocess '")
    assert command.endswith("""poison it'"'"'s' --store "$(mktemp -d)" --address none""")


def test_a_folder_without_files_is_an_empty_plan(tmp_path: Path) -> None:
    (tmp_path / "footage").mkdir()
    plan = plan_sources.fn([str(tmp_path / "footage")], JOB)
    told = run(plan, str(tmp_path / "store"))
    assert (told["planned"], told["dataset"]) == (0, None)


# -- again -------------------------------------------------------------------------------------------------------------


def test_a_run_with_nothing_to_extract_needs_no_engine(
    paper: Paper, footage: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources, store = footage("a", "poison"), str(tmp_path / "store")
    assert unchanged(sources, store, JOB) is None
    first = run(plan_sources.fn(sources, JOB, store), store)
    monkeypatch.setattr(preprocess, "open_engine", lambda address: pytest.fail("an engine was opened"))
    told = unchanged(sources, store, JOB)
    assert told is not None
    assert told.pop("seconds") >= 0
    assert told == first
    assert unchanged(footage("b"), store, JOB) is None


def test_a_threshold_that_moved_publishes_again_without_an_engine(
    paper: Paper, footage: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources, store = footage("a", "b"), str(tmp_path / "store")
    first = run(plan_sources.fn(sources, JOB, store), store)
    monkeypatch.setattr(preprocess, "judge", lambda scores, config: Rejection(code="blurred", detail="unsharp"))
    told = unchanged(sources, store, JOB)
    assert told is not None
    assert (first["clips"], told["clips"], told["rejections"]) == (2, 0, {"blurred": 2, "too_short": 2})


def test_where_a_server_keeps_the_runs_each_is_one_of_its_runs(
    paper: Paper, footage: Callable[..., list[str]], tmp_path: Path
) -> None:
    sources, store = footage("a"), str(tmp_path / "store")
    run(plan_sources.fn(sources, JOB, store), store)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        assert unchanged(sources, store, JOB) is None


# -- dry run -----------------------------------------------------------------------------------------------------------


def test_a_dry_run_knows_what_is_done(paper: Paper, footage: Callable[..., list[str]], tmp_path: Path) -> None:
    sources, store = footage("a", "b"), str(tmp_path / "store")
    run(plan_sources.fn(sources, JOB), store)
    assert dry_run(sources + footage("c"), store, JOB)["done"] == 2
