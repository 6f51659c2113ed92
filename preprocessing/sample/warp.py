"""Draws a portrait in a pose, and tells where its landmarks then truly are.

Owns: reading the photograph through the warp and laying the parts over one another: the face above the line of the
lips, the lids, the face below it, the inside of the mouth. The background stands still: the head's motion dies out
around it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np

from preprocessing.sample.fields import (
    JAW_TRAVEL,
    Layer,
    Shapes,
    displaced,
    head_moved,
    layers_of_landmarks,
    lid_lowered,
    lid_raised,
    shapes,
)
from preprocessing.sample.geometry import TOPOLOGY, FaceGeometry, geometry
from preprocessing.sample.inverse import Inverse, Patch, View, grid_nodes
from preprocessing.sample.motion import FaceMotion, FacePose
from preprocessing.sample.mouth import OpenMouth, paint
from preprocessing.sample.portrait import CANVAS_PX, TEXTURE_SCALE, Portrait
from shards.schema import F32, F64, U8

_LIP_SAMPLES = 61


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Stage:
    """What does not change from frame to frame."""

    portrait: Portrait
    face: FaceGeometry
    textures: tuple[U8, ...]
    """The photograph, and it again and again at half the size."""
    grids: dict[Layer, Shapes]
    landmarks: dict[Layer, Shapes]
    lips: dict[Layer, Shapes]
    """Along the inner edge of each lip, corner to corner."""
    skull: Shapes
    """Three points about the mouth: where the head takes them, the teeth go."""
    lip_colour: F64
    light: F64

    def moved(self, at: Shapes, pose: FacePose) -> F64:
        """Where the points go, canvas px."""
        return self.face.frame.to_canvas(displaced(at, pose, self.face, self.portrait.photograph))


def render(
    portrait: Portrait, motion: FaceMotion, time_s: float, *, size: tuple[int, int] = (CANVAS_PX, CANVAS_PX)
) -> tuple[U8, F32]:
    """The picture at a moment ((H, W, 3) uint8 RGB) and its true landmarks ((131, 2) float32, source px)."""
    return render_pose(portrait, motion.at(time_s), size=size)


def render_pose(
    portrait: Portrait, pose: FacePose, *, size: tuple[int, int] = (CANVAS_PX, CANVAS_PX)
) -> tuple[U8, F32]:
    """`render` for one pose; `size` is (width, height)."""
    stage = _stage(portrait.name)
    view = View.of(size, portrait.landmarks.mean(axis=0))
    return _draw(stage, pose, view), view.to_picture(_true_landmarks(stage, pose)).astype(np.float32)


def _true_landmarks(stage: _Stage, pose: FacePose) -> F64:
    """(131, 2) canvas px, straight from the forward warp."""
    to_canvas = stage.face.frame.to_canvas
    # The lids come first and the head after them; both are small enough to be added.
    out = to_canvas(lid_lowered(stage.face, pose.blink)) - to_canvas(stage.face.points)
    for layer, members in layers_of_landmarks().items():
        out[list(members)] += stage.moved(stage.landmarks[layer], pose)
    return out


def _draw(stage: _Stage, pose: FacePose, view: View) -> U8:
    whole = (slice(0, view.height), slice(0, view.width))
    rest = Inverse.of(stage.moved(stage.grids[Layer.UPPER], pose)).rest(view, whole)
    picture = _sampled(stage, rest, view)
    if pose.blink > 0:
        for eye in range(2):
            _lay_lid(picture, stage, pose, rest, eye, view)
    _lay_mouth(picture, stage, pose, view)
    out: U8 = np.clip(picture + 0.5, 0, 255).astype(np.uint8)
    return out


def _sampled(stage: _Stage, rest: F32, view: View) -> F32:
    """(h, w, 3) float32: the photograph read at canvas points, in the detail that the view can show."""
    finer = [level for level in range(len(stage.textures)) if TEXTURE_SCALE / 2**level >= view.scale]
    level = finer[-1] if finer else 0
    scale = np.float32(TEXTURE_SCALE / 2**level)
    texels = (rest + np.float32(0.5)) * scale - np.float32(0.5)
    found = cv2.remap(
        stage.textures[level], texels[..., 0], texels[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )
    out: F32 = found.astype(np.float32)
    return out


def _blend(picture: F32, patch: Patch, over: F64 | F32, alpha: F64) -> None:
    picture[patch] += alpha[..., None].astype(np.float32) * (over.astype(np.float32) - picture[patch])


def _lay_lid(picture: F32, stage: _Stage, pose: FacePose, rest: F32, eye: int, view: View) -> None:
    """The upper lid's skin over the eye, down to where its edge now is."""
    frame = stage.face.frame
    ring = stage.portrait.landmarks[list((TOPOLOGY.left_eye, TOPOLOGY.right_eye)[eye])]
    patch = view.patch_around(ring, 0.45 * frame.unit_px)
    at = frame.to_face(rest[patch].astype(np.float64))
    lid = lid_raised(stage.face, eye, at, pose.blink, stage.portrait.photograph.lid_reach)
    skin = _sampled(stage, frame.to_canvas(lid.rest).astype(np.float32), view)
    # Skin that is drawn long shows streaks; they are smeared across.
    smeared = cv2.GaussianBlur(skin, (0, 0), sigmaX=2.5 * view.scale, sigmaY=0.8 * view.scale)
    skin += lid.stretched[..., None].astype(np.float32) * (smeared - skin)
    # Lashes: a thin dark edge, only where there is an eye to close.
    lash = 1 - 0.45 * lid.shut * np.exp(-((lid.above_edge / 0.016) ** 2))
    alpha = np.clip(lid.above_edge * frame.unit_px * view.scale + 0.5, 0, 1) * (lid.shut > 0)
    _blend(picture, patch, skin * lash[..., None], alpha)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Lips:
    """The inner edges of both lips in one frame, with the head's motion taken out (face frame)."""

    upper: F64
    """(n, 2) corner to corner."""
    lower: F64
    matrix: F64
    """(2, 3) canvas px -> face frame; near the mouth the head's motion is affine."""
    canvas: F64
    """(2n, 2) both edges where they are drawn, canvas px."""

    @classmethod
    def of(cls, stage: _Stage, pose: FacePose) -> _Lips:
        frame, skull = stage.face.frame, stage.skull
        moved = frame.to_canvas(head_moved(skull.at, skull.depth, pose, stage.face))
        matrix = cv2.getAffineTransform(moved.astype(np.float32), skull.at.astype(np.float32)).astype(np.float64)
        upper, lower = (stage.moved(stage.lips[layer], pose) for layer in Layer)
        still = [edge @ matrix[:, :2].T + matrix[:, 2] for edge in (upper, lower)]
        return cls(upper=still[0], lower=still[1], matrix=matrix, canvas=np.concatenate([upper, lower]))

    def around(self, view: View, patch: Patch) -> tuple[F64, F64, F64, F64]:
        """At each pixel of the patch: x, y, and the y of the upper and the lower edge at that x."""
        at = view.canvas_of(patch) @ self.matrix[:, :2].T + self.matrix[:, 2]
        upper, lower = (np.interp(at[..., 0], edge[:, 0], edge[:, 1]) for edge in (self.upper, self.lower))
        return at[..., 0], at[..., 1], upper, lower


