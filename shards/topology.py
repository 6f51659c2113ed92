"""Landmark topologies: which of a face's points are which.

A topology is a fixed list of points. `pose` is what the driving picture keeps (brows, eyes, nose, temples), `jaw` and
`lips` are what the model predicts. Both siblings, preprocessing and model, need the same table, so it lives here.

Indices are positions in the topology's own (P, 2) array. "Left" and "right" are as seen in the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

from shards.errors import RequestError


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """Names of the points of one landmark layout."""

    name: str
    num_points: int
    pose: tuple[int, ...]
    """Points taken from the driving video, never generated."""
    jaw: tuple[int, ...]
    """The jaw line, ear to ear through the chin; generated."""
    lips: tuple[int, ...]
    """All lip points; generated."""
    lips_outer: tuple[int, ...]
    """The outer lip contour in ring order, from the left corner over the upper lip."""
    lips_inner: tuple[int, ...]
    """The inner lip contour in ring order, from the left corner over the upper lip."""
    anchor: tuple[int, ...]
    """Eyes, nose bridge and brows: what fixes the crop. With mouth or jaw in it, the crop would leak speech."""
    left_eye: tuple[int, ...]
    right_eye: tuple[int, ...]
    brows: tuple[tuple[int, ...], tuple[int, ...]]
    nose: tuple[int, ...]
    mouth_corners: tuple[int, int]
    """(left, right) corner of the outer contour."""
    inner_lip_mid: tuple[int, int]
    """(upper, lower) middle of the inner contour; their distance is the mouth opening."""
    chin: int

    @property
    def content(self) -> tuple[int, ...]:
        """What the model predicts: jaw, then lips."""
        return self.jaw + self.lips


# The FaceMesh indices (of 478) behind `mediapipe131`, in the order of our points.
_TEMPLES = (162, 127, 234, 93, 323, 454, 356, 389)
_BROW_LEFT = (46, 53, 52, 65, 55, 70, 63, 105, 66, 107)
_BROW_RIGHT = (276, 283, 282, 295, 285, 300, 293, 334, 296, 336)
_NOSE_BRIDGE = (168, 6, 197, 195, 5)
_NOSE_LOWER = (4, 45, 220, 115, 48, 275, 440, 344, 278)
_EYE_LEFT = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
_EYE_RIGHT = (362, 382, 381, 380, 374, 373, 390, 249, 263, 466, 388, 387, 386, 385, 384, 398)
_JAW = (132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361)
_LIPS_OUTER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
_LIPS_INNER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)

MEDIAPIPE131_MESH_INDICES: tuple[int, ...] = (
    _TEMPLES
    + _BROW_LEFT
    + _BROW_RIGHT
    + _NOSE_BRIDGE
    + _NOSE_LOWER
    + _EYE_LEFT
    + _EYE_RIGHT
    + _JAW
    + _LIPS_OUTER
    + _LIPS_INNER
)
"""Row i of a `mediapipe131` array is FaceMesh point MEDIAPIPE131_MESH_INDICES[i]."""


def _mediapipe131() -> Topology:
    place = {mesh: i for i, mesh in enumerate(MEDIAPIPE131_MESH_INDICES)}

    def at(mesh: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(place[m] for m in mesh)

    brows = (at(_BROW_LEFT), at(_BROW_RIGHT))
    eyes = (at(_EYE_LEFT), at(_EYE_RIGHT))
    nose = at(_NOSE_BRIDGE + _NOSE_LOWER)
    return Topology(
        name="mediapipe131",
        num_points=131,
        pose=at(_TEMPLES) + brows[0] + brows[1] + nose + eyes[0] + eyes[1],
        jaw=at(_JAW),
        lips=at(_LIPS_OUTER + _LIPS_INNER),
        lips_outer=at(_LIPS_OUTER),
        lips_inner=at(_LIPS_INNER),
        anchor=brows[0] + brows[1] + at(_NOSE_BRIDGE) + eyes[0] + eyes[1],
        left_eye=eyes[0],
        right_eye=eyes[1],
        brows=brows,
        nose=nose,
        mouth_corners=(place[61], place[291]),
        inner_lip_mid=(place[13], place[14]),
        chin=place[152],
    )


def _ibug68() -> Topology:
    brows = (tuple(range(17, 22)), tuple(range(22, 27)))
    left_eye, right_eye = tuple(range(36, 42)), tuple(range(42, 48))
    return Topology(
        name="ibug68",
        num_points=68,
        pose=tuple(range(17, 48)),
        jaw=tuple(range(17)),
        lips=tuple(range(48, 68)),
        lips_outer=tuple(range(48, 60)),
        lips_inner=tuple(range(60, 68)),
        anchor=brows[0] + brows[1] + tuple(range(27, 31)) + left_eye + right_eye,
        left_eye=left_eye,
        right_eye=right_eye,
        brows=brows,
        nose=tuple(range(27, 36)),
        mouth_corners=(48, 54),
        inner_lip_mid=(62, 66),
        chin=8,
    )


TOPOLOGIES: dict[str, Topology] = {t.name: t for t in (_mediapipe131(), _ibug68())}


def topology(name: str) -> Topology:
    """The topology of that name; refuses an unknown one."""
    try:
        return TOPOLOGIES[name]
    except KeyError:
        raise RequestError("unknown landmark topology", field="topology", value=name, choices=TOPOLOGIES) from None
