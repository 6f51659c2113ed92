"""Every registered audio feature keeps the clip's clock and knows what silence is."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest

from preprocessing.audio.base import FEATURES, AudioFeatureExtractor, audio_feature
from shards.errors import RequestError
from shards.schema import Speech

RATE_HZ = 16_000


@pytest.fixture(params=sorted(FEATURES))
def extractor(request: pytest.FixtureRequest) -> Iterator[AudioFeatureExtractor]:
    feature = audio_feature(request.param)
    feature.setup()
    yield feature
    feature.close()


def speech(samples: np.ndarray, origin_s: Fraction = Fraction(0)) -> Speech:
    return Speech(samples=samples.astype(np.int16), rate_hz=RATE_HZ, origin_s=origin_s)


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3000, round(seconds * RATE_HZ))


def test_an_unknown_feature_is_refused_with_the_choices() -> None:
    with pytest.raises(RequestError, match="did you mean 'mel'"):
        audio_feature("mell")


class TestEveryAudioFeature:
    def test_the_shape_and_the_name_are_as_promised(self, extractor: AudioFeatureExtractor) -> None:
        found = extractor.extract(speech(noise(1.0)))
        assert (found.name, found.version) == (extractor.name, extractor.version)
        assert found.values.shape[1] == extractor.dim
        assert np.isfinite(found.values).all()

    def test_columns_cover_the_recording(self, extractor: AudioFeatureExtractor) -> None:
        found = extractor.extract(speech(noise(2.0)))
        last_s = float(found.origin_s + (len(found.values) - 1) * found.hop_s)
        assert abs(last_s - 2.0) <= float(found.hop_s)

    @pytest.mark.parametrize("at_s", [0.3, 0.517, 1.0, 1.234])
    @pytest.mark.parametrize("origin_s", [Fraction(0), Fraction(-1, 3), Fraction(5, 7)])
    def test_a_click_lands_in_the_column_of_its_time(
        self, extractor: AudioFeatureExtractor, at_s: float, origin_s: Fraction
    ) -> None:
        samples = np.zeros(2 * RATE_HZ)
        samples[round(at_s * RATE_HZ)] = 30_000
        found = extractor.extract(speech(samples, origin_s))
        change = np.abs(found.values - found.silence).sum(axis=1)
        # The middle of all that the click changed: a shifted clock moves it, an odd column more or less does not.
        column = float((change * np.arange(len(change))).sum() / change.sum())
        heard_s = float(found.origin_s) + column * float(found.hop_s)
        assert heard_s == pytest.approx(float(origin_s) + at_s, abs=float(found.hop_s) / 2)

    def test_digital_silence_gives_the_silence_column(self, extractor: AudioFeatureExtractor) -> None:
        found = extractor.extract(speech(np.zeros(RATE_HZ)))
        np.testing.assert_array_equal(found.values, np.broadcast_to(found.silence, found.values.shape))

    def test_a_later_origin_moves_the_clock_and_nothing_else(self, extractor: AudioFeatureExtractor) -> None:
        here, there = (extractor.extract(speech(noise(1.0), o)) for o in (Fraction(0), Fraction(-7, 11)))
        np.testing.assert_array_equal(here.values, there.values)
        assert there.origin_s - here.origin_s == Fraction(-7, 11)

    def test_a_cut_out_stretch_has_the_columns_of_the_whole(self, extractor: AudioFeatureExtractor) -> None:
        whole = speech(noise(3.0))
        start = Fraction(6, 5)
        cut = whole.between(start, Fraction(9, 5))
        inside = extractor.extract(cut).windows(np.array([0.3]), 16)
        np.testing.assert_allclose(inside, extractor.extract(whole).windows(np.array([1.5]), 16), atol=1e-4)

    def test_the_same_speech_gives_the_same_bytes(self, extractor: AudioFeatureExtractor) -> None:
        once, twice = (extractor.extract(speech(noise(0.5))).values.tobytes() for _ in range(2))
        assert once == twice

    def test_no_sound_at_all_is_silence(self, extractor: AudioFeatureExtractor) -> None:
        found = extractor.extract(speech(np.zeros(0)))
        np.testing.assert_array_equal(found.values, np.broadcast_to(found.silence, found.values.shape))
