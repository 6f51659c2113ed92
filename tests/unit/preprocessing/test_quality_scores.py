"""Scores measure what their names say."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest

from preprocessing.quality.scores import (
    best_av_correlation,
    face_height_px,
    mouth_opening,
    score_clip,
    sharpness,
    yaw,
)
from shards.crop import crop_window
from shards.meanface import mean_face
from shards.schema import F64, U8, CropTransform, FrameTimes, Landmarks, Speech
from shards.topology import TOPOLOGIES, topology

RATE_HZ, SIZE = 16_000, 64
WINDOW = crop_window("lower_face")


def times(frames: int) -> FrameTimes:
    return FrameTimes(pts=np.arange(frames, dtype=np.int64) * 40, base=Fraction(1, 1000))


def transform(frames: int, scale: float = 0.5) -> CropTransform:
    matrices = np.tile(np.array([[scale, 0, 3], [0, scale, -2]]), (frames, 1, 1))
    return CropTransform(matrices=matrices, size_px=SIZE, window=WINDOW)


def landmarks(opening: F64, name: str = "mediapipe131", *, nose_dx: float = 0.0) -> Landmarks:
    """The mean face in crop px, its inner lips apart by `opening` eye units; one frame each."""
    shape = topology(name)
    face = np.repeat(mean_face(name)[None], len(opening), axis=0)
    upper, lower = shape.inner_lip_mid
    face[:, lower] = face[:, upper] + np.stack([np.zeros(len(opening)), opening], axis=1)
    face[:, list(shape.nose), 0] += nose_dx
    matrix = WINDOW.matrix(SIZE)
    points = (face @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    confidence = np.ones(len(opening), dtype=np.float32)
    return Landmarks(points=points, confidence=confidence, topology_name=name, space="crop")


def babble(opening: F64, *, late_s: float = 0.0) -> Speech:
    """Noise as loud as the mouth is open, `late_s` later."""
    t = np.arange(len(opening) * RATE_HZ // 25) / RATE_HZ
    loudness = np.interp(t - late_s, np.arange(len(opening)) / 25, opening)
    noise = np.random.default_rng(5).standard_normal(len(t))
    samples = np.round(3000 * loudness / opening.max() * noise).clip(-32768, 32767).astype(np.int16)
    return Speech(samples=samples, rate_hz=RATE_HZ, origin_s=Fraction(0))


def articulated(frames: int = 100, seed: int = 0) -> F64:
    rng = np.random.default_rng(seed)
    return 0.02 + np.abs(np.convolve(rng.standard_normal(frames + 4), np.ones(5) / 5, mode="valid"))


def picture(seed: int = 0) -> U8:
    return np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", sorted(TOPOLOGIES))
def test_the_opening_is_measured_in_eye_units(name: str) -> None:
    np.testing.assert_allclose(mouth_opening(landmarks(np.array([0.0, 0.1, 0.35]), name)), [0, 0.1, 0.35], atol=2e-3)


def test_the_height_of_the_face_is_that_in_the_source() -> None:
    marks = landmarks(np.zeros(5))
    height = float(marks.points[0, :, 1].max() - marks.points[0, :, 1].min())
    assert face_height_px(marks, transform(5, scale=0.5)) == pytest.approx(2 * height)


def test_a_blurred_crop_is_less_sharp_and_a_grey_one_not_at_all() -> None:
    sharp = picture()
    soft = cv2.GaussianBlur(sharp, (0, 0), 1.5)
    grey = np.full_like(sharp, 128)
    values = [sharpness(np.stack([p] * 4), transform(4)) for p in (sharp, soft, grey)]
    assert values[0] > 20 * values[1] > values[2] == 0


def test_only_the_generated_region_counts_as_sharp() -> None:
    inside = WINDOW.mask(SIZE)[..., None] > 0
    dressed = np.where(cv2.dilate(inside.astype(np.uint8), np.ones((5, 5)))[..., None] > 0, 128, picture())
    assert sharpness(dressed[None].astype(np.uint8), transform(1)) == 0


@pytest.mark.parametrize("name", sorted(TOPOLOGIES))
def test_a_frontal_face_has_no_yaw_and_a_shifted_nose_has(name: str) -> None:
    assert yaw(landmarks(np.zeros(3), name)) < 0.01
    left, right = (yaw(landmarks(np.zeros(3), name, nose_dx=d)) for d in (-0.3, 0.3))
    assert left == pytest.approx(right, abs=1e-3)
    assert left == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize("late_s", [-0.2, 0.0, 0.12, 0.3])
def test_the_offset_of_sound_against_lips_is_found(late_s: float) -> None:
    opening = articulated()
    corr, offset = best_av_correlation(opening, np.arange(100) / 25, babble(opening, late_s=late_s))
    assert corr > 0.7
    assert offset == pytest.approx(late_s, abs=0.041)


def test_foreign_sound_fits_worse() -> None:
    at = np.arange(100) / 25
    own, _ = best_av_correlation(articulated(), at, babble(articulated()))
    foreign, _ = best_av_correlation(articulated(), at, babble(articulated(seed=9)))
    assert foreign < 0.6 * own


def test_a_still_mouth_has_no_correlation_and_no_offset() -> None:
    assert best_av_correlation(np.full(50, 0.1), np.arange(50) / 25, babble(articulated(50))) == (0.0, 0.0)


def test_all_scores_are_finite_numbers() -> None:
    opening = articulated(30)
    scores = score_clip(np.stack([picture()] * 30), landmarks(opening), transform(30), times(30), babble(opening))
    assert set(scores) == {
        "face_px", "sharpness", "seen", "yaw", "mouth_motion", "silence", "av_corr", "av_offset_s",
    }  # fmt: skip
    assert np.isfinite(list(scores.values())).all()
    assert scores["mouth_motion"] == pytest.approx(opening.std(), rel=0.02)


def test_without_speech_nothing_is_said_about_it() -> None:
    scores = score_clip(np.stack([picture()] * 6), landmarks(np.zeros(6)), transform(6), times(6), None)
    assert not {"silence", "av_corr", "av_offset_s"} & set(scores)


def test_frames_that_were_only_filled_in_do_not_count_as_seen() -> None:
    marks = landmarks(np.zeros(8))
    marks.confidence[:2] = 0
    scores = score_clip(np.stack([picture()] * 8), marks, transform(8), times(8), None)
    assert scores["seen"] == 0.75


def test_silence_is_that_of_the_clip_and_not_of_the_sound_around_it() -> None:
    opening = articulated(50)
    loud = babble(opening).samples
    around = np.concatenate([loud, np.zeros(2 * RATE_HZ, dtype=np.int16)])
    speech = Speech(samples=around, rate_hz=RATE_HZ, origin_s=Fraction(0))
    scores = score_clip(np.stack([picture()] * 50), landmarks(opening), transform(50), times(50), speech)
    assert scores["silence"] < 0.3
