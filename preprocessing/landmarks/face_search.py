"""Finding faces anywhere in a picture: BlazeFace over the whole of it, and over windows of it for small ones.

The full-range detector sees its picture at 192 x 192, so it finds faces from about a twelfth of what it is shown. A
window of 480 px therefore shows faces of 40 px. Weights are in mediapipe's wheel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from preprocessing.landmarks.mesh_graph import FaceSquare
from shards.schema import U8

_LEAST_SCORE = 0.5
_LEAST_SIDE_PX = 24.0
"""Of the square around a face, which is then 16 px: in less, both networks see a face in a test card, and are sure."""
_WINDOW_PX = 480
_WINDOW_SHARE = 3 / 8
"""Of the picture's longer side: a 4K picture is not cut into sixty windows for faces nobody can dub."""
_OVERLAP = 1 / 4
"""Of a window: a face that is cut by one and too small for the whole picture lies in its neighbour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A stretch of the picture, px."""

    left: int
    top: int
    width: int
    height: int


def windows_of(width: int, height: int) -> list[Window]:
    """The whole picture, and then the overlapping squares that cover it; only itself where it is small."""
    side = max(_WINDOW_PX, round(_WINDOW_SHARE * max(width, height)))
    whole = Window(left=0, top=0, width=width, height=height)
    if max(width, height) <= side:
        return [whole]
    lefts, tops = _starts(width, side), _starts(height, side)
    return [whole] + [
        Window(left=x, top=y, width=min(side, width), height=min(side, height)) for y in tops for x in lefts
    ]


def window_around(square: FaceSquare, width: int, height: int) -> Window:
    """Where a face that was lost is looked for first: three of its squares wide, inside the picture."""
    reach = max(1.5 * square.side, 48.0)
    left, top = int(np.clip(square.x - reach, 0, width - 1)), int(np.clip(square.y - reach, 0, height - 1))
    right, bottom = int(np.clip(square.x + reach, left + 1, width)), int(np.clip(square.y + reach, top + 1, height))
    return Window(left=left, top=top, width=right - left, height=bottom - top)


class FaceSearch:
    """The detector, loaded. It remembers nothing between calls."""

    def __init__(self) -> None:
        from mediapipe.python.solutions import face_detection

        self._far: Any = face_detection.FaceDetection(model_selection=1, min_detection_confidence=_LEAST_SCORE)
        self._near: Any = face_detection.FaceDetection(model_selection=0, min_detection_confidence=_LEAST_SCORE)

    def faces_in(self, rgb: U8, window: Window) -> list[FaceSquare]:
        """The faces in that window, largest first, source px."""
        part = rgb[window.top : window.top + window.height, window.left : window.left + window.width]
        picture = np.ascontiguousarray(part)
        found = self._far.process(picture).detections
        if not found and part.shape == rgb.shape:
            # A large head in profile is the short-range model's: the other one misses it for whole seconds.
            found = self._near.process(picture).detections
        squares = [_square(detection.location_data, window) for detection in found or ()]
        return sorted((s for s in squares if s.side >= _LEAST_SIDE_PX), key=lambda s: -s.side)

    def close(self) -> None:
        self._far.close()
        self._near.close()


def _square(place: Any, window: Window) -> FaceSquare:
    box, eyes = place.relative_bounding_box, place.relative_keypoints[:2]
    size, corner = (window.width, window.height), (window.left - 0.5, window.top - 0.5)
    corners = np.array([(box.xmin, box.ymin), (box.xmin + box.width, box.ymin + box.height)]) * size + corner
    return FaceSquare.around(corners, np.array([(e.x, e.y) for e in eyes]) * size + corner)


def _starts(length: int, side: int) -> list[int]:
    """Where windows of `side` begin so that they cover `length` evenly and overlap."""
    if length <= side:
        return [0]
    count = 1 + -(-(length - side) // round(side * (1 - _OVERLAP)))
    return [round(i * (length - side) / (count - 1)) for i in range(count)]
