"""Small clips made by hand, for tests that need a `ClipSample` and no footage.

Smooth pictures (so JPEG hardly changes them), points inside the crop, a similarity transform a frame, speech-like
noise. Everything follows from `seed`.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from shards.crop import crop_window
from shards.schema import (
    SCHEMA_VERSION,
    U8,
    AudioFeatures,
    ClipSample,
    CropTransform,
    FrameTimes,
    Landmarks,
    MediaTime,
    Provenance,
    Span,
    Speech,
)
from shards.topology import topology as topology_named

RATE_HZ = 16_000
FPS = 25
CHANNELS = {"mel": 80, "phones": 42}


def make_clip(
    seed: int,
    frames: int = 8,
    size: int = 16,
    identity: str = "person-0",
    topology: str = "mediapipe131",
    *,
    language: str | None = "en",
    window: str = "lower_face",
    features: tuple[str, ...] = ("mel",),
) -> ClipSample:
    """A clip of `frames` frames at 25 fps and `size` px; the same arguments give the same clip."""
    rng = np.random.default_rng(seed)
    return ClipSample(
        key=f"{seed:08x}".rjust(32, "0"),
        frames=make_frames(rng, frames, size),
        times=FrameTimes(pts=np.arange(frames, dtype=np.int64) * 512, base=Fraction(1, 512 * FPS)),
        landmarks=make_landmarks(rng, frames, size, topology),
        transform=make_transform(rng, frames, size, window),
        speech=make_speech(rng, frames),
        features=tuple(make_features(rng, frames, name, CHANNELS.get(name, 80)) for name in features),
        identity=identity,
        language=language,
        scores={"sharpness": float(rng.uniform(0, 1)), "sync": float(rng.uniform(0, 10))},
        provenance=make_provenance(seed, frames),
    )


def make_frames(rng: np.random.Generator, frames: int, size: int) -> U8:
    """(T, S, S, 3) slow colour waves that drift from frame to frame."""
    y, x = np.mgrid[0:size, 0:size] / size
    phase = rng.uniform(0, 2 * np.pi, 3) + 0.1 * np.arange(frames)[:, None]
    waves = np.sin(2 * np.pi * 0.5 * (x + y)[None, :, :, None] + phase[:, None, None, :])
    return np.round(127.5 + 100 * waves).astype(np.uint8)


def make_landmarks(rng: np.random.Generator, frames: int, size: int, topology: str) -> Landmarks:
    """Points inside the crop; all distinct, moving a little."""
    num_points = topology_named(topology).num_points
    rest = rng.uniform(0.2, 0.8, (1, num_points, 2))
    motion = 0.02 * rng.standard_normal((frames, num_points, 2)).cumsum(axis=0) / max(frames, 1)
    return Landmarks(
        points=((rest + motion) * size).astype(np.float32),
        confidence=rng.uniform(0.5, 1, frames).astype(np.float32),
        topology_name=topology,
        space="crop",
    )


def make_transform(rng: np.random.Generator, frames: int, size: int, window: str) -> CropTransform:
    """A slowly turning and drifting similarity a frame."""
    turn = 0.02 * np.arange(frames) + rng.uniform(-0.2, 0.2)
    scale = 0.1 * (1 + 0.01 * np.arange(frames))
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    shift = rng.uniform(-5, 5, 2) + 0.1 * np.arange(frames)[:, None]
    rows = [np.stack([cos, -sin, shift[:, 0]], axis=1), np.stack([sin, cos, shift[:, 1]], axis=1)]
    return CropTransform(matrices=np.stack(rows, axis=1), size_px=size, window=crop_window(window))


def make_speech(rng: np.random.Generator, frames: int) -> Speech:
    """Noise under a syllable-like envelope, a little longer than the picture, starting 0.1 s before it."""
    num = RATE_HZ * frames // FPS + RATE_HZ // 5
    envelope = np.abs(np.sin(2 * np.pi * 4 * np.arange(num) / RATE_HZ))
    samples = np.round(6000 * envelope * rng.standard_normal(num)).clip(-32768, 32767).astype(np.int16)
    return Speech(samples=samples, rate_hz=RATE_HZ, origin_s=Fraction(-1, 10))


def make_features(rng: np.random.Generator, frames: int, name: str, channels: int = 80) -> AudioFeatures:
    """80 columns a second over the clip and 0.1 s around it."""
    num = 80 * frames // FPS + 16
    return AudioFeatures(
        name=name,
        version="test-1",
        values=rng.standard_normal((num, channels)).astype(np.float32),
        hop_s=Fraction(1, 80),
        origin_s=Fraction(-1, 10),
        silence=np.full(channels, -4, dtype=np.float32),
    )


def make_provenance(seed: int, frames: int) -> Provenance:
    """As if cut from the third second of a file."""
    base = Fraction(1, 90_000)
    start = 3 * 90_000
    return Provenance(
        source_sha256=f"{seed:064x}",
        source_name=f"source-{seed}.mp4",
        span=Span(start=MediaTime(pts=start, base=base), end=MediaTime(pts=start + frames * 3600, base=base)),
        landmark_backend="fake@1",
        config_sha256="c" * 64,
        code_version=f"test-schema-{SCHEMA_VERSION}",
        parents=(),
    )