def _lay_mouth(picture: F32, stage: _Stage, pose: FacePose, view: View) -> None:
    """Everything below the line of the lips, and the inside of the mouth between them."""
    unit_px, lips = stage.face.frame.unit_px * view.scale, _Lips.of(stage, pose)
    patch = view.patch_around(stage.portrait.landmarks, 0.9 * stage.face.frame.unit_px)
    _, y, upper, lower = lips.around(view, patch)
    below = Inverse.of(stage.moved(stage.grids[Layer.LOWER], pose)).rest(view, patch)
    _blend(picture, patch, _sampled(stage, below, view), np.clip((y - (upper + lower) / 2) * unit_px + 0.5, 0, 1))
    _lay_inside(picture, stage, pose, view, lips)


def _lay_inside(picture: F32, stage: _Stage, pose: FacePose, view: View, lips: _Lips) -> None:
    unit_px = stage.face.frame.unit_px * view.scale
    patch = view.patch_around(lips.canvas, 3.0)
    x, y, upper, lower = lips.around(view, patch)
    left, right = float(lips.upper[0, 0]), float(lips.upper[-1, 0])
    between = np.clip(np.minimum(y - upper, lower - y) * unit_px + 0.5, 0, 1) * ((x > left) & (x < right))
    # Shut lips leave half a pixel of `between`: the line of the lips, as dark as the portrait wants it.
    line = stage.portrait.photograph.lip_line
    strength = between * np.clip(line + (1 - line) * (lower - upper) * unit_px / 1.5, 0, 1)
    seam = float(stage.face.seam(np.zeros(1))[0])
    inside = OpenMouth(
        x=x - (left + right) / 2,
        y=y - seam,
        upper=upper - seam,
        lower=lower - seam,
        jaw_drop=JAW_TRAVEL * pose.opening,
        rounding=pose.rounding,
        half_width=(right - left) / 2,
        unit_px=unit_px,
        lip=stage.lip_colour,
        light=stage.light,
    )
    _blend(picture, patch, paint(inside), strength)


