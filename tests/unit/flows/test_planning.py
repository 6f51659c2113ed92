"""What a preprocessing run is to do, said before any work."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.pace import estimated_seconds
from flows.planning import PreprocessJob, dry_run, object_needed
from flows.preprocess import plan_sources
from flows.sources import identify as identifying
from preprocessing.config import PreprocessConfig, QualityConfig
from preprocessing.landmarks.choice import BackendChoice
from preprocessing.landmarks.mediapipe_mesh import MediapipeMesh
from shards.commit import Ledger, Receipt, Unit
from shards.errors import RequestError, WrongStore
from shards.place import Entry
from shards.schema import Rejection
from shards.store import Store, open_store
from tests.support.lavfi import video

JOB = PreprocessJob()


@pytest.fixture(autouse=True)
def _files_settle_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identifying, "SETTLE_S", 0.0)


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


def test_another_landmark_backend_or_version_makes_other_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.mp4").write_bytes(b"film")

    def unit_id(backend: str = "mediapipe") -> str:
        clips = PreprocessConfig.model_validate({"faces": {"backend": backend}})
        return plan_sources.fn([str(tmp_path)], JOB.model_copy(update={"clips": clips})).units[0].unit_id

    before = unit_id()
    assert unit_id("face-alignment") != before
    # What `auto` stands for here is planned, so that it means the same on every machine.
    monkeypatch.setattr(
        "preprocessing.landmarks.base.choose_backend", lambda detector: BackendChoice(backend="mediapipe", why="")
    )
    assert unit_id("auto") == before
    monkeypatch.setattr(MediapipeMesh, "version", "another")
    assert unit_id() != before


def test_what_a_list_says_is_in_the_unit_and_a_licence_changes_no_clip(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"film")

    def unit(columns: str, values: str) -> Unit:
        (tmp_path / "list.csv").write_text(f"source,{columns}\na.mp4,{values}\n")
        return plan_sources.fn([str(tmp_path / "list.csv")], JOB).units[0]

    said = unit("language,speaker,licence,meta.day", "es,Ann,CC0,2")
    assert {name: said.payload[name] for name in ("language", "identity", "licence", "meta")} == {
        "language": "es",
        "identity": "Ann",
        "licence": "CC0",
        "meta": {"day": "2"},
    }
    assert unit("language,speaker", "es,Ann").unit_id == said.unit_id
    assert unit("language,speaker", "fr,Ann").unit_id != said.unit_id
    assert unit("language,speaker", "es,Bea").unit_id != said.unit_id


def test_a_second_plan_reads_no_file(
    footage: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources, store = footage("a", "b"), str(tmp_path / "store")
    first = plan_sources.fn(sources, JOB, store)
    monkeypatch.setattr(identifying, "_sha256", lambda handle: pytest.fail("a file was read"))
    assert plan_sources.fn(sources, JOB, store) == first


def test_what_was_read_is_remembered_though_planning_is_stopped(
    footage: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources, store = footage("a"), str(tmp_path / "store")
    monkeypatch.setattr("flows.planning.pinned", lambda config: pytest.fail("stopped"))
    with pytest.raises(pytest.fail.Exception):
        plan_sources.fn(sources, JOB, store)
    assert list(open_store(store).list("sources/")) != []


# -- dry run -----------------------------------------------------------------------------------------------------------


def test_a_dry_run_tells_what_is_new_and_what_cannot_be_read_and_writes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "footage"
    folder.mkdir()
    video(folder / "film.mp4", seconds=0.4)
    (folder / "empty.mp4").touch()
    (tmp_path / "store").mkdir()
    plan = dry_run([str(folder)], str(tmp_path / "store"), JOB)
    assert (plan["planned"], plan["done"], plan["footage_seconds"]) == (2, 0, 0.4)
    assert plan["unreadable"] == [{"source": str(folder / "empty.mp4"), "code": "empty_file"}]
    assert (plan["estimated_seconds"], plan["not_looked_at"]) == (None, 0)
    assert plan["config"]["clips"]["crop"]["size_px"] == 128
    assert list((tmp_path / "store").iterdir()) == []


def test_a_source_that_is_not_there_leaves_no_store(tmp_path: Path) -> None:
    with pytest.raises(RequestError):
        plan_sources.fn([str(tmp_path / "absent.mp4")], JOB, str(tmp_path / "store"))
    assert not (tmp_path / "store").exists()


def test_units_of_one_object_meet_where_it_is_staged_and_files_lie_everywhere() -> None:
    payload = {"path": "s3://bucket/a.mp4", "sha256": "f" * 64}
    assert object_needed(Unit(unit_id="u", stage="extract", payload=payload)) == "f" * 64
    assert object_needed(Unit(unit_id="u", stage="extract", payload=payload | {"path": "/a.mp4"})) is None


def test_time_is_estimated_from_what_was_measured_in_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(open_store(tmp_path / "store"))
    assert estimated_seconds(ledger, 60.0, 1, 25) is None
    why = (Rejection(code="no_face", detail="nobody"),)
    for name, details in (("done", {"frames": 250}), ("unread", {})):
        unit = Unit(unit_id=name, stage="extract", payload={})
        ledger.commit(
            ledger.begin(unit, "run"), Receipt(unit_id=name, stage="extract", rejections=why, details=details)
        )
    really = Store.entries

    def five_seconds_later(self: Store, prefix: str = "") -> list[Entry]:
        begun = datetime.now(UTC).replace(microsecond=0)
        return [Entry(entry.path, 1, begun + timedelta(seconds=5)) for entry in really(self, prefix)]

    monkeypatch.setattr(Store, "entries", five_seconds_later)
    # 10 s of footage took 5 s, give or take the second in which the try began.
    assert estimated_seconds(ledger, 60.0, 1, 25) == pytest.approx(30.0, abs=12.0)


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
