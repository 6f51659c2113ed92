"""A clip as people look at it: crops with landmarks and the mask's outline, mouth and sound as curves."""

from __future__ import annotations

import io

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from preprocessing.audio.activity import HOP_S, level_dbfs
from preprocessing.quality.duplicates import HASH_SCORES
from preprocessing.quality.mouth import mouth_opening
from shards.schema import F64, U8, ClipSample

SHEET_FRAMES = 8
SHEET_PX = 256
_COLOURS = {"pose": (90, 200, 250), "jaw": (250, 200, 60), "lips": (250, 80, 120)}
_OUTLINE = (255, 255, 255)
_DPI = 100
_SIDE_IN, _TITLE_IN, _CURVES_IN, _SCORES_IN = 0.9, 0.4, 2.8, 0.9
"""Margins and rows of the picture, inches."""
_QUIETEST_DBFS = -70.0
_SCORES_IN_LINE = 6
_LEFT, _RIGHT = 0.09, 0.91
"""Shares of a picture of curves between which they lie."""


def clip_picture(clip: ClipSample) -> bytes:
    """PNG: the strip, the curves under it on one clock, the scores below."""
    strip = contact_strip(clip)
    # A clip of one or two frames is narrower than its curves' axes.
    wide, high = max(strip.shape[1], 4 * SHEET_PX) / _DPI, SHEET_PX / _DPI
    width, height = wide + 2 * _SIDE_IN, _TITLE_IN + high + _CURVES_IN + _SCORES_IN
    figure = Figure(figsize=(width, height), dpi=_DPI, facecolor="white")

    def place(top_in: float, height_in: float) -> Axes:
        return figure.add_axes((_SIDE_IN / width, 1 - (top_in + height_in) / height, wide / width, height_in / height))

    _draw_strip(place(_TITLE_IN, high), clip, strip)
    draw_curves(place(_TITLE_IN + high + 0.45, _CURVES_IN - 1.0), clip, marks=_shown_at(clip))
    _write_scores(place(_TITLE_IN + high + _CURVES_IN, _SCORES_IN), clip)
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def contact_strip(clip: ClipSample) -> U8:
    """Frames spread over the clip, drawn on."""
    return np.concatenate([drawn(clip, i) for i in picks(clip)], axis=1)


def picks(clip: ClipSample) -> list[int]:
    """Numbers of the frames that are shown."""
    return [int(i) for i in np.linspace(0, len(clip.frames) - 1, min(SHEET_FRAMES, len(clip.frames))).round()]


def drawn(clip: ClipSample, index: int, size_px: int = SHEET_PX) -> U8:
    """One crop, enlarged, with its landmarks and the outline of what is generated."""
    scale = size_px / clip.transform.size_px
    big = cv2.resize(clip.frames[index], (size_px, size_px), interpolation=cv2.INTER_CUBIC)
    inside = (clip.transform.window.mask(size_px) > 0.5).astype(np.uint8)
    outline, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(big, outline, -1, _OUTLINE, 1, cv2.LINE_AA)
    points, topology = clip.landmarks.points[index], clip.landmarks.topology
    for group, colour in _COLOURS.items():
        for x, y in points[list(getattr(topology, group))]:
            if np.isfinite(x + y):
                centre = (round((float(x) + 0.5) * scale), round((float(y) + 0.5) * scale))
                cv2.circle(big, centre, 2, colour, -1, cv2.LINE_AA)
    return np.asarray(big, dtype=np.uint8)


def draw_curves(axes: Axes, clip: ClipSample, marks: F64) -> None:
    """Mouth opening and loudness over the clip's clock, each on its own scale; `marks` are moments, seconds."""
    times = clip.times.seconds()
    level = np.maximum(level_dbfs(clip.speech), _QUIETEST_DBFS)
    heard = float(clip.speech.origin_s) + HOP_S * np.arange(len(level))
    sound = axes.twinx()
    sound.fill_between(heard, _QUIETEST_DBFS, level, color="0.85", linewidth=0)
    sound.set_ylim(_QUIETEST_DBFS, 0)
    sound.set_ylabel("loudness, dBFS", fontsize=8, color="0.45")
    # The curve in front of the filled area: of twins the later is drawn above.
    axes.set_zorder(sound.get_zorder() + 1)
    axes.patch.set_visible(False)
    axes.plot(times, mouth_opening(clip.landmarks), color="#d6336c", linewidth=1.4)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("mouth opening,\neye distances", fontsize=8, color="#d6336c")
    # One frame's length beyond the last: it is shown for so long.
    axes.set_xlim(0, frame_end_s(clip))
    axes.set_xlabel("seconds", fontsize=8)
    for mark in marks:
        axes.axvline(mark, color="0.6", linewidth=0.6, linestyle=":")
    for each in (axes, sound):
        each.tick_params(labelsize=8)


def frame_end_s(clip: ClipSample) -> float:
    """When the last frame ends, taken to last as long as the one before it."""
    times = clip.times.seconds()
    return float(2 * times[-1] - times[-2]) if len(times) > 1 else 1.0 / 25


def curves(clip: ClipSample, width_px: int, height_px: int) -> tuple[U8, tuple[float, float]]:
    """The curves as a picture, and the columns at which they begin and end."""
    figure = Figure(figsize=(width_px / _DPI, height_px / _DPI), dpi=_DPI, facecolor="white")
    axes = figure.add_axes((_LEFT, 0.32, _RIGHT - _LEFT, 0.58))
    draw_curves(axes, clip, np.empty(0))
    for each in figure.axes:
        each.set_ylabel("")  # there is no room for it
    out = io.BytesIO()
    figure.savefig(out, format="rgba")
    rgba = np.frombuffer(out.getvalue(), dtype=np.uint8).reshape(height_px, width_px, 4)
    return rgba[:, :, :3], (_LEFT * width_px, _RIGHT * width_px)


def _shown_at(clip: ClipSample) -> F64:
    return clip.times.seconds()[picks(clip)]


def _draw_strip(axes: Axes, clip: ClipSample, strip: U8) -> None:
    axes.imshow(strip)
    axes.set_anchor("W")
    axes.set_xticks([(i + 0.5) * SHEET_PX for i in range(len(picks(clip)))], [f"{s:.2f} s" for s in _shown_at(clip)])
    axes.set_yticks([])
    axes.tick_params(length=0, labelsize=8)
    axes.set_title(_title(clip), loc="left", fontsize=10)


def _title(clip: ClipSample) -> str:
    start = float(clip.provenance.span.start.seconds)
    return f"{clip.provenance.source_name}, from {start:.2f} s   {clip.identity}   {clip.key}"


def _write_scores(axes: Axes, clip: ClipSample) -> None:
    axes.set_axis_off()
    told = [f"{name} {value:.3g}" for name, value in sorted(clip.scores.items()) if name not in HASH_SCORES] or [
        "no scores"
    ]
    rows = [told[i : i + _SCORES_IN_LINE] for i in range(0, len(told), _SCORES_IN_LINE)]
    text = "\n".join("     ".join(row) for row in rows)
    axes.text(0, 1, text, fontsize=9, va="top", transform=axes.transAxes)
