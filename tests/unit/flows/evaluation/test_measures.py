from __future__ import annotations

import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest

from flows.evaluation.measures import (
    carried,
    closure,
    likeness,
    motion,
    named,
    neutral,
    outside_change,
    silence,
)
from model.metrics import mouth_weight, openings
from preprocessing.audio.phone_model import PHONES
from shards.schema import AudioFeatures
from tests.support.lips import SIZE, WINDOW, landmarks

TALKING = 0.1 + 0.1 * np.sin(np.arange(40))


def test_the_right_motion_is_at_no_distance_and_correlates() -> None:
    told = motion(landmarks(TALKING), landmarks(TALKING))
    assert told["lips"] == told["lips_jaw"] == 0
    assert told["correlation"] == pytest.approx(1)
    assert told["spread"] == pytest.approx(1)
    assert told["seen"] == 1


def test_half_the_motion_has_half_the_speed_and_spread() -> None:
    made, real = motion(landmarks(TALKING / 2), landmarks(TALKING)), motion(landmarks(TALKING), landmarks(TALKING))
    assert made["speed"] == pytest.approx(real["speed"] / 2, rel=1e-3)
    assert made["spread"] == pytest.approx(0.5, rel=1e-3)


def test_a_mouth_that_never_moves_says_nothing_unless_nothing_was_to_be_said() -> None:
    still = landmarks(np.full(40, 0.1))
    assert motion(still, landmarks(TALKING))["correlation"] == 0
    assert math.isnan(motion(landmarks(TALKING), still)["correlation"])


def test_faces_that_are_not_found_again_are_told() -> None:
    made = landmarks(TALKING)
    made.points[:10] = np.nan
    assert motion(made, landmarks(TALKING))["seen"] == pytest.approx(0.75)


def test_the_neutral_mouth_is_the_mean_of_references_and_stays() -> None:
    still = neutral(landmarks(TALKING), 5)
    assert np.ptp(openings(still)) == pytest.approx(0, abs=1e-6)
    assert openings(still)[0] == pytest.approx(TALKING.mean(), abs=0.02)
    pose = list(still.topology.pose)
    np.testing.assert_array_equal(still.points[:, pose], landmarks(TALKING).points[:, pose])


def test_a_true_mouth_is_carried_to_where_the_head_has_it() -> None:
    real = landmarks(np.full(80, 0.1))
    sway_px = 4 * np.sin(np.arange(80) / 80 * 2 * np.pi)
    real.points[:, :, 0] += sway_px[:, None].astype(np.float32)
    truth = dataclasses.replace(real, points=np.roll(real.points, 20, axis=0))
    moved = carried(truth, real, SIZE)
    content, pose = list(real.topology.content), list(real.topology.pose)
    assert np.abs(truth.points - real.points)[:, content].max() > 3
    np.testing.assert_allclose(moved.points[:, content], real.points[:, content], atol=0.2)
    np.testing.assert_array_equal(moved.points[:, pose], truth.points[:, pose])


def test_a_head_that_keeps_still_carries_the_mouth_nowhere() -> None:
    real = landmarks(np.resize(TALKING, 80))
    truth = dataclasses.replace(real, points=np.roll(real.points, 20, axis=0))
    np.testing.assert_allclose(carried(truth, real, SIZE).points, truth.points, atol=1e-4)


def test_pictures_are_compared_where_the_mouth_is_generated_and_outside_it() -> None:
    real = np.full((40, SIZE, SIZE, 3), 100, np.uint8)
    mask, mouth = WINDOW.mask(SIZE), mouth_weight(landmarks(TALKING), SIZE)
    assert 0 < mouth[0].sum() < (mask > 0).sum()
    inside, outside = real.copy(), real.copy()
    inside[:, mask > 0] = 110
    outside[3, 0, 0, 1] = 93
    assert outside_change(inside, real, mask) == 0
    assert outside_change(outside, real, mask) == 7
    told = likeness(inside, real, mask, mouth)
    assert told["psnr_mouth_db"] == pytest.approx(20 * math.log10(25.5), abs=0.01)
    assert likeness(outside, real, mask, mouth)["psnr_mouth_db"] > 90
    assert likeness(real, real, mask, mouth)["ssim_mouth"] == pytest.approx(1)


def test_lips_are_read_at_the_phones_that_close_and_open_them() -> None:
    values = np.zeros((40, len(PHONES)), np.float32)
    values[:20, PHONES.index("B")] = 0.5
    values[20:, PHONES.index("AA")] = 0.5
    phones = AudioFeatures(
        name="phones",
        version="1",
        values=values,
        hop_s=Fraction(1, 25),
        origin_s=Fraction(0),
        silence=np.zeros(len(PHONES), np.float32),
    )
    mouth = np.where(np.arange(40) < 20, 0.02, 0.3)
    told = closure(landmarks(mouth), [phones], np.arange(40) / 25)
    assert told == {"bilabial_opening": pytest.approx(0.02, abs=1e-3), "vowel_opening": pytest.approx(0.3, abs=1e-3)}
    assert closure(landmarks(mouth), [], np.arange(40) / 25) == {}


def test_a_mouth_is_closed_under_silence_in_a_share_of_frames() -> None:
    told = silence(landmarks(np.array([0.0, 0.03, 0.05, 0.2])))
    assert told["closed"] == 0.75
    assert named("silent", {"closed": 0.75}) == {"silent.closed": 0.75}
