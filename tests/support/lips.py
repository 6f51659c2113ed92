"""Lips that open as told, and sound that is as loud as they are open: the two ends of an audio-visual measure."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from shards.crop import crop_window
from shards.meanface import mean_face
from shards.schema import F64, U8, CropTransform, FrameTimes, Landmarks, Speech
from shards.topology import topology

RATE_HZ, SIZE = 16_000, 64
WINDOW = crop_window("lower_face")


def frame_times(frames: int) -> FrameTimes:
    return FrameTimes(pts=np.arange(frames, dtype=np.int64) * 40, base=Fraction(1, 1000))


def transform(frames: int, scale: float = 0.5) -> CropTransform:
    matrices = np.tile(np.array([[scale, 0, 3], [0, scale, -2]]), (frames, 1, 1))
    return CropTransform(matrices=matrices, size_px=SIZE, window=WINDOW)


def landmarks(opening: F64, name: str = "mediapipe131") -> Landmarks:
    """The mean face in crop px, its inner lips apart by `opening` eye units; one frame each."""
    shape = topology(name)
    face = np.repeat(mean_face(name)[None], len(opening), axis=0)
    upper, lower = shape.inner_lip_mid
    face[:, lower] = face[:, upper] + np.stack([np.zeros(len(opening)), opening], axis=1)
    matrix = WINDOW.matrix(SIZE)
    points = (face @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    confidence = np.ones(len(opening), dtype=np.float32)
    return Landmarks(points=points, confidence=confidence, topology_name=name, space="crop")


def babble(opening: F64, *, late_s: float = 0.0, margin_s: float = 0.0, rate_hz: int = RATE_HZ) -> Speech:
    """Noise as loud as the mouth is open, `late_s` later, with so much more of it on either side."""
    t = np.arange(-round(margin_s * rate_hz), round((len(opening) / 25 + margin_s) * rate_hz)) / rate_hz
    loudness = np.interp(t - late_s, np.arange(len(opening)) / 25, opening)
    noise = np.random.default_rng(5).standard_normal(len(t))
    samples = np.round(3000 * loudness / opening.max() * noise).clip(-32768, 32767).astype(np.int16)
    return Speech(samples=samples, rate_hz=rate_hz, origin_s=-Fraction(round(margin_s * rate_hz), rate_hz))


def silence(seconds: float) -> Speech:
    return Speech(samples=np.zeros(round(seconds * RATE_HZ), dtype=np.int16), rate_hz=RATE_HZ, origin_s=Fraction(0))


def articulated(frames: int = 100, seed: int = 0) -> F64:
    """An opening that comes and goes as in speech, eye units."""
    rng = np.random.default_rng(seed)
    return 0.02 + np.abs(np.convolve(rng.standard_normal(frames + 4), np.ones(5) / 5, mode="valid"))


def picture(seed: int = 0, side: int = SIZE) -> U8:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
