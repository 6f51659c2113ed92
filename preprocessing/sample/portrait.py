"""The two photographs that are made to speak, and where their faces' points are.

Owns: finding the pictures inside the installed libraries, the square cut around the head (the *canvas*), and the
points measured once by `measure.py`. Moving anything is `warp.py`.

Both pictures are NASA / U.S. Navy portraits in the public domain: matplotlib carries Grace Hopper's, scikit-image
Eileen Collins's.
"""

from __future__ import annotations

import functools
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from preprocessing.errors import ToolMissing
from shards.errors import RequestError
from shards.schema import F64, U8

CANVAS_PX = 512
"""Side of the square in which portraits are described; a video of any size is a view of it."""

TEXTURE_SCALE = 2
"""Texture pixels per canvas pixel: the warp reads from twice the detail it writes, so it does not soften the face."""

POINTS_FILE = Path(__file__).with_name("portraits.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Photograph:
    """Where a picture lies and how it is cut."""

    package: str
    """The installed library that carries it."""
    file: str
    left_px: float
    """Of the cut, in pixels of the photograph."""
    top_px: float
    side_px: float
    head_centre: tuple[float, float]
    """Of the ellipse that moves with the head (hair and hat in it); eye units from between the eyes."""
    head_radii: tuple[float, float]
    smile: float
    """How much of the photographed smile is taken out for the face at rest."""
    lid_reach: float
    """How much skin above the eye stretches in a blink, eye units; the rims of glasses must stay out of it."""
    denoise: float
    """Strength against grain and compression marks; these would flicker once the picture moves."""
    lip_line: float
    """How dark the line between closed lips is drawn, where the photograph has none of its own."""

    @property
    def scale(self) -> float:
        """Canvas pixels per pixel of the photograph."""
        return CANVAS_PX / self.side_px


PHOTOGRAPHS: dict[str, Photograph] = {
    "hopper": Photograph(
        package="matplotlib",
        file="mpl-data/sample_data/grace_hopper.jpg",
        left_px=22.0,
        top_px=12.0,
        side_px=484.0,
        head_centre=(0.0, -0.15),
        head_radii=(1.45, 1.75),
        smile=0.0,
        lid_reach=0.09,
        denoise=2.0,
        lip_line=0.15,
    ),
    "astronaut": Photograph(
        package="skimage",
        file="data/astronaut.png",
        left_px=80.0,
        top_px=0.0,
        side_px=290.0,
        head_centre=(0.0, -0.1),
        head_radii=(1.75, 1.9),
        smile=1.0,
        lid_reach=0.16,
        denoise=1.0,
        lip_line=0.5,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Portrait:
    """One face, still."""

    name: str
    texture: U8
    """(2 * 512, 2 * 512, 3) uint8 RGB: the canvas at `TEXTURE_SCALE`."""
    landmarks: F64
    """(131, 2) `mediapipe131`, canvas px: integers are the centres of canvas pixels."""
    photograph: Photograph

    @classmethod
    def load(cls, name: str) -> Portrait:
        """The portrait of that name, read from the library that carries it."""
        if name not in PHOTOGRAPHS:
            raise RequestError("unknown portrait", field="portrait", value=name, choices=PHOTOGRAPHS)
        return _load(name)


@functools.cache
def _load(name: str) -> Portrait:
    photograph = PHOTOGRAPHS[name]
    measured = np.array(json.loads(POINTS_FILE.read_text(encoding="utf-8"))[name], dtype=np.float64)
    corner = np.array([photograph.left_px, photograph.top_px])
    landmarks = (measured + 0.5 - corner) * photograph.scale - 0.5
    return Portrait(name=name, texture=_texture(photograph), landmarks=landmarks, photograph=photograph)


def read_photograph(photograph: Photograph) -> U8:
    """(H, W, 3) uint8 RGB, whole and untouched."""
    spec = importlib.util.find_spec(photograph.package)
    if spec is None or spec.origin is None:
        raise ToolMissing(f"the sample's portrait comes with {photograph.package}", value=photograph.package)
    path = Path(spec.origin).parent / photograph.file
    found = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if found is None:
        raise ToolMissing(f"this release of {photograph.package} carries no such picture", value=str(path))
    out: U8 = np.ascontiguousarray(found[:, :, ::-1], dtype=np.uint8)
    return out


def _texture(photograph: Photograph) -> U8:
    """The cut, cleaned and enlarged."""
    strength = photograph.denoise
    clean = cv2.fastNlMeansDenoisingColored(read_photograph(photograph), None, strength, strength, 5, 15)
    side = CANVAS_PX * TEXTURE_SCALE
    k = side / photograph.side_px
    # Pixel centres: texel = (px + 0.5 - corner) * k - 0.5.
    matrix = np.array([[k, 0, (0.5 - photograph.left_px) * k - 0.5], [0, k, (0.5 - photograph.top_px) * k - 0.5]])
    large = cv2.warpAffine(clean, matrix, (side, side), flags=cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT)
    soft = cv2.GaussianBlur(large, (0, 0), 1.2 * k / 2)
    out: U8 = cv2.addWeighted(large, 1.35, soft, -0.35, 0).astype(np.uint8)
    return out
