"""Measures the portraits' points with FaceMesh, once: `python -m preprocessing.sample.measure`.

Owns: how `portraits.json` came to be. The generator reads that file and never needs mediapipe. Run it again only when
a photograph's cut or the topology changes.
"""

from __future__ import annotations

import json

import cv2
import numpy as np

from preprocessing.sample.portrait import PHOTOGRAPHS, POINTS_FILE, Photograph, read_photograph
from shards.schema import F64, U8
from shards.topology import MEDIAPIPE131_MESH_INDICES

_ENLARGEMENTS = (1.6, 1.8, 2.0, 2.2, 2.4)  # FaceMesh moves by a tenth of a pixel with the scale: the mean is steadier


def measure(photograph: Photograph) -> F64:
    """(131, 2) `mediapipe131` in pixels of the photograph, the mean over several enlargements."""
    picture = read_photograph(photograph)
    out: F64 = np.stack([_points(picture, k) for k in _ENLARGEMENTS]).mean(axis=0)
    return out


def _points(picture: U8, enlargement: float) -> F64:
    import mediapipe

    large = cv2.resize(picture, None, fx=enlargement, fy=enlargement, interpolation=cv2.INTER_LANCZOS4)
    mesh = mediapipe.solutions.face_mesh.FaceMesh(static_image_mode=True, max_num_faces=1, refine_landmarks=True)
    found = mesh.process(large).multi_face_landmarks
    mesh.close()
    if not found:
        raise RuntimeError("FaceMesh sees no face in the photograph")
    height, width = picture.shape[:2]
    points = np.array([[p.x * width - 0.5, p.y * height - 0.5] for p in found[0].landmark])
    return points[list(MEDIAPIPE131_MESH_INDICES)]


def main() -> None:
    points = {name: np.round(measure(photograph), 3).tolist() for name, photograph in PHOTOGRAPHS.items()}
    POINTS_FILE.write_text(json.dumps(points) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
