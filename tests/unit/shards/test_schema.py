"""The contract: geometry and its inverse, windows of features, stretches of speech, and what a value refuses."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.crop import crop_window
from shards.errors import UnknownSchemaVersion
from shards.schema import (
    SCHEMA_VERSION,
    AudioFeatures,
    CropTransform,
    FrameTimes,
    Landmarks,
    MediaTime,
    Span,
    Speech,
    check_schema_version,
)
from tests.support.clips import make_clip, make_transform


def some_transform(frames: int = 5, size: int = 32) -> CropTransform:
    return make_transform(np.random.default_rng(1), frames, size, "face")


def ramp(num: int, origin_s: Fraction = Fraction(0), rate_hz: int = 100) -> Speech:
    return Speech(samples=np.arange(1, num + 1, dtype=np.int16), rate_hz=rate_hz, origin_s=origin_s)


def columns(values: list[float], hop_s: Fraction = Fraction(1, 10), origin_s: Fraction = Fraction(0)) -> AudioFeatures:
    return AudioFeatures(
        name="n",
        version="1",
        values=np.array(values, dtype=np.float32)[:, None],
        hop_s=hop_s,
        origin_s=origin_s,
        silence=np.array([-9], dtype=np.float32),
    )


class TestCropTransform:
    def test_to_source_undoes_to_crop(self) -> None:
        transform = some_transform()
        points = np.random.default_rng(2).uniform(-500, 500, (5, 7, 2))
        np.testing.assert_allclose(transform.to_source(transform.to_crop(points)), points, atol=1e-9)
        np.testing.assert_allclose(transform.to_crop(transform.to_source(points)), points, atol=1e-9)

    def test_the_inverse_matrices_are_what_to_source_applies(self) -> None:
        transform = some_transform()
        inverse = replace(transform, matrices=transform.inverse_matrices())
        points = np.random.default_rng(3).uniform(0, 32, (5, 4, 2))
        np.testing.assert_allclose(inverse.to_crop(points), transform.to_source(points), atol=1e-9)

    def test_scale_is_how_much_lengths_change(self) -> None:
        transform = some_transform()
        ends = np.tile(np.array([[3.0, 4.0], [0.0, 0.0]]), (5, 1, 1))
        moved = transform.to_crop(ends)
        np.testing.assert_allclose(np.linalg.norm(moved[:, 0] - moved[:, 1], axis=1), 5 * transform.scale())

    def test_resizing_keeps_corners_at_corners(self) -> None:
        """Pixel centres are integers: the picture reaches from -0.5 to S - 0.5."""
        small = some_transform(size=32)
        large = small.resized(48)
        corners = np.tile(np.array([[-0.5, -0.5], [31.5, 31.5]]), (5, 1, 1))
        expected = np.tile(np.array([[-0.5, -0.5], [47.5, 47.5]]), (5, 1, 1))
        np.testing.assert_allclose(large.to_crop(small.to_source(corners)), expected, atol=1e-9)
        np.testing.assert_allclose(large.resized(32).matrices, small.matrices, atol=1e-12)

    def test_a_slice_is_those_frames(self) -> None:
        transform = some_transform()
        np.testing.assert_array_equal(transform.slice(1, 3).matrices, transform.matrices[1:3])

    def test_matrices_of_another_shape_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"\(T, 2, 3\)"):
            CropTransform(matrices=np.zeros((4, 3, 3)), size_px=8, window=crop_window("face"))


class TestSpeech:
    def test_a_stretch_inside_is_those_samples_from_zero(self) -> None:
        part = ramp(100).between(Fraction(1, 10), Fraction(2, 10))
        np.testing.assert_array_equal(part.samples, np.arange(11, 21))
        assert part.origin_s == 0

    def test_outside_the_recording_is_digital_silence(self) -> None:
        part = ramp(10).between(Fraction(-5, 100), Fraction(20, 100))
        np.testing.assert_array_equal(part.samples, [0] * 5 + list(range(1, 11)) + [0] * 10)

    def test_a_stretch_wholly_outside_is_silence_of_its_length(self) -> None:
        part = ramp(10).between(Fraction(5), Fraction(6))
        np.testing.assert_array_equal(part.samples, np.zeros(100))

    def test_sound_before_the_picture_is_found_by_its_origin(self) -> None:
        part = ramp(50, origin_s=Fraction(-1, 10)).between(Fraction(0), Fraction(1, 10))
        np.testing.assert_array_equal(part.samples, np.arange(11, 21))

    def test_a_start_between_samples_shifts_nothing(self) -> None:
        part = ramp(100).between(Fraction(105, 1000), Fraction(2, 10))
        assert part.samples[0] == 11
        assert part.origin_s == Fraction(-5, 1000)

    @given(
        start=st.fractions(min_value=-2, max_value=2, max_denominator=48_000),
        length=st.fractions(min_value=0, max_value=2, max_denominator=48_000),
        origin=st.fractions(min_value=-1, max_value=1, max_denominator=1000),
    )
    def test_every_sample_keeps_its_time_and_the_stretch_is_covered(
        self, start: Fraction, length: Fraction, origin: Fraction
    ) -> None:
        whole = ramp(100, origin_s=origin)
        part = whole.between(start, start + length)
        assert -Fraction(1, 100) < part.origin_s <= 0
        assert part.origin_s + Fraction(len(part.samples), 100) >= length
        for index in np.flatnonzero(part.samples):
            time = start + part.origin_s + Fraction(int(index), 100)
            assert time == origin + Fraction(int(part.samples[index]) - 1, 100)

    def test_full_scale_becomes_one(self) -> None:
        speech = Speech(samples=np.array([-32768, 0, 16384], dtype=np.int16), rate_hz=8, origin_s=Fraction(0))
        np.testing.assert_array_equal(speech.as_float(), [-1, 0, 0.5])


class TestAudioFeatures:
    def test_the_nearest_column_is_read_and_of_two_the_earlier(self) -> None:
        found = columns([0, 1, 2, 3, 4]).at(np.array([0.2, 0.24, 0.26, 0.15]))
        np.testing.assert_array_equal(found[:, 0], [2, 2, 3, 1])

    def test_the_last_bits_of_a_time_do_not_choose_its_column(self) -> None:
        feature = columns(list(range(2000)))
        middles = np.arange(1999) * 0.1 + 0.05
        for times in (middles - 1e-12, middles, middles + 1e-12):
            np.testing.assert_array_equal(feature.at(times)[:, 0], np.arange(1999))

    def test_beyond_the_ends_is_silence(self) -> None:
        found = columns([0, 1, 2]).at(np.array([[-0.1, 0.0], [0.2, 0.3], [9.0, -9.0]]))
        np.testing.assert_array_equal(found[:, :, 0], [[-9, 0], [2, -9], [-9, -9]])

    def test_the_origin_moves_the_columns(self) -> None:
        found = columns([0, 1, 2, 3, 4], origin_s=Fraction(-1, 10)).at(np.array([0.1]))
        np.testing.assert_array_equal(found[:, 0], [2])

    @given(st.floats(-1, 2))
    def test_no_column_is_further_than_half_the_way_to_the_next(self, at_s: float) -> None:
        found = columns(list(range(11))).at(np.array(at_s))[0]
        if -0.049 < at_s < 1.049:
            assert abs(found * 0.1 - at_s) <= 0.05 + 1e-6
        if not -0.051 < at_s < 1.051:
            assert found == -9


class TestFrameTimes:
    def test_seconds_follow_the_time_base(self) -> None:
        times = FrameTimes(pts=np.array([0, 1001, 2002], dtype=np.int64), base=Fraction(1, 30_000))
        np.testing.assert_allclose(times.seconds(), [0, 1001 / 30_000, 2002 / 30_000], rtol=1e-15)
        assert times.at(2).seconds == Fraction(2002, 30_000)

    def test_from_zero_keeps_the_gaps(self) -> None:
        times = FrameTimes(pts=np.array([700, 740, 790], dtype=np.int64), base=Fraction(1, 1000))
        np.testing.assert_array_equal(times.slice(1, 3).from_zero().pts, [0, 50])

    def test_times_that_do_not_increase_are_refused(self) -> None:
        with pytest.raises(ValueError, match="increase"):
            FrameTimes(pts=np.array([0, 2, 2], dtype=np.int64), base=Fraction(1, 25))


class TestLandmarks:
    def test_a_frame_without_the_face_is_not_seen(self) -> None:
        landmarks = make_clip(0, frames=3).landmarks
        points = landmarks.points.copy()
        points[1] = np.nan
        np.testing.assert_array_equal(replace(landmarks, points=points).seen(), [True, False, True])

    def test_points_of_another_topology_are_refused(self) -> None:
        with pytest.raises(ValueError, match="ibug68 has 68 points, not 131"):
            replace(make_clip(0).landmarks, topology_name="ibug68")

    def test_confidence_is_one_number_a_frame(self) -> None:
        with pytest.raises(ValueError, match="confidence"):
            Landmarks(
                points=np.zeros((2, 68, 2), dtype=np.float32),
                confidence=np.zeros(3, dtype=np.float32),
                topology_name="ibug68",
                space="crop",
            )


class TestClipSample:
    def test_parts_of_unequal_length_are_refused(self) -> None:
        clip = make_clip(0, frames=4)
        with pytest.raises(ValueError, match="T frames"):
            replace(clip, times=clip.times.slice(0, 3))

    def test_landmarks_in_source_pixels_are_refused(self) -> None:
        clip = make_clip(0)
        with pytest.raises(ValueError, match="crop px"):
            replace(clip, landmarks=replace(clip.landmarks, space="source"))

    def test_a_missing_feature_is_named_with_those_that_are_there(self) -> None:
        clip = make_clip(0)
        assert clip.feature("mel") is clip.features[0]
        with pytest.raises(KeyError, match=r"no audio feature 'hubert'; it has \['mel'\]"):
            clip.feature("hubert")


def test_a_span_that_ends_before_it_starts_is_refused() -> None:
    early, late = (MediaTime(pts=pts, base=Fraction(1, 25)) for pts in (1, 2))
    assert Span(start=early, end=late).end is late
    with pytest.raises(ValueError, match="ends before"):
        Span(start=late, end=early)


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, str(SCHEMA_VERSION), None])
def test_another_schema_version_is_refused_by_name(version: object) -> None:
    with pytest.raises(UnknownSchemaVersion, match=r"clip\.json.*`schema_version`"):
        check_schema_version(version, "clip.json")
    check_schema_version(SCHEMA_VERSION, "clip.json")
