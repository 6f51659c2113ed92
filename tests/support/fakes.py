"""Hand-written stand-ins for the outer doors of the media room: they record how they were called.

`MemorySource` is a `FrameSource` over pictures in memory; `DrawnFace` pictures are found by `DotBackend`, a landmark
backend that reads the place, size and mouth opening of a face from three coloured dots instead of recognising it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from preprocessing.errors import Unusable
from preprocessing.faces.base import FaceObservation
from preprocessing.media.base import DecodedFrame, MediaInfo, VideoStream
from shards.meanface import mean_face
from shards.schema import F32, I64, U8, FrameTimes
from shards.topology import topology


class MemorySource:
    """Pictures in memory, read like a video; breaks off at `breaks_at` as a truncated file does."""

    def __init__(self, pictures: Sequence[U8], *, pts: I64 | None = None, breaks_at: int | None = None) -> None:
        self._pictures, self._breaks_at = list(pictures), breaks_at
        ticks = np.arange(len(pictures), dtype=np.int64) * 40 if pts is None else pts
        self.times = FrameTimes(pts=ticks, base=Fraction(1, 1000))
        self.info = media_info(self._pictures[0], len(self._pictures))
        self.reads: list[tuple[int, int | None]] = []
        self.is_closed = False

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[DecodedFrame]:
        self.reads.append((start, stop))
        for index in range(start, len(self._pictures) if stop is None else stop):
            if index == self._breaks_at:
                raise Unusable.because("truncated", f"the file ends before frame {index}")
            yield DecodedFrame(index=index, rgb=self._pictures[index])

    def close(self) -> None:
        self.is_closed = True


def media_info(picture: U8, num_frames: int) -> MediaInfo:
    """What `probe` would say of such a video at 25 fps."""
    height, width = picture.shape[:2]
    video = VideoStream(
        index=0,
        codec="rawvideo",
        profile=None,
        width=width,
        height=height,
        pix_fmt="rgb24",
        bit_depth=8,
        rotation=0,
        sample_aspect=Fraction(1),
        frame_rate=Fraction(25),
        time_base=Fraction(1, 1000),
        start_pts=0,
        num_frames=num_frames,
        is_vfr=False,
        is_interlaced=False,
        bit_rate=None,
        color_range=None,
        color_space=None,
        color_transfer=None,
        color_primaries=None,
    )
    return MediaInfo(
        path=Path("memory.mkv"),
        size_bytes=picture.nbytes * num_frames,
        container="memory",
        duration_s=Fraction(num_frames, 25),
        video=video,
        audio=(),
        other_streams=(),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnFace:
    """A face for `DotBackend`: where it is, how large, how far its mouth is open and what colour its skin has."""

    x: float
    y: float
    eye_px: float = 20.0
    """Distance of the eye centres; keep it a whole number, the dots sit on pixels."""
    opening: float = 0.0
    """Of the mouth, eye units."""
    skin: tuple[int, int, int] = (200, 150, 120)


def face_points(face: DrawnFace, topology_name: str = "mediapipe131") -> F32:
    """(P, 2) source px: the mean face, moved, scaled and with its mouth and chin opened."""
    shape, points = topology(topology_name), mean_face(topology_name)
    lower_lip = [p for p in shape.lips if points[p, 1] > points[shape.mouth_corners[0], 1]]
    points[lower_lip, 1] += face.opening
    points[list(shape.jaw), 1] += 0.5 * face.opening
    return (points * face.eye_px + (face.x, face.y)).astype(np.float32)


def draw(faces: Sequence[DrawnFace], *, width: int = 320, height: int = 240, background: int = 60, seed: int = 0) -> U8:
    """A picture with each face as a textured disc, and the dots that tell `DotBackend` about it in the top rows."""
    rng = np.random.default_rng(seed)
    # Grey noise: coloured noise has a random hue, which a cut detector rightly calls a new picture.
    rgb = np.clip(rng.normal(background, 3, (height, width, 1)), 0, 249).astype(np.uint8).repeat(3, axis=2)
    y, x = np.mgrid[0:height, 0:width]
    for number, face in enumerate(faces):
        u, v = (x - face.x) / face.eye_px, (y - face.y) / face.eye_px
        inside = (u / 1.4) ** 2 + ((v - 0.4) / 1.8) ** 2 < 1
        waves = 25 * np.sin(9 * u + face.skin[0]) * np.sin(7 * v + face.skin[1])
        for channel in range(3):
            rgb[..., channel][inside] = np.clip(face.skin[channel] + waves, 0, 255)[inside].astype(np.uint8)
        # Two bytes per number, so that a place between pixels is exact to 1/64 px.
        values = [round(v * 64) for v in (face.x, face.y, face.eye_px, face.opening * 100)]
        rgb[0, 4 * number : 4 * number + 4] = [(250 + number % 2, v >> 8, v & 255) for v in values]
    rgb[0, 4 * len(faces)] = 0
    return rgb


class DotBackend:
    """A landmark backend for `draw`'s pictures."""

    name, version, topology, batch = "dots", "1", "mediapipe131", 8

    def __init__(self, max_faces: int = 4) -> None:
        self._max_faces = max_faces
        self.calls: list[str] = []

    def setup(self) -> None:
        self.calls.append("setup")

    def infer(self, frames: U8) -> list[list[FaceObservation]]:
        self.calls.append(f"infer {len(frames)}")
        return [self._faces_of(frame) for frame in frames]

    def reset(self) -> None:
        self.calls.append("reset")

    def close(self) -> None:
        self.calls.append("close")

    def _faces_of(self, frame: U8) -> list[FaceObservation]:
        faces = []
        for number in range(self._max_faces):
            dots = frame[0, 4 * number : 4 * number + 4].astype(int)
            if dots[0, 0] < 250:
                break
            x, y, eye_px, opening = ((dots[:, 1] << 8) + dots[:, 2]) / 64
            points = face_points(DrawnFace(x=x, y=y, eye_px=eye_px, opening=opening / 100))
            faces.append(FaceObservation(points=points, confidence=1.0))
        return sorted(faces, key=lambda face: face.box[1] - face.box[3])
