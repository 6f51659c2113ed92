"""Makes examples/strip.jpg, the README's picture, from the sample: `python -m tests.support.readme_picture OUT_FOLDER`.

Above the source, in the middle the new speech, below the result; every column is one moment.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

from preprocessing.media.decode import FfmpegSource
from preprocessing.media.probe import probe
from preprocessing.media.speech import read_speech
from preprocessing.sample.speech import SpokenLine
from shards.schema import U8, Speech

EXAMPLES = Path(__file__).parents[2] / "examples"
COLUMNS, TILE_PX, WAVE_PX = 8, 200, 70
INK, PAPER = (40, 70, 160), (250, 250, 250)


def main(out: Path) -> None:
    source, result = EXAMPLES / "hopper.mp4", out / "hopper.es.mp4"
    speech = read_speech(EXAMPLES / "hopper.es.m4a")
    truth = np.load(EXAMPLES / "hopper.truth.npz")["landmarks"]
    moments = loud_and_quiet(speech)
    left, top, side = face_square(truth)
    rows = [np.concatenate([tile(path, i, left, top, side) for i in moments], axis=1) for path in (source, result)]
    sheet = np.concatenate([rows[0], wave(speech, moments, rows[0].shape[1]), rows[1]], axis=0)
    done, data = cv2.imencode(".jpg", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])
    if not done:
        raise RuntimeError("the picture could not be encoded")
    (EXAMPLES / "strip.jpg").write_bytes(data.tobytes())


def loud_and_quiet(speech: Speech) -> list[int]:
    """Frame numbers in the middles of COLUMNS vowels and consonants, spread over the recorded Spanish line."""
    line = SpokenLine.load(EXAMPLES / "speech" / "hello.es").with_silence(before_s=0.3, until_s=speech.duration_s)
    spoken = [p for p in line.phonemes if p.end_s - p.start_s > 0.05]
    picks = np.linspace(0, len(spoken) - 1, COLUMNS).round().astype(int)
    return [round((spoken[i].start_s + spoken[i].end_s) / 2 * 25) for i in picks]


def face_square(truth: np.ndarray) -> tuple[int, int, int]:
    """(left, top, side) around every face of the title."""
    low, high = truth.min(axis=(0, 1)), truth.max(axis=(0, 1))
    side = int(max(high - low)) + 40
    centre = (low + high) / 2
    return max(int(centre[0] - side / 2), 0), max(int(centre[1] - side / 2), 0), side


def tile(path: Path, index: int, left: int, top: int, side: int) -> U8:
    reader = FfmpegSource(path, probe(path))
    try:
        rgb = next(reader.frames(index, index + 1)).rgb
    finally:
        reader.close()
    crop = cv2.resize(rgb[top : top + side, left : left + side], (TILE_PX, TILE_PX), interpolation=cv2.INTER_AREA)
    return np.asarray(crop, dtype=np.uint8)


def wave(speech: Speech, moments: list[int], width: int) -> U8:
    """The new speech around each moment, 0.4 s a column."""
    out = np.full((WAVE_PX, width, 3), PAPER, dtype=np.uint8)
    sound = np.abs(speech.as_float())
    for column, index in enumerate(moments):
        centre = int(index / 25 * speech.rate_hz)
        half = int(0.2 * speech.rate_hz)
        part = np.pad(sound, half)[centre : centre + 2 * half]
        heights = part[: len(part) // TILE_PX * TILE_PX].reshape(TILE_PX, -1).max(axis=1) / max(
            float(sound.max()), 1e-6
        )
        for x, height in enumerate(heights):
            reach = int(height * (WAVE_PX / 2 - 4))
            cv2.line(
                out, (column * TILE_PX + x, WAVE_PX // 2 - reach), (column * TILE_PX + x, WAVE_PX // 2 + reach), INK
            )
    return out


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out/sample"))
