"""Track -> AlignedTrack: where the crop lies in each frame.

The crop is a similarity transform: size, tilt and place of the head's pose (`pose.py`, from upper-face points),
smoothed forwards and backwards alike within the track and so never across a cut. It is then w = a z + b in complex
numbers (x + iy), with |a| its scale and arg a its angle, and cannot shear or mirror. The pixels are `crop.py`'s; the
way back into the picture is `compose`'s, from the same `CropTransform`.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.ndimage import gaussian_filter1d

from preprocessing.config import CropConfig
from preprocessing.errors import Unusable
from preprocessing.faces.base import AlignedTrack, Track
from preprocessing.faces.pose import head_pose
from shards.crop import crop_window
from shards.schema import F32, F64, CropTransform, Landmarks
from shards.topology import Topology

CHUNK = 4
"""Frames whose pose is measured together. Fixed, because the last bits of a sum depend on how many there are."""
_CENTRE_DEPTH = -0.2
"""Of the crop's centre, eye units: as far in front of the eyes as the lips are."""
_REACH = 4.0
"""The Gaussian is cut off after so many sigmas."""
MOST_LAG = (0.06, 0.1, 0.06, 0.06)
"""How far smoothing may hold the crop off the face: logarithm of size, radians of tilt, and place in window sides.
A head that jerks is followed; and whoever keeps pixels for later knows which ones can be asked for."""


def align(track: Track, config: CropConfig, *, fps: float, identity: str, look: F32 | None = None) -> AlignedTrack:
    """The track with its smoothed crop. `fps` is the source's mean rate: it turns `smooth_s` into frames."""
    raw = raw_crops(track.landmarks, config)
    matrices = crop_matrices(raw, config, sigma_frames=config.smooth_s * fps)
    transform = CropTransform(matrices=matrices, size_px=config.size_px, window=crop_window(config.window))
    return AlignedTrack(track=track, transform=transform, identity=identity, look=look)


def raw_crops(landmarks: Landmarks, config: CropConfig) -> F64:
    """(T, 4), not smoothed: see `raw_chunk`."""
    rows = np.empty((0, 4))
    for first in range(0, len(landmarks), CHUNK):
        chunk = raw_chunk(landmarks.points[first : first + CHUNK], landmarks.topology, config, rows[-1:])
        rows = np.concatenate([rows, chunk])
    return rows


def raw_chunk(points: F32, topology: Topology, config: CropConfig, before: F64) -> F64:
    """(T, 4) of (T, P, 2) source px: log of px per eye unit, tilt in radians, the centre's x and y; NaN where unseen.

    `before` holds the row before the first, or none: the tilt goes on from there without a jump of a whole turn. The
    centre is a point on the turned head, so the mouth of a head in profile stays in the middle of the crop.
    """
    pose = head_pose(points, topology)
    centre = pose.place(*crop_window(config.window).centre, _CENTRE_DEPTH)
    rows = np.stack([np.log(np.abs(pose.c)), np.angle(pose.c), centre.real, centre.imag], axis=1)
    last = float(before[0, 1]) if len(before) else math.nan
    for row in rows:
        if math.isfinite(last) and math.isfinite(row[1]):
            row[1] += 2 * math.pi * round((last - row[1]) / (2 * math.pi))
        last = row[1] if math.isfinite(row[1]) else last
    return rows


def crop_matrices(raw: F64, config: CropConfig, *, sigma_frames: float) -> F64:
    """(T, 2, 3) source px -> crop px: each of the four is smoothed on its own, so a turn or an approach stays one."""
    seen_at = np.flatnonzero(np.isfinite(raw).all(axis=1))
    if not len(seen_at):
        raise Unusable.because("no_face", "no frame of the track shows the face")
    filled = np.stack([np.interp(np.arange(len(raw)), seen_at, column) for column in raw[seen_at].T], axis=1)
    smooth = np.stack([_zero_phase_gaussian(column, sigma_frames) for column in filled.T], axis=1)
    most = np.tile(MOST_LAG, (len(raw), 1))
    most[:, 2:] *= crop_window(config.window).side * np.exp(filled[:, :1])
    return _matrices(filled + np.clip(smooth - filled, -most, most), config)


def reach_frames(sigma_frames: float) -> int:
    """How far the smoothing looks ahead and back."""
    return math.ceil(_REACH * sigma_frames)


def _matrices(steady: F64, config: CropConfig) -> F64:
    window = crop_window(config.window)
    a = np.exp(-steady[:, 0] - 1j * steady[:, 1])
    b = complex(*window.centre) - a * (steady[:, 2] + 1j * steady[:, 3])
    rows = np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])
    to_crop = window.matrix(config.size_px)
    # Element by element and not as a matrix product, whose last bits depend on how many rows there are.
    matrices: F64 = to_crop[0, 0] * np.ascontiguousarray(rows.transpose(2, 0, 1))
    matrices[:, :, 2] += to_crop[:, 2]
    return matrices


def _zero_phase_gaussian(values: F64, sigma_frames: float) -> F64:
    """Smoothed without delay. The ends continue point-mirrored, so that a steady pan is left exactly as it is."""
    if sigma_frames <= 0 or len(values) < 2:
        return values
    reach = min(reach_frames(sigma_frames), len(values) - 1)
    padded = np.pad(values, reach, mode="reflect", reflect_type="odd")
    out: F64 = gaussian_filter1d(padded, sigma_frames, mode="nearest", truncate=_REACH)
    return out[reach:-reach]
