"""Crops kept while looking: the same bytes as a second read gives, or none at all."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from preprocessing.clip import ClipTools, analyse, cut_clips
from preprocessing.config import PreprocessConfig
from preprocessing.faces.base import Analysis, FaceObservation, Shot
from preprocessing.faces.keep import CropKeeper, CropStore
from preprocessing.faces.track import FaceTracker
from shards.codec import encode_clip
from shards.schema import U8, ClipSample, Speech
from tests.support.fakes import DotBackend, DrawnFace, MemorySource, draw, face_points

ANNA, BEN = (220, 170, 140), (90, 140, 190)


class TiltingBackend(DotBackend):
    """Says that the face turns over, 0.3 radians a frame: `draw`'s faces cannot."""

    tilt = 0.0

    def infer(self, frames: U8) -> list[list[FaceObservation]]:
        found = super().infer(frames)
        for (face,) in found:
            self.tilt += 0.3
            middle = face.points.mean(axis=0)
            z = (face.points - middle) @ np.array([1, 1j]) * np.exp(1j * self.tilt)
            face.points[:] = np.column_stack([z.real, z.imag]) + middle
        return found


def settings(**crop: float) -> PreprocessConfig:
    return PreprocessConfig.model_validate(
        {
            "clip": {"min_frames": 2, "max_frames": 20},
            "crop": {"size_px": 48, **crop},
            "faces": {"max_faces": 2},
            "audio": {"features": ["mel"]},
        }
    )


def busy_scene() -> list[U8]:
    """Two people, one of whom is lost for three frames, a cut, and one who runs."""
    first = []
    for t in range(70):
        anna = DrawnFace(x=90 + 12 * np.sin(t / 4), y=110, eye_px=26 + t // 10, skin=ANNA)
        ben = DrawnFace(x=240 - 0.4 * t, y=100 + 5 * np.cos(t), eye_px=22, skin=BEN)
        first.append(draw([anna] if t in (30, 31, 32) else [anna, ben], seed=t))
    second = [draw([DrawnFace(x=60 + 9 * t, y=90, skin=BEN)], background=170, seed=t) for t in range(25)]
    return first + second


def clips(
    analysis: Analysis, source: MemorySource, config: PreprocessConfig, store: CropStore | None
) -> list[ClipSample]:
    sound = Speech(samples=np.zeros(80_000, dtype=np.int16), rate_hz=16_000, origin_s=Fraction(0))
    names = {"source_sha256": "ab" * 32, "source_name": "memory.mkv", "code_version": "1"}
    parts = list(cut_clips(analysis, source, sound, ClipTools(config), config, crops=store, **names))
    assert all(isinstance(part, ClipSample) for part in parts)
    return [part for part in parts if isinstance(part, ClipSample)]


def both_ways(
    pictures: list[U8], config: PreprocessConfig, *, most_bytes: int = 1 << 30, backend: type[DotBackend] = DotBackend
) -> tuple[list[dict[str, bytes]], list[dict[str, bytes]], int]:
    """Every clip with kept crops and by a second read, in the order of keys; and how often the first way read."""
    source, again = MemorySource(pictures), MemorySource(pictures)
    with CropStore(most_bytes=most_bytes) as store:
        kept = clips(analyse(source, backend(), config, crops=store), source, config, store)
    read = clips(analyse(again, backend(), config), again, config, None)
    one, two = ([encode_clip(c) for c in sorted(way, key=lambda c: c.key)] for way in (kept, read))
    return one, two, len(source.reads)


@pytest.mark.parametrize("smooth_s", [0.0, 0.2, 1.5])
def test_kept_crops_are_those_of_a_second_read_to_the_last_bit(smooth_s: float) -> None:
    kept, read, reads = both_ways(busy_scene(), settings(smooth_s=smooth_s))
    assert len(kept) == len(read) > 5
    assert kept == read
    assert reads == 1


def test_a_head_that_turns_over_more_than_once_is_kept_like_any_other() -> None:
    pictures = [draw([DrawnFace(x=150, y=110, eye_px=24)], seed=t) for t in range(60)]
    kept, read, reads = both_ways(pictures, settings(), backend=TiltingBackend)
    assert kept == read
    assert reads == 1


def test_what_has_no_room_is_read_again_and_looks_the_same() -> None:
    kept, read, reads = both_ways(busy_scene(), settings(), most_bytes=80 * 48 * 48 * 3)
    assert kept == read
    assert reads == 2


def test_pictures_are_let_go_once_their_crops_are_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    settle = CropKeeper._settle

    def watched(self: CropKeeper, stop: int) -> None:
        settle(self, stop)
        held.append(len(self._parts))

    monkeypatch.setattr(CropKeeper, "_settle", watched)
    with CropStore() as store:
        analyse(MemorySource([draw([DrawnFace(x=150, y=110)])] * 300), DotBackend(), settings(), crops=store)
    # Four sigmas of 0.2 s at 25 fps are 20 frames.
    assert max(held) == 20
    assert len(held) > 60


def test_a_track_with_frames_that_were_never_shown_is_left_to_a_second_read() -> None:
    config, face = settings(), DrawnFace(x=100, y=90)
    with CropStore() as store:

        def keeper() -> CropKeeper:
            return CropKeeper(store, config.crop, "mediapipe131", sigma_frames=1.0)

        found = {}
        for shown in (True, False):
            tracker = FaceTracker(config.faces, "mediapipe131", new_keeper=keeper)
            for index in range(10):
                if shown or index not in (4, 5):
                    seen = [] if index in (4, 5) else [FaceObservation(points=face_points(face), confidence=1.0)]
                    tracker.push(index, draw([face]), seen)
            (found[shown],) = tracker.finish(Shot(index=0, start=0, stop=10))
    assert len(found[True].crops or ()) == 10
    assert found[False].crops is None


def test_a_small_face_leaves_nothing_to_cut() -> None:
    pictures = [draw([DrawnFace(x=100, y=90, eye_px=12)])] * 12
    with CropStore() as store:
        found = analyse(MemorySource(pictures), DotBackend(), settings(), crops=store)
        assert found.tracks == ()
        assert not store.has(0)
