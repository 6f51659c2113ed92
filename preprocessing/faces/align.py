"""Track -> AlignedTrack: where the crop lies in each frame, and the crop itself.

The crop is a similarity transform fitted to upper-face points, smoothed forwards and backwards alike within the track
and so never across a cut. Points are complex numbers here (x + iy): a similarity is then w = a z + b, with |a| its
scale and arg a its angle, and it cannot shear or mirror. The way back into the picture is `compose`'s, from the same
`CropTransform`.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from preprocessing.config import CropConfig
from preprocessing.errors import Unusable
from preprocessing.faces.base import AlignedTrack, Track
from preprocessing.faces.template import anchor_template, anchor_weights
from shards.crop import crop_window
from shards.schema import F32, F64, U8, CropTransform
from shards.topology import Topology

C128 = NDArray[np.complex128]

_REACH = 4.0
"""The Gaussian is cut off after so many sigmas."""
_MARGIN_PX = 4
"""Picture taken along around the crop, beyond what the blur reaches, for the interpolation."""


def align(track: Track, config: CropConfig, *, fps: float, identity: str) -> AlignedTrack:
    """The track with its smoothed crop. `fps` is the source's mean rate: it turns `smooth_s` into frames."""
    window = crop_window(config.window)
    a, b = fit_upper_face(track.landmarks.points, track.landmarks.topology)
    centre = complex(*window.centre)
    a, centre_px = _steady(a, b, centre, sigma_frames=config.smooth_s * fps)
    to_eye_units = _matrices(a, centre - a * centre_px)
    to_crop = window.matrix(config.size_px)
    matrices = to_crop[:, :2] @ to_eye_units
    matrices[:, :, 2] += to_crop[:, 2]
    transform = CropTransform(matrices=matrices, size_px=config.size_px, window=window)
    return AlignedTrack(track=track, transform=transform, identity=identity)


def fit_upper_face(points: F32, topology: Topology) -> tuple[C128, C128]:
    """(T,), (T,): per frame the a and b of eye units = a * source px + b; NaN rows where the face is not seen.

    Weighted least squares onto the mean face (Umeyama 1991; in two dimensions a and b have this closed form).
    """
    weights = anchor_weights(topology)
    template = _complex(anchor_template(topology))
    face = _complex(points[:, list(topology.anchor)])
    template_mean, face_mean = weights @ template, face @ weights
    face, template = face - face_mean[:, None], template - template_mean
    # Unseen frames are NaN, and points all in one place have no scale: neither row is finite afterwards.
    with np.errstate(invalid="ignore", divide="ignore"):
        a = (face.conj() * template) @ weights / (np.abs(face) ** 2 @ weights)
    return a, template_mean - a * face_mean


def crop_frame(rgb: U8, matrix: F64, size_px: int) -> U8:
    """(S, S, 3): the crop that `matrix` (source px -> crop px) shows; past the picture's edge its border continues."""
    scale = math.sqrt(abs(float(np.linalg.det(matrix[:, :2]))))
    # A picture that shrinks must lose what the crop cannot hold, or it aliases and shimmers. The blur grows smoothly
    # from nothing at scale 1, so a slowly approaching face shows no switch.
    sigma = 0.5 * math.sqrt(max(scale**-2 - 1.0, 0.0))
    left, top, part = _surroundings(rgb, matrix, size_px, margin=_MARGIN_PX + math.ceil(3 * sigma))
    if sigma > 0.1:
        part = np.asarray(cv2.GaussianBlur(part, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE), dtype=np.uint8)
    moved = matrix.copy()
    moved[:, 2] += matrix[:, :2] @ (left, top)
    crop = cv2.warpAffine(part, moved, (size_px, size_px), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(crop, dtype=np.uint8)


def _surroundings(rgb: U8, matrix: F64, size_px: int, margin: int) -> tuple[int, int, U8]:
    """(left, top, part): the part of the picture the crop is made from; at least one pixel of it."""
    edge = size_px - 0.5
    corners = np.array([[-0.5, -0.5], [edge, -0.5], [-0.5, edge], [edge, edge]])
    source = (corners - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    height, width = rgb.shape[:2]
    low, high = np.floor(source.min(axis=0)) - margin, np.ceil(source.max(axis=0)) + margin + 1
    left, top = int(np.clip(low[0], 0, width - 1)), int(np.clip(low[1], 0, height - 1))
    right, bottom = int(np.clip(high[0], left + 1, width)), int(np.clip(high[1], top + 1, height))
    return left, top, rgb[top:bottom, left:right]


def _steady(a: C128, b: C128, centre: complex, sigma_frames: float) -> tuple[C128, C128]:
    """The smoothed a, and the smoothed place of the crop's centre in source px; filled where the face is unseen.

    Scale (as a logarithm), angle and place are smoothed each on its own: so a turn or an approach stays one.
    """
    seen_at = np.flatnonzero(np.isfinite(a) & np.isfinite(b))
    if not len(seen_at):
        raise Unusable.because("no_face", "no frame of the track shows the face")
    frames = np.arange(len(a))

    def smooth(values: F64) -> F64:
        return _zero_phase_gaussian(np.interp(frames, seen_at, values), sigma_frames)

    a, b = a[seen_at], b[seen_at]
    centre_px = (centre - b) / a
    log_scale, angle = smooth(np.log(np.abs(a))), smooth(np.unwrap(np.angle(a)))
    return np.exp(log_scale + 1j * angle), smooth(centre_px.real) + 1j * smooth(centre_px.imag)


def _zero_phase_gaussian(values: F64, sigma_frames: float) -> F64:
    """Smoothed without delay. The ends continue point-mirrored, so that a steady pan is left exactly as it is."""
    if sigma_frames <= 0 or len(values) < 2:
        return values
    reach = min(math.ceil(_REACH * sigma_frames), len(values) - 1)
    padded = np.pad(values, reach, mode="reflect", reflect_type="odd")
    out: F64 = gaussian_filter1d(padded, sigma_frames, mode="nearest", truncate=_REACH)
    return out[reach:-reach]


def _complex(points: NDArray[np.floating]) -> C128:
    p = np.asarray(points, dtype=np.float64)
    out: C128 = p[..., 0] + 1j * p[..., 1]
    return out


def _matrices(a: C128, b: C128) -> F64:
    """(T, 2, 3) float64 of w = a z + b."""
    rows = np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])
    return np.ascontiguousarray(rows.transpose(2, 0, 1))
