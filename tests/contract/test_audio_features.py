"""Every registered audio feature keeps the clip's clock and knows what silence is.

Encoders are tried with random weights in the real architectures: their clock does not depend on training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np
import pytest

from preprocessing.audio.base import ENCODERS, FEATURES, AudioFeatureExtractor, audio_feature, extract_between
from shards.codec import decode_features, encode_features
from shards.errors import RequestError
from shards.schema import Speech
from tests.support.encoders import save_tiny_encoder

RATE_HZ = 16_000
SAME = 1e-6
"""Columns computed in blocks of another size differ in the last bits of a sum, and in nothing else."""
LOCAL = sorted(set(FEATURES) - set(ENCODERS) - {"ear"})
"""A column of these depends on the sound around it, and not on a whole window."""


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], AudioFeatureExtractor]]:
    """family -> its extractor, set up once."""
    ready: dict[str, AudioFeatureExtractor] = {}

    def get(family: str) -> AudioFeatureExtractor:
        if family not in ready:
            place = f"@{save_tiny_encoder(family, tmp_path_factory.mktemp(family))}" if family in ENCODERS else ""
            ready[family] = audio_feature(family + place)
            ready[family].setup()
        return ready[family]

    yield get
    for feature in ready.values():
        feature.close()


@pytest.fixture(params=sorted(FEATURES))
def extractor(request: pytest.FixtureRequest, opened: Callable[[str], AudioFeatureExtractor]) -> AudioFeatureExtractor:
    return opened(request.param)


@pytest.fixture(params=LOCAL)
def local(request: pytest.FixtureRequest, opened: Callable[[str], AudioFeatureExtractor]) -> AudioFeatureExtractor:
    return opened(request.param)


def speech(samples: np.ndarray, origin_s: Fraction = Fraction(0)) -> Speech:
    return Speech(samples=samples.astype(np.int16), rate_hz=RATE_HZ, origin_s=origin_s)


def noise(seconds: float, seed: int = 0, level: float = 3000) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, level, round(seconds * RATE_HZ))


def test_an_unknown_feature_is_refused_with_the_choices() -> None:
    with pytest.raises(RequestError, match="did you mean 'mel'"):
        audio_feature("mell")


class TestEveryAudioFeature:
    def test_the_shape_and_the_name_are_as_promised(self, extractor: AudioFeatureExtractor) -> None:
        found = extractor.extract(speech(noise(1.0)))
        assert (found.name, found.version) == (extractor.name, extractor.version)
        assert found.values.shape[1] == extractor.dim == len(found.silence)
        assert np.isfinite(found.values).all()

    def test_it_is_stored_and_read_back_exactly(self, extractor: AudioFeatureExtractor) -> None:
        made = extractor.extract(speech(noise(1.0), Fraction(-1, 3)))
        read = decode_features(encode_features(made))
        assert (read.name, read.version) == (made.name, made.version)
        assert (read.hop_s, read.origin_s) == (made.hop_s, made.origin_s)
        np.testing.assert_array_equal(read.values, made.values)
        np.testing.assert_array_equal(read.silence, made.silence)

    @pytest.mark.parametrize("seconds", [0.01, 0.4, 2.0, 3.7])
    def test_columns_cover_the_recording(self, extractor: AudioFeatureExtractor, seconds: float) -> None:
        found = extractor.extract(speech(noise(seconds)))
        last_s = float(found.origin_s + (len(found.values) - 1) * found.hop_s)
        assert abs(last_s - seconds) <= float(found.hop_s)

    def test_digital_silence_gives_the_silence_column(self, extractor: AudioFeatureExtractor) -> None:
        found = extractor.extract(speech(np.zeros(RATE_HZ)))
        np.testing.assert_array_equal(found.values, np.broadcast_to(found.silence, found.values.shape))

    def test_no_sound_at_all_is_silence(self, extractor: AudioFeatureExtractor) -> None:
        found = extractor.extract(speech(np.zeros(0)))
        np.testing.assert_array_equal(found.values, np.broadcast_to(found.silence, found.values.shape))

    def test_a_later_origin_moves_the_clock_and_nothing_else(self, extractor: AudioFeatureExtractor) -> None:
        here, there = (extractor.extract(speech(noise(1.0), o)) for o in (Fraction(0), Fraction(-7, 11)))
        np.testing.assert_array_equal(here.values, there.values)
        assert there.origin_s - here.origin_s == Fraction(-7, 11)

    def test_the_same_speech_gives_the_same_bytes(self, extractor: AudioFeatureExtractor) -> None:
        once, twice = (extractor.extract(speech(noise(0.5))).values.tobytes() for _ in range(2))
        assert once == twice

    def test_what_was_heard_before_leaves_no_trace(self, extractor: AudioFeatureExtractor) -> None:
        first = extractor.extract(speech(noise(0.5))).values.tobytes()
        extractor.extract(speech(noise(1.0, seed=1, level=9000)))
        assert extractor.extract(speech(noise(0.5))).values.tobytes() == first

    def test_another_sample_rate_is_refused_by_name(self, extractor: AudioFeatureExtractor) -> None:
        with pytest.raises(RequestError, match="16000 Hz"):
            extractor.extract(Speech(samples=np.zeros(100, dtype=np.int16), rate_hz=44_100, origin_s=Fraction(0)))

    def test_columns_asked_for_alone_keep_their_values_and_their_clock(self, extractor: AudioFeatureExtractor) -> None:
        whole = extractor.extract(speech(noise(3.0), Fraction(-1, 7)))
        part = extractor.extract(speech(noise(3.0), Fraction(-1, 7)), 31, 95)
        np.testing.assert_allclose(part.values, whole.values[31:95], atol=SAME)
        assert part.origin_s == whole.origin_s + 31 * extractor.hop_s
        assert (part.hop_s, part.name) == (whole.hop_s, whole.name) == (extractor.hop_s, extractor.name)

    @pytest.mark.parametrize("origin_s", [Fraction(0), Fraction(-1, 7)])
    @pytest.mark.parametrize("start_s", [Fraction(0), Fraction(26, 5), Fraction(1043, 125)])
    def test_a_late_cut_has_the_columns_that_the_whole_recording_has_there(
        self, extractor: AudioFeatureExtractor, start_s: Fraction, origin_s: Fraction
    ) -> None:
        whole = speech(noise(12.0) * np.linspace(1, 0.1, 12 * RATE_HZ), origin_s)
        heard, end_s = extractor.extract(whole), start_s + Fraction(4, 5)
        found = extract_between(extractor, whole, start_s, end_s)
        at = (found.origin_s + start_s - origin_s) / found.hop_s
        assert at.denominator == 1
        assert 0 <= found.origin_s < found.hop_s
        assert end_s - found.hop_s < start_s + found.origin_s + (len(found.values) - 1) * found.hop_s <= end_s
        columns = heard.values[int(at) : int(at) + len(found.values)]
        np.testing.assert_allclose(found.values, columns, atol=SAME)

    @pytest.mark.parametrize(("start_s", "end_s"), [(-1, Fraction(1, 2)), (Fraction(3, 4), 2), (5, 6), (-3, -2)])
    def test_where_the_recording_has_no_column_there_is_silence(
        self, extractor: AudioFeatureExtractor, start_s: Fraction, end_s: Fraction
    ) -> None:
        heard = extractor.extract(speech(noise(1.0)))
        found = extract_between(extractor, speech(noise(1.0)), Fraction(start_s), Fraction(end_s))
        index = round(start_s / found.hop_s) + np.arange(len(found.values))
        outside = (index < 0) | (index >= len(heard.values))
        assert outside.any()
        np.testing.assert_array_equal(
            found.values[outside], np.broadcast_to(found.silence, found.values.shape)[outside]
        )
        np.testing.assert_allclose(found.values[~outside], heard.values[index[~outside]], atol=SAME)


class TestEveryLocalFeature:
    @pytest.mark.parametrize("at_s", [0.3, 0.517, 1.0, 1.234])
    @pytest.mark.parametrize("origin_s", [Fraction(0), Fraction(-1, 3), Fraction(5, 7)])
    def test_the_middle_of_what_a_click_changes_is_its_time(
        self, local: AudioFeatureExtractor, at_s: float, origin_s: Fraction
    ) -> None:
        samples = np.zeros(2 * RATE_HZ)
        samples[round(at_s * RATE_HZ)] = 30_000
        found = local.extract(speech(samples, origin_s))
        change = np.abs(found.values - found.silence).sum(axis=1)
        # The middle of all that the click changed: a shifted clock moves it, an odd column more or less does not.
        column = float((change * np.arange(len(change))).sum() / change.sum())
        heard_s = float(found.origin_s) + column * float(found.hop_s)
        assert heard_s == pytest.approx(float(origin_s) + at_s, abs=float(found.hop_s) / 2)


class TestEveryEncoder:
    @pytest.mark.parametrize("at_s", [0.3, 0.517, 1.0, 1.234])
    @pytest.mark.parametrize("family", ENCODERS)
    def test_a_click_changes_the_column_of_its_time_most(
        self, opened: Callable[[str], AudioFeatureExtractor], family: str, at_s: float
    ) -> None:
        change = 0.0
        for seed in range(4):
            quiet = noise(2.0, seed, level=300)
            clicked = quiet.copy()
            clicked[round(at_s * RATE_HZ)] = 30_000
            before, after = (opened(family).extract(speech(x, Fraction(-1, 3))) for x in (quiet, clicked))
            # Attention carries a click everywhere, differently each time; what stays is where it was.
            change = change + np.abs(after.values - before.values).sum(axis=1)
        heard_s = float(after.origin_s + int(np.argmax(change)) * after.hop_s)
        assert heard_s == pytest.approx(at_s - 1 / 3, abs=float(after.hop_s))