@functools.cache
def _stage(name: str) -> _Stage:
    portrait = Portrait.load(name)
    face, photograph = geometry(portrait.landmarks), portrait.photograph
    nodes = face.frame.to_face(grid_nodes())
    x = np.linspace(face.upper_lip.left[0], face.upper_lip.right[0], _LIP_SAMPLES)
    lips = {Layer.UPPER: np.stack([x, face.upper_lip(x)], 1), Layer.LOWER: np.stack([x, face.lower_lip(x)], 1)}
    skin = _mean_colour(portrait, TOPOLOGY.nose)
    skull = np.array([[-0.3, 0.0], [0.3, 0.0], [0.0, 0.3]])
    return _Stage(
        portrait=portrait,
        face=face,
        textures=_halved(_without_its_mouth(portrait, face, lips)),
        grids={layer: shapes(face, photograph, nodes, layer) for layer in Layer},
        landmarks={
            layer: shapes(face, photograph, face.points[list(members)], layer)
            for layer, members in layers_of_landmarks().items()
        },
        lips={layer: shapes(face, photograph, points, layer) for layer, points in lips.items()},
        skull=shapes(face, photograph, skull, Layer.UPPER),
        lip_colour=_mean_colour(portrait, TOPOLOGY.lips_outer[13:18] + TOPOLOGY.lips_inner[13:18]),
        light=np.clip(skin.mean() / 165, 0.7, 1.05) * (0.8 + 0.2 * skin / skin.mean()),
    )


def _without_its_mouth(portrait: Portrait, face: FaceGeometry, lips: dict[Layer, F64]) -> U8:
    """The photograph with its own mouth opening filled with lip, so that no photographed tooth sticks to a lip."""
    upper, lower = lips[Layer.UPPER], lips[Layer.LOWER]
    if float(np.max(lower[:, 1] - upper[:, 1])) < 0.03:
        return portrait.texture
    # A little wider than the points: the dark of the corners reaches beyond them.
    opening = np.concatenate([upper, lower[::-1]]) * [1.06, 1.0]
    ring = (face.frame.to_canvas(opening) + 0.5) * TEXTURE_SCALE - 0.5
    hole = np.zeros(portrait.texture.shape[:2], dtype=np.uint8)
    cv2.fillPoly(hole, [np.round(ring).astype(np.int32)], 255)
    wider = cv2.dilate(hole, np.ones((7, 7), np.uint8))
    out: U8 = cv2.inpaint(portrait.texture, wider, 6, cv2.INPAINT_TELEA).astype(np.uint8)
    return out


def _halved(texture: U8) -> tuple[U8, ...]:
    """A small picture read straight from a large one flickers; it reads from one about its own size."""
    out = [texture]
    while out[-1].shape[0] > 128:
        half = cv2.resize(out[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        out.append(half.astype(np.uint8))
    return tuple(out)


def _mean_colour(portrait: Portrait, points: tuple[int, ...]) -> F64:
    texels = np.round((portrait.landmarks[list(points)] + 0.5) * TEXTURE_SCALE - 0.5).astype(int)
    out: F64 = portrait.texture[texels[:, 1], texels[:, 0]].mean(axis=0, dtype=np.float64)
    return out
