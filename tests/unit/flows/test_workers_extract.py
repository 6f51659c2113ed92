"""Preprocessing's worker on a second of a talking face, and on files that are no footage."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.workers.extract import ExtractWorker
from flows.workers.fragments import SourceChanged, clip_address, read_clip
from flows.workers.staging import StagingConfig
from preprocessing.config import ClipConfig, CropConfig, PreprocessConfig
from shards.commit import Ledger, Receipt, Unit
from shards.fingerprint import file_sha256
from shards.remote import Bucket
from shards.store import open_store
from tests.support.datasets import done_by
from tests.support.lavfi import sine
from tests.support.s3 import environment, new_bucket
from tests.support.synthetic import talking_title

CONFIG = PreprocessConfig(crop=CropConfig(size_px=64), clip=ClipConfig(min_frames=10))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("extract")


@pytest.fixture(scope="module")
def worker(folder: Path) -> Iterator[ExtractWorker]:
    ledger = Ledger(open_store(folder / "store"))
    made = ExtractWorker(ledger.store.uri, CONFIG.model_dump(mode="json"))
    made.setup()
    yield made
    made.close()


@pytest.fixture(scope="module")
def ledger(folder: Path, worker: ExtractWorker) -> Ledger:
    return Ledger(open_store(folder / "store", create=False))


def unit_for(path: Path, unit_id: str | None = None) -> Unit:
    sha256 = file_sha256(path)
    payload = {"path": str(path), "name": path.name, "sha256": sha256, "code_version": "test"}
    return Unit(unit_id=unit_id or sha256, stage="extract", payload=payload)


@pytest.fixture(scope="module")
def talking(folder: Path, worker: ExtractWorker) -> tuple[Unit, Receipt]:
    unit = unit_for(talking_title(folder, seconds=1.0, size=(256, 256)).video)
    return unit, done_by(worker, unit)


def test_a_talking_face_becomes_a_committed_clip(talking: tuple[Unit, Receipt], ledger: Ledger) -> None:
    unit, receipt = talking
    assert ledger.receipt(unit.unit_id) == receipt
    assert dict(receipt.details) == {"frames": 25, "shots": 1, "tracks": 1}
    (entry,) = receipt.samples
    clip = read_clip(ledger.store, clip_address(receipt, entry))
    assert clip.frames.shape == (25, 64, 64, 3)
    assert clip.provenance.source_sha256 == unit.payload["sha256"]
    assert clip.provenance.source_name == "title.mp4"
    assert clip.provenance.code_version == "test"


def test_what_somebody_says_of_a_source_is_in_its_clips(worker: ExtractWorker, folder: Path, ledger: Ledger) -> None:
    plain = unit_for(talking_title(folder, seconds=1.0, size=(256, 256)).video, unit_id="said")
    unit = dataclasses.replace(plain, payload={**plain.payload, "language": "pt-BR", "identity": "Ann"})
    receipt = done_by(worker, unit)
    (entry,) = receipt.samples
    clip = read_clip(ledger.store, clip_address(receipt, entry))
    assert (entry.language, entry.identity) == (clip.language, clip.identity) == ("pt-BR", "Ann")


def test_licence_and_meta_are_in_the_receipt_of_kept_and_rejected_alike(worker: ExtractWorker, folder: Path) -> None:
    said = {"licence": "CC-BY-4.0", "meta": {"show": "news"}}
    (folder / "story.txt").write_text("no film")
    title = talking_title(folder, seconds=1.0, size=(256, 256)).video
    for number, path in enumerate((title, folder / "story.txt")):
        plain = unit_for(path, unit_id=f"licensed-{number}")
        details = done_by(worker, dataclasses.replace(plain, payload={**plain.payload, **said})).details
        assert {name: details[name] for name in said} == said


def test_an_object_of_a_bucket_is_worked_on_from_where_it_is_staged(
    worker: ExtractWorker, folder: Path, ledger: Ledger, talking: tuple[Unit, Receipt], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    root, (local, receipt) = f"s3://{new_bucket()}", talking
    Bucket(root).put_file("films/a.mp4", Path(local.payload["path"]))
    monkeypatch.setattr(worker, "_staging", StagingConfig(folder=folder / "staged"))
    size = Path(local.payload["path"]).stat().st_size
    payload = {**local.payload, "path": f"{root}/films/a.mp4", "size_bytes": size}
    remote = done_by(worker, Unit(unit_id="remote", stage="extract", payload=payload))
    assert remote.objects == receipt.objects


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:1/film.ts\n#EXT-X-ENDLIST\n", "not_media"),
        (b"ffconcat version 1.0\nfile http://127.0.0.1:1/film.mp4\n", "not_media"),
        (bytes(range(256)) * 64, "not_media"),
    ],
    ids=["playlist of a URL", "script of a URL", "random bytes"],
)
def test_hostile_bytes_are_one_rejected_unit_whatever_their_name_says(
    worker: ExtractWorker, folder: Path, content: bytes, code: str
) -> None:
    path = folder / "film.mp4"
    path.write_bytes(content)
    receipt = done_by(worker, unit_for(path))
    assert [r.code for r in receipt.rejections] == [code]
    assert path.read_bytes() == content


def test_doing_the_unit_again_makes_the_same_bytes_and_adopts_the_first_commit(
    talking: tuple[Unit, Receipt], worker: ExtractWorker, ledger: Ledger
) -> None:
    unit, receipt = talking
    objects = sorted(ledger.store.list("objects/"))
    assert done_by(worker, unit) == receipt
    assert sorted(ledger.store.list("objects/")) == objects


def test_footage_without_sound_is_rejected(worker: ExtractWorker, ledger: Ledger, folder: Path) -> None:
    video = talking_title(folder, seconds=1.0, size=(256, 256), sound=False, name="mute").video
    receipt = done_by(worker, unit_for(video))
    assert not receipt.is_kept
    assert [r.code for r in receipt.rejections] == ["no_audio"]
    assert ledger.receipt(receipt.unit_id) == receipt


@pytest.mark.parametrize("content", [b"", b"not a film"])
def test_a_file_that_is_no_footage_is_one_rejected_unit(worker: ExtractWorker, folder: Path, content: bytes) -> None:
    path = folder / "notes.txt"
    path.write_bytes(content)
    receipt = done_by(worker, unit_for(path))
    assert not receipt.is_kept
    assert len(receipt.rejections) == 1


def test_sound_alone_is_no_footage(worker: ExtractWorker, folder: Path) -> None:
    receipt = done_by(worker, unit_for(sine(folder / "tone.wav", seconds=0.2)))
    assert [r.code for r in receipt.rejections] == ["no_video"]


def test_a_source_that_changed_or_went_since_the_plan_leaves_its_unit_open(
    worker: ExtractWorker, ledger: Ledger, folder: Path
) -> None:
    path = folder / "soon gone.mp4"
    path.write_bytes(b"planned")
    unit = unit_for(path)
    path.write_bytes(b"another")
    with pytest.raises(SourceChanged):
        done_by(worker, unit)
    path.unlink()
    with pytest.raises(SourceChanged):
        done_by(worker, unit)
    assert ledger.receipt(unit.unit_id) is None
