"""The whole path of a clip, on drawn faces: what goes in comes out, and nothing gets lost on the way."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from preprocessing.clip import ClipTools, analyse, crop_span, cut_clips
from preprocessing.config import PreprocessConfig
from preprocessing.faces.base import Analysis
from shards.codec import decode_clip, encode_clip
from shards.schema import U8, ClipSample, Rejection, Speech
from tests.support.fakes import DotBackend, DrawnFace, MemorySource, draw, face_points

SHA = "ab" * 32
NAMES = {"source_sha256": SHA, "source_name": "memory.mkv", "code_version": "1"}
ANNA, BEN = (220, 170, 140), (90, 140, 190)


def config(**changes: Any) -> PreprocessConfig:
    base: dict[str, Any] = {
        "clip": {"min_frames": 5, "max_frames": 20},
        "crop": {"size_px": 64, "smooth_s": 0.0},
        "audio": {"features": ["mel"]},
    }
    return PreprocessConfig.model_validate(base | changes)


def shot(frames: int, face: Callable[[int], DrawnFace] | None, background: int = 60) -> list[U8]:
    return [draw([face(t)] if face else [], background=background) for t in range(frames)]


def anna(t: int) -> DrawnFace:
    return DrawnFace(x=120 + t, y=90, eye_px=30, opening=0.2 + 0.2 * np.sin(t), skin=ANNA)


def ben(t: int) -> DrawnFace:
    return DrawnFace(x=200 - t, y=100, eye_px=36, skin=BEN)


def speech(seconds: float, origin_s: Fraction = Fraction(0), rate_hz: int = 16_000) -> Speech:
    samples = np.random.default_rng(0).normal(0, 2000, round(seconds * rate_hz)).astype(np.int16)
    return Speech(samples=samples, rate_hz=rate_hz, origin_s=origin_s)


def ramp(seconds: int) -> Speech:
    """Each sample says which millisecond it is."""
    samples = (np.arange(seconds * 16_000) // 16).astype(np.int16)
    return Speech(samples=samples, rate_hz=16_000, origin_s=Fraction(0))


def cut(
    analysis: Analysis, source: MemorySource, sound: Speech | None, settings: PreprocessConfig, **changes: Any
) -> list[ClipSample | Rejection]:
    return list(cut_clips(analysis, source, sound, ClipTools(settings), settings, **(NAMES | changes)))


def clips_of(pictures: list[U8], sound: Speech | None, settings: PreprocessConfig) -> list[ClipSample | Rejection]:
    source = MemorySource(pictures)
    return cut(analyse(source, DotBackend(), settings), source, sound, settings)


# -- analyse -----------------------------------------------------------------------------------------------------------


def test_shots_tracks_people_and_stretches_without_a_face_are_found() -> None:
    pictures = shot(12, anna) + shot(10, ben, 170) + shot(6, None, 20) + shot(9, anna, 150)
    found = analyse(MemorySource(pictures), DotBackend(), config())
    assert [(s.start, s.stop) for s in found.shots] == [(0, 12), (12, 22), (22, 28), (28, 37)]
    assert [(a.track.start, a.track.stop, a.track.shot.index) for a in found.tracks] == [
        (0, 12, 0),
        (12, 22, 1),
        (28, 37, 3),
    ]
    assert [a.identity for a in found.tracks] == ["person-0", "person-1", "person-0"]
    (row,) = found.rejections
    assert (row.code, row.span and row.span.start.pts, row.span and row.span.end.pts) == ("no_face", 22 * 40, 28 * 40)
    assert (found.width, found.height, found.landmark_backend) == (320, 240, "dots@1")


def test_a_cut_never_joins_two_tracks_though_the_face_stays_where_it_is() -> None:
    pictures = shot(8, lambda t: DrawnFace(x=120, y=90)) + shot(8, lambda t: DrawnFace(x=120, y=90), 170)
    found = analyse(MemorySource(pictures), DotBackend(), config())
    assert [(a.track.start, a.track.stop) for a in found.tracks] == [(0, 8), (8, 16)]


def test_the_backend_forgets_at_every_cut_and_sees_no_batch_across_one() -> None:
    backend = DotBackend()
    analyse(MemorySource(shot(10, anna) + shot(3, ben, 170)), backend, config())
    assert backend.calls == ["reset", "infer 8", "infer 2", "reset", "infer 3", "reset"]


def test_the_pictures_are_read_once_and_progress_is_told() -> None:
    source, told = MemorySource(shot(10, anna)), []
    analyse(source, DotBackend(), config(), on_progress=lambda done, total: told.append((done, total)))
    assert source.reads == [(0, None)]
    assert told == [(i + 1, 10) for i in range(10)]


def test_a_small_face_is_left_alone_and_accounted_for() -> None:
    pictures = shot(10, lambda t: DrawnFace(x=100, y=90, eye_px=12))
    found = analyse(MemorySource(pictures), DotBackend(), config())
    assert found.tracks == ()
    assert [r.code for r in found.rejections] == ["face_too_small"]


def test_a_file_that_breaks_off_keeps_what_came_before_and_rejects_the_rest() -> None:
    source = MemorySource(shot(30, anna), breaks_at=18)
    settings = config()
    found = analyse(source, DotBackend(), settings)
    assert [(a.track.start, a.track.stop) for a in found.tracks] == [(0, 18)]
    (row,) = found.rejections
    assert (row.code, row.span and row.span.start.pts, row.span and row.span.end.pts) == ("truncated", 18 * 40, 30 * 40)
    (clip,) = cut(found, source, speech(2), settings)
    assert isinstance(clip, ClipSample)
    assert len(clip.times) == 18


def test_a_file_without_one_readable_frame_is_one_rejection() -> None:
    found = analyse(MemorySource(shot(5, anna), breaks_at=0), DotBackend(), config())
    assert (found.shots, found.tracks) == ((), ())
    assert [(r.code, r.span) for r in found.rejections] == [("truncated", None)]


def test_a_source_that_gives_fewer_frames_than_it_says_is_an_error() -> None:
    source = MemorySource(shot(10, anna))
    source._pictures.pop()
    with pytest.raises(RuntimeError, match="9 of 10"):
        analyse(source, DotBackend(), config())


# -- cut_clips ---------------------------------------------------------------------------------------------------------


def test_a_clip_is_complete_and_survives_its_encoding() -> None:
    (clip,) = clips_of(shot(15, anna), speech(1.0), config())
    assert isinstance(clip, ClipSample)
    assert clip.frames.shape == (15, 64, 64, 3)
    assert clip.identity == f"{SHA[:12]}/person-0"
    assert clip.provenance.source_sha256 == SHA
    assert clip.provenance.span.end.seconds == Fraction(15, 25)
    assert clip.feature("mel").values.shape[1] == 80
    back = decode_clip(clip.key, encode_clip(clip))
    np.testing.assert_array_equal(back.landmarks.points, clip.landmarks.points)
    assert back.scores == clip.scores


def test_landmarks_lie_in_the_crop_where_the_transform_puts_them() -> None:
    (clip,) = clips_of(shot(15, anna), speech(1.0), config())
    assert isinstance(clip, ClipSample)
    source_points = np.stack([face_points(anna(t)) for t in range(15)])
    np.testing.assert_allclose(clip.transform.to_source(clip.landmarks.points), source_points, atol=0.05)
    opening = clip.landmarks.points[:, clip.landmarks.topology.inner_lip_mid[1], 1]
    assert opening.argmax() == np.argmax([anna(t).opening for t in range(15)])


def test_a_long_track_is_cut_evenly_and_loses_no_frame() -> None:
    parts = clips_of(shot(41, anna), speech(2.0), config())
    assert [len(p.times) for p in parts if isinstance(p, ClipSample)] == [13, 14, 14]
    spans = [p.provenance.span for p in parts if isinstance(p, ClipSample)]
    assert [s.start.pts for s in spans[1:]] == [s.end.pts for s in spans[:-1]]
    assert len({p.key for p in parts if isinstance(p, ClipSample)}) == 3


def test_every_track_is_a_clip_or_a_rejection() -> None:
    pictures = shot(12, anna) + shot(3, ben, 170) + shot(9, anna)
    parts = clips_of(pictures, speech(1.0), config())
    rejected = [p for p in parts if isinstance(p, Rejection)]
    assert [(r.code, r.value, r.threshold) for r in rejected] == [("too_short", 3, 5)]
    assert sum(isinstance(p, ClipSample) for p in parts) == 2


def test_two_people_at_once_are_two_clips_from_one_read() -> None:
    def both(t: int) -> U8:
        near = DrawnFace(x=80, y=90, eye_px=24, skin=ANNA)
        return draw([near, DrawnFace(x=230, y=90, eye_px=30, skin=BEN)])

    source, settings = MemorySource([both(t) for t in range(10)]), config(faces={"max_faces": 2})
    parts = cut(analyse(source, DotBackend(), settings), source, speech(1), settings)
    clips = [p for p in parts if isinstance(p, ClipSample)]
    assert sorted(c.identity[-8:] for c in clips) == ["person-0", "person-1"]
    assert len({c.key for c in clips}) == 2
    assert source.reads == [(0, None), (0, 10)]


def test_the_same_footage_gives_the_same_clips() -> None:
    one, two = (clips_of(shot(15, anna), speech(1.0), config())[0] for _ in range(2))
    assert isinstance(one, ClipSample)
    assert isinstance(two, ClipSample)
    assert encode_clip(one) == encode_clip(two)


def test_keys_tell_sources_and_spans_apart() -> None:
    source, settings = MemorySource(shot(30, anna)), config()
    found = analyse(source, DotBackend(), settings)
    mine, other = (cut(found, source, speech(2), settings, source_sha256=s * 32) for s in ("ab", "cd"))
    keys = {p.key for p in mine + other if isinstance(p, ClipSample)}
    assert len(keys) == 4


def test_each_clip_hears_its_own_time() -> None:
    settings = config()
    pictures = shot(10, None, 20) + shot(40, anna)
    source = MemorySource(pictures, pts=np.arange(50, dtype=np.int64) * 40 + 7_000)
    first, second = cut(analyse(source, DotBackend(), settings), source, ramp(3), settings)
    assert isinstance(first, ClipSample)
    assert isinstance(second, ClipSample)
    for clip, start_ms in ((first, 400), (second, 1200)):
        # The source's own clock starts at 7 s; speech's zero is its first frame.
        assert clip.provenance.span.start.seconds == 7 + Fraction(start_ms, 1000)
        at_zero = clip.speech.between(Fraction(0), Fraction(1, 100)).samples[0]
        assert at_zero == pytest.approx(start_ms, abs=1)
        # The margin around it is what was really said there, not silence.
        assert clip.speech.origin_s == Fraction(-1, 5)
        assert clip.speech.samples[0] == pytest.approx(start_ms - 200, abs=1)
        assert clip.speech.duration_s == pytest.approx(20 / 25 + 0.4, abs=1e-3)


def test_features_are_on_the_clip_s_clock() -> None:
    sound = np.zeros(32_000, dtype=np.int16)
    sound[round(0.9 * 16_000)] = 30_000
    _, second = clips_of(shot(40, anna), Speech(samples=sound, rate_hz=16_000, origin_s=Fraction(0)), config())
    assert isinstance(second, ClipSample)
    mel = second.feature("mel")
    loudest = float(mel.origin_s) + float(mel.hop_s) * int(mel.values.sum(axis=1).argmax())
    assert loudest == pytest.approx(0.9 - 0.8, abs=1 / 160)


def test_every_clip_has_the_columns_that_the_whole_recording_has_there() -> None:
    settings = config(audio={"features": ["mel", "phones"]}, sync={"correct": False})
    # Sound that starts late and between two columns of the picture's clock, softer towards its end.
    sound = speech(2.5, origin_s=Fraction(1, 7))
    sound = dataclasses.replace(sound, samples=(sound.samples * np.linspace(1, 0.05, 40_000)).astype(np.int16))
    source = MemorySource(shot(60, anna))
    found = analyse(source, DotBackend(), settings)
    with ClipTools(settings) as tools:
        whole = [feature.extract(sound) for feature in tools.features]
        parts = list(cut_clips(found, source, sound, tools, settings, **NAMES))
    assert len(parts) == 3
    for number, clip in enumerate(parts):
        assert isinstance(clip, ClipSample)
        for heard in whole:
            mine = clip.feature(heard.name)
            later = dataclasses.replace(heard, origin_s=heard.origin_s - Fraction(20 * number, 25))
            at = np.arange(-0.2, 20 / 25 + 0.2, 1 / 800)
            np.testing.assert_allclose(mine.at(at), later.at(at), atol=1e-6)


def test_footage_without_sound_is_rejected_before_it_is_read_again() -> None:
    source, settings = MemorySource(shot(10, anna)), config()
    found = analyse(source, DotBackend(), settings)
    (row,) = cut(found, source, None, settings)
    assert isinstance(row, Rejection)
    assert row.code == "no_audio"
    assert source.reads == [(0, None)]


def test_silent_footage_can_be_kept_and_its_silence_is_not_scored() -> None:
    (clip,) = clips_of(shot(10, anna), None, config(on_missing_speech="keep"))
    assert isinstance(clip, ClipSample)
    assert not clip.speech.samples.any()
    assert (clip.feature("mel").values == clip.feature("mel").silence).all()
    assert "silence" not in clip.scores


def test_footage_that_breaks_on_the_second_read_rejects_the_pieces_not_done() -> None:
    settings, pictures = config(), shot(40, anna)
    found = analyse(MemorySource(pictures), DotBackend(), settings)
    parts = cut(found, MemorySource(pictures, breaks_at=25), speech(2), settings)
    assert isinstance(parts[0], ClipSample)
    assert isinstance(parts[1], Rejection)
    assert (parts[1].code, parts[1].span and parts[1].span.start.pts) == ("truncated", 20 * 40)


def test_the_language_is_passed_through() -> None:
    source, settings = MemorySource(shot(10, anna)), config()
    (clip,) = cut(analyse(source, DotBackend(), settings), source, speech(1), settings, language="es-419")
    assert isinstance(clip, ClipSample)
    assert clip.language == "es-419"


def test_nothing_is_read_where_no_face_is() -> None:
    source, settings = MemorySource(shot(10, None)), config()
    assert cut(analyse(source, DotBackend(), settings), source, speech(1), settings) == []
    assert source.reads == [(0, None)]


def test_people_at_once_are_counted() -> None:
    def both(t: int) -> U8:
        near = DrawnFace(x=80, y=90, eye_px=24, skin=ANNA)
        return draw([near, DrawnFace(x=230, y=90, eye_px=30, skin=BEN)])

    settings = config(faces={"max_faces": 2})
    parts = clips_of([both(t) for t in range(10)] + shot(10, anna, 170), speech(1), settings)
    assert sorted(p.scores["faces"] for p in parts if isinstance(p, ClipSample)) == [1, 2, 2]


def test_an_expert_s_scores_join_the_built_in_ones() -> None:
    source, settings = MemorySource(shot(10, anna)), config()
    found, asked = analyse(source, DotBackend(), settings), list[ClipSample]()

    def expert(clip: ClipSample) -> dict[str, float]:
        asked.append(clip)
        return {"sync_expert": 0.7}

    tools = ClipTools(settings, scorer=expert)
    (clip,) = cut_clips(found, source, speech(1), tools, settings, **NAMES)
    assert isinstance(clip, ClipSample)
    assert clip.scores["sync_expert"] == 0.7
    assert {"yaw", "faces"} <= set(clip.scores) & set(asked[0].scores)


# -- crop_span and tools -----------------------------------------------------------------------------------------------


def test_a_span_s_crops_are_the_clip_s_frames() -> None:
    source, settings = MemorySource(shot(6, None, 170) + shot(15, anna)), config()
    found = analyse(source, DotBackend(), settings)
    (clip,) = cut(found, source, speech(1), settings)
    assert isinstance(clip, ClipSample)
    np.testing.assert_array_equal(crop_span(source, found.tracks[0], 9, 14), clip.frames[3:8])
    assert crop_span(source, found.tracks[0], 9, 9).shape == (0, 64, 64, 3)


@pytest.mark.parametrize(("start", "stop"), [(0, 9), (10, 22), (12, 11)])
def test_a_span_outside_its_track_is_refused(start: int, stop: int) -> None:
    source, settings = MemorySource(shot(6, None, 170) + shot(15, anna)), config()
    track = analyse(source, DotBackend(), settings).tracks[0]
    with pytest.raises(ValueError, match="not in the track"):
        crop_span(source, track, start, stop)


def test_tools_are_set_up_and_closed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = DotBackend()
    monkeypatch.setattr("preprocessing.clip.landmark_backend", lambda name, max_faces, detector: backend)
    with ClipTools(config()) as tools:
        assert backend.calls == ["setup"]
        assert [f.name for f in tools.features_of(speech(0.5), Fraction(0), Fraction(1, 2))] == ["mel"]
    assert backend.calls == ["setup", "close"]
