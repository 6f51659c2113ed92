"""Arrays, pictures and sound <-> bytes: one pair of functions per encoding.

Equal input gives equal bytes with one set of libraries (a dataset is named by its bytes). What the arrays mean is
`codec.py`'s; it also checks every member against its checksum, so the decoders here meet undamaged bytes only.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import BinaryIO, TypeVar, cast

import cv2
import numpy as np
import soundfile
from numpy.typing import NDArray

from shards.errors import ObjectDamaged, RequestError
from shards.schema import U8

Scalar = TypeVar("Scalar", bound=np.generic)

MAX_FLAC_RATE_HZ = 655_350


def npy_bytes(array: NDArray[np.generic]) -> bytes:
    """A `.npy` file: C order and little-endian whatever the machine, so that equal arrays are equal bytes."""
    stream = io.BytesIO()
    ordered = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    np.lib.format.write_array(stream, ordered, version=(1, 0), allow_pickle=False)
    return stream.getvalue()


def npy_array(stream: BinaryIO, *, dtype: type[Scalar]) -> NDArray[Scalar]:
    """The next `.npy` array of the stream; anything but `dtype` is refused, and nothing is ever unpickled."""
    try:
        array = np.lib.format.read_array(stream, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ObjectDamaged(f"not a .npy array: {error}") from error
    if array.dtype != np.dtype(dtype):
        raise ObjectDamaged(f"a .npy array of {array.dtype}, not {np.dtype(dtype)}")
    return cast("NDArray[Scalar]", array)


def mjpeg_bytes(frames: U8, *, quality: int) -> tuple[bytes, tuple[int, ...]]:
    """(T, S, S, 3) RGB -> one JPEG after the other (a playable MJPEG stream), and the length of each.

    4:4:4: lips are a few pixels of saturated red; halved chroma would smear them.
    """
    if not 1 <= quality <= 100:
        raise RequestError("JPEG quality is a whole number from 1 to 100", field="jpeg_quality", value=quality)
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    pictures = []
    for frame in frames:
        done, data = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), options)
        if not done:
            raise RuntimeError(f"the JPEG encoder refused a picture of shape {frame.shape}")
        pictures.append(data.tobytes())
    return b"".join(pictures), tuple(len(p) for p in pictures)


def mjpeg_frames(data: bytes, lengths: Sequence[int], *, size_px: int) -> U8:
    """The inverse of `mjpeg_bytes`, up to what JPEG loses."""
    if sum(lengths) != len(data):
        raise ObjectDamaged(f"{len(data)} bytes of pictures where {sum(lengths)} are recorded")
    frames = np.empty((len(lengths), size_px, size_px, 3), dtype=np.uint8)
    start = 0
    for index, length in enumerate(lengths):
        picture = cv2.imdecode(np.frombuffer(data, np.uint8, length, start), cv2.IMREAD_COLOR)
        if picture is None or picture.shape != frames.shape[1:]:
            raise ObjectDamaged(f"picture {index} is not a JPEG of {size_px} x {size_px}")
        cv2.cvtColor(picture, cv2.COLOR_BGR2RGB, dst=frames[index])
        start += length
    return frames


def flac_bytes(samples: NDArray[np.int16], rate_hz: int) -> bytes:
    """(N,) int16 mono, without loss."""
    if not len(samples):
        raise ValueError("FLAC cannot hold zero samples; a clip's sound is at least as long as its picture")
    if rate_hz > MAX_FLAC_RATE_HZ:
        raise RequestError(f"FLAC holds at most {MAX_FLAC_RATE_HZ} Hz", field="rate_hz", value=rate_hz)
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate_hz, format="FLAC", subtype="PCM_16")
    return stream.getvalue()


def flac_samples(data: bytes, *, rate_hz: int) -> NDArray[np.int16]:
    """The inverse of `flac_bytes`, exactly."""
    try:
        samples, rate = soundfile.read(io.BytesIO(data), dtype="int16")
    except soundfile.LibsndfileError as error:
        raise ObjectDamaged(f"not a FLAC file: {error}") from error
    if samples.ndim != 1 or rate != rate_hz:
        raise ObjectDamaged(f"sound of {rate} Hz and shape {samples.shape}, not {rate_hz} Hz mono")
    return np.asarray(samples, dtype=np.int16)
