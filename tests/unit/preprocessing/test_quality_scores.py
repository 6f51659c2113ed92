"""Scores measure what their names say."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from preprocessing.quality.duplicates import HASH_SCORES
from preprocessing.quality.scores import face_height_px, picture_scores, sharpness, sound_scores, uncovered
from preprocessing.quality.sync import sync_curve
from shards.schema import U8, CropTransform, Landmarks
from shards.topology import TOPOLOGIES
from tests.support.lips import SIZE, WINDOW, articulated, babble, frame_times, landmarks, picture, silence, transform

PICTURE_SCORES = {
    "face_px", "sharpness", "seen", "confidence", "yaw", "pitch", "mouth_visible", "mouth_inside", "uncovered",
    "lip_edges", "mouth_motion", *HASH_SCORES,
}  # fmt: skip
SOUND_SCORES = {"silence", "loudness_lufs", "speaking", "av_offset_s", "av_corr", "av_confidence"}


def scored(marks: Landmarks, frames: U8 | None = None) -> dict[str, float]:
    count = len(marks)
    pictures = np.stack([picture()] * count) if frames is None else frames
    return picture_scores(pictures, marks, transform(count), width=640, height=480)


def test_all_scores_are_there_and_finite() -> None:
    opening = articulated(100)
    found = scored(landmarks(opening)) | sound_scores(
        landmarks(opening), frame_times(100), babble(opening, margin_s=0.7)
    )
    assert set(found) == PICTURE_SCORES | SOUND_SCORES
    assert np.isfinite(list(found.values())).all()
    assert found["mouth_motion"] == pytest.approx(opening.std(), rel=0.02)


def test_a_clip_of_one_frame_is_scored_too() -> None:
    found = scored(landmarks(np.zeros(1))) | sound_scores(landmarks(np.zeros(1)), frame_times(1), babble(articulated()))
    assert np.isfinite(list(found.values())).all()
    assert "av_offset_s" not in found


def test_what_silence_cannot_tell_is_left_out() -> None:
    found = sound_scores(landmarks(articulated()), frame_times(100), silence(5))
    assert found["silence"] == 1
    assert not {"loudness_lufs", "speaking"} & set(found)
    assert found["av_confidence"] == 0


def test_the_sound_around_a_clip_is_listened_to() -> None:
    opening, times = articulated(45), frame_times(45)
    late = babble(opening, late_s=0.5, margin_s=0.7)
    found = sound_scores(landmarks(opening), times, late)
    assert found["av_offset_s"] == pytest.approx(0.5, abs=0.0201)
    inside = late.between(times.at(0).seconds, times.at(44).seconds + times.at(1).seconds)
    assert found["av_corr"] > 1.2 * sync_curve(opening, times.seconds(), inside).peak().corr


def test_the_height_of_the_face_is_that_in_the_source() -> None:
    marks = landmarks(np.zeros(5))
    height = float(marks.points[0, :, 1].max() - marks.points[0, :, 1].min())
    assert face_height_px(marks, transform(5, scale=0.5)) == pytest.approx(2 * height)


@pytest.mark.parametrize("name", sorted(TOPOLOGIES))
@pytest.mark.parametrize(("squeeze", "score"), [((0.8, 1.0), "yaw"), ((1.0, 0.75), "pitch")])
def test_a_head_that_looks_ahead_has_no_angle_and_a_turned_one_has_degrees(
    name: str, squeeze: tuple[float, float], score: str
) -> None:
    ahead, marks = scored(landmarks(np.zeros(4), name)), landmarks(np.zeros(4), name)
    assert ahead["yaw"] < 1
    assert ahead["pitch"] < 6
    middle = marks.points.mean(axis=1, keepdims=True)
    marks.points[:] = (marks.points - middle) * np.array(squeeze, dtype=np.float32) + middle
    nose = list(marks.topology.nose)
    # The nose is nearest to us: turning the head moves it most.
    marks.points[:, nose] += np.array([4.0 if score == "yaw" else 0.0, -3.0 if score == "pitch" else 0.0], np.float32)
    assert 5 < scored(marks)[score] < 60


# -- sharpness ---------------------------------------------------------------------------------------------------------


def test_a_blurred_crop_is_less_sharp_and_a_grey_one_not_at_all() -> None:
    sharp = picture()
    soft = cv2.GaussianBlur(sharp, (0, 0), 1.5)
    grey = np.full_like(sharp, 128)
    values = [sharpness(np.stack([p] * 4), transform(4)) for p in (sharp, soft, grey)]
    assert values[0] > 5 * values[1] > values[2] == 0


def test_only_the_generated_region_counts_as_sharp() -> None:
    inside = WINDOW.mask(SIZE)[..., None] > 0
    dressed = np.where(cv2.dilate(inside.astype(np.uint8), np.ones((5, 5)))[..., None] > 0, 128, picture())
    assert sharpness(dressed[None].astype(np.uint8), transform(1)) == 0


def test_a_darker_and_paler_picture_is_as_sharp() -> None:
    soft = cv2.GaussianBlur(picture(), (0, 0), 1.0)
    pale = (soft * 0.5 + 20).astype(np.uint8)
    bright, dim = (sharpness(p[None], transform(1)) for p in (soft, pale))
    assert dim == pytest.approx(bright, rel=0.15)


def test_a_larger_crop_of_the_same_picture_is_as_sharp() -> None:
    large = cv2.GaussianBlur(picture(side=512), (0, 0), 6)
    values = []
    for side in (128, 256):
        crop = cv2.resize(large, (side, side), interpolation=cv2.INTER_AREA)
        values.append(sharpness(crop[None], CropTransform(matrices=np.zeros((1, 2, 3)), size_px=side, window=WINDOW)))
    assert values[0] == pytest.approx(values[1], rel=0.05)


# -- what is seen ------------------------------------------------------------------------------------------------------


def test_frames_that_were_only_filled_in_do_not_count_as_seen() -> None:
    marks = landmarks(np.zeros(8))
    marks.confidence[:2] = 0
    assert scored(marks)["seen"] == 0.75


def test_a_few_doubtful_frames_lower_the_confidence() -> None:
    marks = landmarks(np.zeros(20))
    marks.confidence[:3] = 0.3
    assert scored(marks)["confidence"] == pytest.approx(0.3)
    assert scored(marks)["seen"] == 1


def test_a_hand_before_the_mouth_is_noticed_and_one_beside_it_is_not() -> None:
    face = cv2.GaussianBlur(picture(), (0, 0), 3)
    clip = np.stack([face] * 9)
    assert uncovered(clip, transform(9)) == pytest.approx(1)
    region = np.argwhere(WINDOW.mask(SIZE) > 0.5)
    covering, beside = clip.copy(), clip.copy()
    top, left = region.min(axis=0)
    bottom, right = region.max(axis=0)
    covering[4, top:bottom, left : (left + right) // 2] = picture(7)[top:bottom, left : (left + right) // 2] // 4
    beside[4, : max(top - 4, 0)] = 0
    assert uncovered(covering, transform(9)) < 0.6
    assert uncovered(beside, transform(9)) > 0.99


def test_silence_is_that_of_the_clip_and_not_of_the_sound_around_it() -> None:
    opening = articulated(50)
    around = babble(np.concatenate([np.zeros(40), opening, np.zeros(40)]))
    speech = around.between(frame_times(60).at(40).seconds - 1, frame_times(130).at(129).seconds)
    moved = type(speech)(samples=speech.samples, rate_hz=speech.rate_hz, origin_s=speech.origin_s - 1)
    assert sound_scores(landmarks(opening), frame_times(50), moved)["silence"] < 0.3
