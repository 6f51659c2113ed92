"""The preprocessing flow's phases, each called as a plain function."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest

from flows import preprocess
from flows.cluster.config import EngineConfig
from flows.preprocess import PreprocessJob, dry_run, extract_clips, plan_sources, publish, summary
from flows.workers.pack import PackWorker
from preprocessing.config import PreprocessConfig, QualityConfig
from preprocessing.errors import Unusable
from shards.catalog import current_dataset, current_generation, make_current, published
from shards.commit import Claim, Ledger, Plan, Receipt
from shards.errors import AccountError, RequestError, WrongStore
from shards.pack import PackConfig
from shards.schema import Rejection
from shards.shard import pack_shard
from shards.store import Store, open_store
from shards.writer import FragmentWriter
from tests.support.clips import make_clip
from tests.support.lavfi import video

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

    def worker(self, store_uri: str, config: object) -> Paper:
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


def test_a_unit_is_named_by_content_and_measurements_not_by_place_or_threshold(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"film")
    (plan,) = plan_sources.fn([str(tmp_path)], JOB).units
    (tmp_path / "a.mp4").rename(tmp_path / "renamed.mp4")
    strict = JOB.model_copy(update={"clips": PreprocessConfig(quality=QualityConfig(min_seen=1.0))})
    larger = JOB.model_copy(update={"clips": PreprocessConfig.model_validate({"crop": {"size_px": 256}})})
    assert plan_sources.fn([str(tmp_path)], strict).units[0].unit_id == plan.unit_id
    assert plan_sources.fn([str(tmp_path)], larger).units[0].unit_id != plan.unit_id


def test_a_payload_leads_to_the_file_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.mp4").write_bytes(b"film")
    monkeypatch.chdir(tmp_path)
    (unit,) = plan_sources.fn(["a.mp4"], JOB).units
    assert unit.payload["path"] == str(tmp_path / "a.mp4")


def test_copies_are_one_unit_and_a_limit_takes_the_first(tmp_path: Path) -> None:
    for name in ("a", "b", "copy of a"):
        (tmp_path / name).write_bytes(name[-1].encode())
    assert [u.payload["name"] for u in plan_sources.fn([str(tmp_path)], JOB).units] in (["a", "b"], ["b", "a"])
    limited = JOB.model_copy(update={"limit": 1})
    assert [u.payload["name"] for u in plan_sources.fn([str(tmp_path)], limited).units] == ["a"]


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
    assert told["given_up"] == {"poison": f"ValueError: poison; to see it: {reproduce(plan, store, 'poison')}"}
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


# -- dry run -----------------------------------------------------------------------------------------------------------


def test_a_dry_run_tells_what_is_new_and_what_cannot_be_read_and_writes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "footage"
    folder.mkdir()
    video(folder / "film.mp4", seconds=0.4)
    (folder / "empty.mp4").touch()
    (tmp_path / "store").mkdir()
    plan = dry_run([str(folder)], str(tmp_path / "store"), JOB)
    assert (plan["planned"], plan["done"], plan["footage_seconds"]) == (2, 0, 0.4)
    assert plan["unreadable"] == [{"source": "empty.mp4", "code": "empty_file"}]
    assert plan["config"]["clips"]["crop"]["size_px"] == 128
    assert list((tmp_path / "store").iterdir()) == []


def test_a_dry_run_knows_what_is_done(paper: Paper, footage: Callable[..., list[str]], tmp_path: Path) -> None:
    sources, store = footage("a", "b"), str(tmp_path / "store")
    run(plan_sources.fn(sources, JOB), store)
    assert dry_run(sources + footage("c"), store, JOB)["done"] == 2


def test_a_place_that_cannot_be_a_store_is_refused_by_a_dry_run_as_well(
    footage: Callable[..., list[str]], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RequestError):
        dry_run(footage("a"), str(tmp_path / "file"), JOB)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "things").touch()
    with pytest.raises(WrongStore):
        dry_run(footage("a"), str(tmp_path / "other"), JOB)
