"""Dubbing's last worker: the finished file, what is told of it, and what is left when it fails."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from flows.workers import master
from flows.workers.fragments import SourceChanged
from flows.workers.master import STRIP_SUFFIX, MasterWorker
from preprocessing.errors import Unusable
from preprocessing.media.native import NativeSource
from preprocessing.media.probe import frame_times, probe, probe_with_times
from preprocessing.media.provenance import SIDECAR_SUFFIX, read_manifest
from preprocessing.media.runner import run_media
from preprocessing.media.tools import ffmpeg_command, file_url
from shards.commit import Receipt, Unit
from shards.fingerprint import file_sha256
from shards.schema import F64
from tests.support.datasets import done_by
from tests.support.lavfi import sine, turned, uneven, video
from tests.support.mastered import Drawn, Film


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Film:
    """A face in the middle, so that most of the film is copied."""
    return Film.made(tmp_path_factory.mktemp("master"), Drawn(50, 58))


@pytest.fixture(scope="module")
def receipt(film: Film) -> Receipt:
    return film.finished()


@pytest.fixture
def worker(film: Film, tmp_path: Path) -> MasterWorker:
    """One with an output folder of its own."""
    made = MasterWorker(film.ledger.store.uri, str(tmp_path / "out"))
    made.setup()
    return made


def renamed(unit: Unit, unit_id: str, **changes: Any) -> Unit:
    return dataclasses.replace(unit, unit_id=unit_id, payload={**unit.payload, **changes})


def luma(path: Path) -> F64:
    """(T, H, W), decoded without a word of complaint."""
    said = run_media(ffmpeg_command("-i", file_url(path), "-map", "0:v:0", "-f", "null", "-"), deadline_s=60).stderr
    assert said == ""
    info, times = probe_with_times(path)
    return np.stack([f.planes[0] for f in NativeSource(path, info, times=times).frames()]).astype(np.float64)


def seconds(path: Path) -> list[object]:
    times = frame_times(path, probe(path))
    return [times.at(n).seconds for n in range(len(times))]


class TestAFileWithAFaceInTheMiddle:
    def test_frames_around_it_are_the_sources_bit_for_bit(self, film: Film, receipt: Receipt) -> None:
        ours, theirs = luma(film.out / "one.es.mp4"), luma(film.title.row.video)
        same = (ours == theirs).all(axis=(1, 2))
        assert same[:48].all()
        assert same[60:].all()
        assert not same[50:58].any()
        assert receipt.details["chunks"] == [
            {"start": 0, "stop": 48, "is_copied": True},
            {"start": 48, "stop": 60, "is_copied": False},
            {"start": 60, "stop": 100, "is_copied": True},
        ]

    def test_it_has_the_times_of_its_source_and_the_new_language(self, film: Film, receipt: Receipt) -> None:
        made = film.out / "one.es.mp4"
        assert seconds(made) == seconds(film.title.row.video)
        assert probe(made).audio[0].language == "spa"

    def test_the_commit_describes_the_file_that_lies_there(self, film: Film, receipt: Receipt) -> None:
        details, made = receipt.details, film.out / "one.es.mp4"
        assert details["size_bytes"] == made.stat().st_size
        assert details["sha256"] == file_sha256(made)
        assert (details["frames"], details["rendered_frames"]) == (100, 8)
        assert (details["codec"], details["encoder"], details["why_not_copied"]) == ("h264", "libx264", None)
        assert details["checks"]["copied"] == "88 of 100 frames"

    def test_the_strip_shows_the_rendered_face_above_and_below(self, film: Film, receipt: Receipt) -> None:
        (ref,) = receipt.objects
        assert ref.path.endswith(STRIP_SUFFIX)
        sheet = cv2.imdecode(np.frombuffer(film.ledger.store.read(ref.path), np.uint8), cv2.IMREAD_COLOR)
        # Squares around a crop of 63 px, with some room; whole frames would be 96 px high.
        assert sheet is not None
        assert sheet.shape[0] // 2 < 90

    def test_beside_it_lies_what_it_was_made_of_and_nothing_else(self, film: Film, receipt: Receipt) -> None:
        assert sorted(p.name for p in film.out.iterdir()) == [
            ".dubwright",
            "one.es.mp4",
            f"one.es.mp4{SIDECAR_SUFFIX}",
        ]
        told = json.loads((film.out / f"one.es.mp4{SIDECAR_SUFFIX}").read_text())
        assert told["frames"]["ai_generated"] == [{"first": 50, "last": 57}]
        assert told["output"]["sha256"] == receipt.details["sha256"]


def test_the_same_bytes_come_out_whoever_made_the_pieces_in_whatever_order(tmp_path: Path) -> None:
    lines = (Drawn(38, 46), Drawn(88, 96, seed=2))
    source = video(tmp_path / "film.mp4", size="128x96", seconds=4, sound=True)
    digests = set()
    for order in ("in order", "backwards"):
        film = Film.made(tmp_path / order, *lines, source=source, audio=sine(tmp_path / f"{order}.m4a", seconds=4))
        worker = film.picture_worker()
        for unit in film.units() if order == "in order" else reversed(film.units()):
            done_by(worker, unit)
        digests.add(film.finished().details["sha256"])
    assert len(digests) == 1


def test_with_cuts_every_second_every_frame_is_there(tmp_path: Path) -> None:
    source = video(tmp_path / "film.mp4", size="128x96", seconds=12)
    film = Film.made(
        tmp_path,
        *[Drawn(n + 3, n + 25, seed=n) for n in range(0, 300, 25)],
        source=source,
        cuts=list(range(25, 300, 25)),
        audio=sine(tmp_path / "speech.wav", seconds=12),
    )
    assert [c.stop for c in film.plan.chunks] == [250, 300]
    details = film.finished().details
    assert (details["frames"], details["rendered_frames"]) == (300, 264)
    assert seconds(film.out / "one.es.mp4") == seconds(source)


@pytest.mark.parametrize("output", ["one.mov", "one.mkv"])
def test_copies_go_into_every_container(tmp_path: Path, output: str) -> None:
    film = Film.made(tmp_path, Drawn(50, 58), output=output)
    film.finished()
    same = (luma(film.out / output) == luma(film.title.row.video)).all(axis=(1, 2))
    assert same[:48].all()
    assert same[60:].all()


def test_without_anything_rendered_the_packets_are_the_sources_own(tmp_path: Path) -> None:
    film = Film.made(tmp_path)
    details = film.finished().details
    assert (details["rendered_frames"], details["encoder"]) == (0, None)
    assert hashed(film.out / "one.es.mp4") == hashed(film.title.row.video)


def hashed(path: Path) -> bytes:
    command = ffmpeg_command("-i", file_url(path), "-map", "0:v:0", "-c", "copy", "-f", "hash", "pipe:1")
    return run_media(command, deadline_s=60).stdout


@pytest.mark.parametrize("drawn", [(), (Drawn(50, 58),)])
def test_a_turned_film_stays_turned(tmp_path: Path, drawn: tuple[Drawn, ...]) -> None:
    source = turned(tmp_path / "turned.mp4", video(tmp_path / "plain.mp4", size="128x96", seconds=4), 90)
    film = Film.made(tmp_path, *drawn, source=source)
    film.finished()
    made = probe(film.out / "one.es.mp4").video
    assert made is not None
    assert made.rotation == 90


def test_an_uneven_rate_is_kept_tick_for_tick(tmp_path: Path) -> None:
    film = Film.made(tmp_path, Drawn(6, 20), source=uneven(tmp_path / "film.mp4", size="128x96"))
    film.finished()
    assert seconds(film.out / "one.es.mp4") == seconds(film.title.row.video)


def test_a_last_frame_is_held_under_longer_speech(tmp_path: Path) -> None:
    speech = sine(tmp_path / "long.wav", seconds=5)
    film = Film.made(tmp_path, Drawn(50, 58), audio=speech, duration_policy="freeze", output="one.mov")
    assert film.finished().details["frames"] == 125
    made = luma(film.out / "one.mov")
    assert (made[60:100] == luma(film.title.row.video)[60:]).all()
    assert np.abs(made[101:] - made[100]).mean() < 1


def test_a_picture_ends_with_shorter_speech(tmp_path: Path) -> None:
    speech = sine(tmp_path / "short.wav", seconds=3)
    film = Film.made(tmp_path, Drawn(40, 46), audio=speech, duration_policy="cut", output="one.mov")
    assert film.finished().details["frames"] == 75
    assert seconds(film.out / "one.mov") == seconds(film.title.row.video)[:75]


@pytest.mark.parametrize(("policy", "codec"), [("mezzanine:prores_422hq", "prores"), ("review:h264", "h264")])
def test_a_policys_codec_is_delivered(tmp_path: Path, policy: str, codec: str) -> None:
    film = Film.made(tmp_path, Drawn(50, 58), codec_policy=policy, output="one.mov")
    details = film.finished().details
    assert details["codec"] == codec
    assert "codec policy" in details["why_not_copied"]
    assert any(policy in note for note in details["notes"])


def test_a_failure_half_way_leaves_the_old_file_and_no_other(
    film: Film, worker: MasterWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out" / "old.mp4"
    target.parent.mkdir()
    target.write_bytes(b"the last edition")

    def fails(*_: object) -> None:
        raise Unusable.because("truncated", "the file ends early")

    monkeypatch.setattr(master, "picture_strip", fails)
    with pytest.raises(Unusable):
        done_by(worker, renamed(film.master(), "half-way", output="old.mp4"))
    assert target.read_bytes() == b"the last edition"
    assert list(target.parent.iterdir()) == [target]
    assert film.ledger.receipt("half-way") is None


@pytest.mark.parametrize("column", ["video_sha256", "audio_sha256"])
def test_files_that_are_not_the_planned_ones_are_not_mastered(
    film: Film, worker: MasterWorker, tmp_path: Path, column: str
) -> None:
    with pytest.raises(SourceChanged):
        done_by(worker, renamed(film.master(), "changed", **{column: "0" * 64}))
    assert not (tmp_path / "out").exists()


def test_a_signed_file_is_valid_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("c2pa")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    film = Film.made(tmp_path / "film", Drawn(50, 58), provenance="c2pa")
    film.finished()
    assert read_manifest(film.out / "one.es.mp4")["validation_state"] in ("Valid", "Trusted")
    assert (tmp_path / "config" / "dubwright").is_dir()


def test_without_provenance_there_is_no_sidecar(tmp_path: Path) -> None:
    film = Film.made(tmp_path, provenance="none", output="a/b/plain.mov")
    film.finished()
    assert [p.name for p in (film.out / "a" / "b").iterdir()] == ["plain.mov"]
