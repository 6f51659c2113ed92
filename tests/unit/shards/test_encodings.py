"""Arrays, pictures and sound come back as they were; equal input gives equal bytes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from shards.encodings import flac_bytes, flac_samples, mjpeg_bytes, mjpeg_frames, npy_array, npy_bytes
from shards.errors import ObjectDamaged, RequestError
from shards.schema import U8
from tests.support.clips import make_frames


def waves(frames: int = 4, size: int = 48) -> U8:
    return make_frames(np.random.default_rng(0), frames, size)


@given(arrays(np.float32, array_shapes(max_dims=3, min_side=0)))
def test_any_float_array_comes_back_bit_for_bit(array: NDArray[np.float32]) -> None:
    back = npy_array(io.BytesIO(npy_bytes(array)), dtype=np.float32)
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()


def test_memory_order_and_byte_order_do_not_change_the_bytes() -> None:
    array = np.arange(12, dtype=np.float64).reshape(3, 4)
    assert npy_bytes(np.asfortranarray(array)) == npy_bytes(array)
    assert npy_bytes(array.astype(">f8")) == npy_bytes(array)


def test_an_array_of_another_type_is_refused() -> None:
    with pytest.raises(ObjectDamaged, match="float64, not float32"):
        npy_array(io.BytesIO(npy_bytes(np.zeros(3))), dtype=np.float32)


def test_a_pickle_in_an_array_file_is_refused() -> None:
    stream = io.BytesIO()
    np.save(stream, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ObjectDamaged, match=r"not a \.npy array"):
        npy_array(io.BytesIO(stream.getvalue()), dtype=np.float32)


@given(arrays(np.int16, st.integers(1, 5000)), st.sampled_from([8_000, 16_000, 44_100]))
def test_sound_comes_back_sample_for_sample(samples: NDArray[np.int16], rate_hz: int) -> None:
    data = flac_bytes(samples, rate_hz)
    assert data == flac_bytes(samples, rate_hz)
    np.testing.assert_array_equal(flac_samples(data, rate_hz=rate_hz), samples)


def test_sound_of_another_rate_is_refused() -> None:
    data = flac_bytes(np.ones(10, dtype=np.int16), 8_000)
    with pytest.raises(ObjectDamaged, match="8000 Hz"):
        flac_samples(data, rate_hz=16_000)


def test_no_sound_at_all_is_refused_before_it_is_written() -> None:
    with pytest.raises(ValueError, match="zero samples"):
        flac_bytes(np.zeros(0, dtype=np.int16), 16_000)


def test_pictures_change_by_no_more_than_jpeg_at_95_does() -> None:
    frames = waves()
    back = mjpeg_frames(*mjpeg_bytes(frames, quality=95), size_px=48)
    error = np.abs(back.astype(int) - frames)
    assert error.max() <= 12
    assert error.mean() < 1


def test_colours_keep_their_channel_and_their_sharpness() -> None:
    """A red line one pixel wide: with halved chroma, or red and blue exchanged, it would not survive."""
    frames = np.full((1, 32, 32, 3), 128, dtype=np.uint8)
    frames[0, :, 15] = (220, 60, 60)
    back = mjpeg_frames(*mjpeg_bytes(frames, quality=95), size_px=32).astype(int)
    assert np.abs(back[0, :, 15] - (220, 60, 60)).max() < 15
    assert np.abs(back[0, :, 17] - 128).max() < 15


def test_the_pictures_are_whole_jpegs_one_after_the_other() -> None:
    data, lengths = mjpeg_bytes(waves(), quality=80)
    start = 0
    for length in lengths:
        assert data[start : start + 2] == b"\xff\xd8"
        assert data[start + length - 2 : start + length] == b"\xff\xd9"
        start += length
    assert start == len(data)


def test_a_clip_of_no_frames_has_no_bytes() -> None:
    data, lengths = mjpeg_bytes(np.zeros((0, 8, 8, 3), dtype=np.uint8), quality=95)
    assert (data, lengths) == (b"", ())
    assert mjpeg_frames(data, lengths, size_px=8).shape == (0, 8, 8, 3)


def test_pictures_of_another_size_or_length_are_refused() -> None:
    data, lengths = mjpeg_bytes(waves(), quality=95)
    with pytest.raises(ObjectDamaged, match="picture 0 is not a JPEG of 64 x 64"):
        mjpeg_frames(data, lengths, size_px=64)
    with pytest.raises(ObjectDamaged, match="bytes of pictures"):
        mjpeg_frames(data[:-1], lengths, size_px=48)


@pytest.mark.parametrize("quality", [0, 101])
def test_a_quality_that_jpeg_does_not_have_is_refused(quality: int) -> None:
    with pytest.raises(RequestError, match="`jpeg_quality`"):
        mjpeg_bytes(waves(1), quality=quality)
