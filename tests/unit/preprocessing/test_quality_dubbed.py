"""Scores of a dubbed clip tell the faults they are named for, and nothing where nothing was done."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest

from preprocessing.quality.dubbed import dubbed_scores
from shards.schema import F64, U8, ClipSample, Landmarks, Provenance, Span, Speech
from tests.support.lips import SIZE, WINDOW, articulated, babble, frame_times, landmarks, picture, silence, transform

FRAMES = 100
WHOLE = [(0, FRAMES)]
MASK = WINDOW.mask(SIZE)[..., None]
SOURCE, NEW = articulated(FRAMES, seed=1), articulated(FRAMES, seed=2)


class Mouth:
    """A finder that knows what it will be shown, row for row by the clip's own times."""

    def __init__(self, opening: F64) -> None:
        self.opening = opening
        self.asked: list[int] = []

    def found_in(self, frames: U8, clip: ClipSample) -> Landmarks:
        rows = [int(pts) // 40 for pts in clip.times.pts]
        assert len(frames) == len(rows)
        self.asked += rows
        return landmarks(self.opening[rows])


def clip(opening: F64 = SOURCE, speech: Speech | None = None) -> ClipSample:
    """A face of smooth noise, which trembles a little as footage does."""
    face = cv2.GaussianBlur(picture(3), (0, 0), 2).astype(np.float32)
    tremble = np.random.default_rng(4).normal(0, 2, (len(opening), SIZE, SIZE, 3))
    times = frame_times(len(opening))
    return ClipSample(
        key="0" * 32,
        frames=np.clip(face + tremble, 0, 255).astype(np.uint8),
        times=times,
        landmarks=landmarks(opening),
        transform=transform(len(opening)),
        speech=babble(opening, margin_s=0.7) if speech is None else speech,
        features=(),
        identity="somebody",
        language="en",
        provenance=Provenance(
            source_sha256="0" * 64,
            source_name="a.mp4",
            span=Span(start=times.at(0), end=times.at(len(times) - 1)),
            landmark_backend="none@0",
            config_sha256="0" * 64,
            code_version="test",
        ),
    )


def inside(source: ClipSample, changed: np.ndarray) -> U8:
    """The source with something else in the generated region."""
    return np.clip(source.frames * (1 - MASK) + changed * MASK, 0, 255).round().astype(np.uint8)


def scored(
    source: ClipSample,
    frames: U8 | None = None,
    *,
    opening: F64 = NEW,
    heard: Speech | None = None,
    rows: list[tuple[int, int]] = WHOLE,
) -> dict[str, float]:
    speech = babble(NEW, margin_s=0.7) if heard is None else heard
    made = source.frames if frames is None else frames
    return dubbed_scores(source, made, landmarks(opening), rows, speech, Mouth(opening))


def test_a_clip_that_was_not_changed_is_as_its_source_in_everything() -> None:
    found = scored(clip())
    assert found["change"] == 0
    for name in ("identity", "flicker_inside", "flicker_outside", "sharpness_ratio"):
        assert found[name] == pytest.approx(1), name


# -- sound -------------------------------------------------------------------------------------------------------------


def test_the_made_mouth_is_held_against_the_new_speech_and_the_source_against_its_own() -> None:
    found = scored(clip())
    for who in ("made", "source"):
        assert abs(found[f"{who}_av_offset_s"]) <= 0.0201
        assert found[f"{who}_av_confidence"] > 0.2


def test_a_mouth_that_still_says_the_old_line_does_not_fit_the_new_one() -> None:
    found = scored(clip(), opening=SOURCE)
    assert found["made_av_corr"] < 0.5 * found["source_av_corr"]


def test_a_mouth_that_is_late_is_found_late() -> None:
    found = scored(clip(), heard=babble(NEW, late_s=-0.2, margin_s=0.7))
    assert found["made_av_offset_s"] == pytest.approx(-0.2, abs=0.0201)


def test_where_nothing_is_said_there_is_no_sync() -> None:
    found = scored(clip(speech=silence(5)), heard=silence(5))
    assert not [name for name in found if "_av_" in name]


def test_only_rendered_rows_are_looked_at() -> None:
    finder = Mouth(NEW)
    rows = [(10, 50), (60, 99)]
    found = dubbed_scores(clip(), clip().frames, landmarks(NEW), rows, babble(NEW, margin_s=0.7), finder)
    assert finder.asked == [*range(10, 50), *range(60, 99)]
    assert abs(found["made_av_offset_s"]) <= 0.0201


def test_faces_are_found_again_at_25_frames_a_second_at_most() -> None:
    finder, source = Mouth(NEW), clip()
    fast = frame_times(FRAMES)
    times = type(fast)(pts=fast.pts, base=Fraction(1, 2000))
    dubbed_scores(
        type(source)(**{**{n: getattr(source, n) for n in source.__dataclass_fields__}, "times": times}),
        source.frames,
        landmarks(NEW),
        WHOLE,
        babble(NEW, margin_s=0.7),
        finder,
    )
    assert finder.asked == list(range(0, FRAMES, 2))


def test_points_that_no_finder_knows_leave_the_made_sync_out() -> None:
    found = dubbed_scores(clip(), clip().frames, landmarks(NEW), WHOLE, babble(NEW), None)
    assert "made_av_corr" not in found
    assert {"source_av_corr", "identity", "flicker_inside"} <= set(found)


def test_a_clip_of_which_no_row_was_rendered_has_no_scores() -> None:
    assert scored(clip(), rows=[]) == {}


def test_a_single_rendered_frame_has_no_flicker_and_no_sync() -> None:
    found = scored(clip(), rows=[(7, 8)])
    assert set(found) == {"change", "sharpness_ratio", "identity"}


# -- picture -----------------------------------------------------------------------------------------------------------


def test_a_blurred_mouth_is_less_sharp_and_flickers_less() -> None:
    source = clip()
    blurred = np.stack([cv2.GaussianBlur(frame, (0, 0), 2) for frame in source.frames])
    found = scored(source, inside(source, blurred))
    assert found["sharpness_ratio"] < 0.5
    assert found["flicker_outside"] < 0.7
    assert found["change"] > 0.5


@pytest.mark.parametrize("where", ["inside", "outside"])
def test_flicker_is_told_where_it_is(where: str) -> None:
    source = clip()
    lips = landmarks(SOURCE).points[0, list(landmarks(SOURCE).topology.lips_outer)]
    (x, y), (width, height) = lips.mean(axis=0), np.ptp(lips, axis=0)
    down, across = np.abs(np.arange(SIZE) - y)[:, None], np.abs(np.arange(SIZE) - x)
    # Well inside the lips' outline, and well outside of it.
    near, far = (((down < k * height) & (across < k * width))[..., None] for k in (0.3, 1.0))
    light = 12.0 * (np.arange(FRAMES) % 2)[:, None, None, None] * (near if where == "inside" else ~far)
    found = scored(source, inside(source, source.frames + light))
    other = "outside" if where == "inside" else "inside"
    assert found[f"flicker_{where}"] > 1.8
    assert found[f"flicker_{other}"] < 1.2


def test_a_slow_change_of_light_is_no_flicker() -> None:
    source = clip()
    light = 40 * np.sin(np.arange(FRAMES) / 6)[:, None, None, None]
    assert scored(source, inside(source, source.frames + light))["flicker_outside"] < 1.3


def test_another_face_is_not_taken_for_the_same_person() -> None:
    source = clip()
    other = np.stack([cv2.GaussianBlur(picture(9), (0, 0), 2)] * FRAMES)
    assert scored(source, inside(source, other))["identity"] < 0.85


def test_a_source_of_one_colour_has_no_identity_and_no_sharpness() -> None:
    source = clip()
    source.frames[:] = 128
    assert set(scored(source)) & {"identity", "sharpness_ratio"} == set()


def test_of_a_long_clip_only_the_middle_of_its_longest_stretch_is_listened_to() -> None:
    opening = articulated(250, seed=1)
    source, finder = clip(opening), Mouth(opening)
    rows = [(0, 20), (30, 240)]
    dubbed_scores(source, source.frames, source.landmarks, rows, source.speech, finder)
    assert finder.asked == list(range(85, 185))
