"""Dubbing's last worker: the source picture, the rendered stretches and the new speech -> the finished file.

Only the mouth region of rendered frames is touched; the file appears under its name when it has passed its checks.
"""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flows.report.strip import Strip, picture_strip
from flows.workers.fragments import need_planned, read_clip
from preprocessing.compose.paste import compose
from preprocessing.media.base import MediaInfo, VideoStream
from preprocessing.media.decode import FfmpegSource
from preprocessing.media.encode import MasterReport, MasterWriter
from preprocessing.media.mux import MuxReport, mux
from preprocessing.media.native import NativeFrame, NativeSource, native_video
from preprocessing.media.probe import picture, probe
from shards.commit import Claim, Ledger, ObjectRef, Receipt, Unit
from shards.fingerprint import file_sha256
from shards.schema import F64, ClipSample, FrameTimes
from shards.store import Store, open_store

FADE_FRAMES = 4
"""Frames over which the new mouth comes and goes where a rendered stretch meets an untouched one."""
STRIP_SUFFIX = ".strip.jpg"


class MasterWorker:
    """Composes, encodes and muxes one row at a time, in constant memory."""

    def __init__(self, store_uri: str, out: str) -> None:
        self._store_uri, self._out = store_uri, Path(out)

    def setup(self) -> None:
        self._ledger = Ledger(open_store(self._store_uri, create=False))

    def process(self, item: Claim) -> Receipt:
        unit, payload = item.unit, item.unit.payload
        source, speech, target = Path(payload["video"]), Path(payload["audio"]), self._out / payload["output"]
        need_planned(source, payload["video_sha256"])
        need_planned(speech, payload["audio_sha256"])
        target.parent.mkdir(parents=True, exist_ok=True)
        info = probe(source)
        native = NativeSource(source, info)
        mouths = Mouths(self._ledger.store, payload["stretches"], native.times)
        # Beside the target, so that giving the file its name is one step, whoever else writes there.
        with tempfile.TemporaryDirectory(prefix=".dubwright-", dir=target.parent) as scratch:
            video, finished = Path(scratch, f"picture{target.suffix}"), Path(scratch, f"finished{target.suffix}")
            try:
                encoded = _encode(native, mouths, info, video)
            finally:
                native.close()
            muxed = mux(video, source, speech, finished, info, times=native.times, language=payload["language"])
            strip = picture_strip(
                FfmpegSource(source, info, times=native.times),
                FfmpegSource(finished, probe(finished), times=native.times),
                mouths.opacity,
                mouths.boxes,
            )
            kept = self._keep(item, strip, Path(scratch, "strip.jpg"))
            details = _details(unit, finished, mouths, encoded, muxed, strip)
            finished.replace(target)
        receipt = Receipt(unit_id=unit.unit_id, stage=unit.stage, objects=(kept,), details=details)
        return self._ledger.commit(item, receipt)

    def close(self) -> None:
        """Nothing is held between rows."""

    def _keep(self, claim: Claim, strip: Strip, path: Path) -> ObjectRef:
        path.write_bytes(strip.jpeg)
        return self._ledger.put_object(claim, path, STRIP_SUFFIX)


def _details(
    unit: Unit, finished: Path, mouths: Mouths, encoded: MasterReport, muxed: MuxReport, strip: Strip
) -> dict[str, Any]:
    """What the commit says of the file."""
    checks = {
        "picture": f"{encoded.num_frames} frames, {encoded.codec} by {encoded.encoder}, every frame at its time",
        "speech": muxed.speech,
        "sound against picture": f"{float(muxed.av_delta_s) * 1000:+.1f} ms",
        "streams": ", ".join(muxed.streams),
        "outside the mouth": f"{strip.psnr_outside_db:.1f} dB against the source, after the encode",
        "notes": "; ".join((*encoded.notes, *muxed.notes)) or "none",
    }
    return {
        "output": unit.payload["output"],
        "size_bytes": finished.stat().st_size,
        "sha256": file_sha256(finished),
        "frames": encoded.num_frames,
        "rendered_frames": int((mouths.opacity > 0).sum()),
        "checks": checks,
    }


@dataclass(frozen=True, slots=True)
class Stretch:
    """A rendered clip in the title, known before it is read."""

    address: Mapping[str, Any]
    start: int
    """Source frame of its row 0."""
    rows: tuple[tuple[int, int], ...]
    """Row ranges that were rendered; the others show no usable face."""

    @property
    def stop(self) -> int:
        """Source frame after its last rendered row."""
        return self.start + (self.rows[-1][1] if self.rows else 0)

    def is_shown(self, index: int) -> bool:
        return any(first <= index - self.start < stop for first, stop in self.rows)


class Mouths:
    """The new mouths of a title, by frame; in memory are only the clips of the faces now on screen."""

    def __init__(self, store: Store, stretches: Sequence[Mapping[str, Any]], times: FrameTimes) -> None:
        self._store = store
        self._ahead = deque(sorted((_stretch(s, times) for s in stretches), key=lambda s: s.start))
        self._open: list[tuple[Stretch, ClipSample]] = []
        shown = np.zeros(len(times), dtype=bool)
        for stretch in self._ahead:
            for first, stop in stretch.rows:
                shown[stretch.start + first : stretch.start + stop] = True
        self.opacity = fade(shown)
        """(T,) 0 where the frame stays as it is, up to 1."""
        self.boxes = np.full((len(times), 4), np.nan)
        """(T, 4) left, top, right, bottom of what was shown so far, source px; NaN where nothing was."""

    def on(self, index: int) -> list[tuple[ClipSample, int]]:
        """(clip, row) of every face that was rendered in this frame; frames are asked for in order."""
        self._open = [(stretch, clip) for stretch, clip in self._open if index < stretch.stop]
        while self._ahead and self._ahead[0].start <= index:
            stretch = self._ahead.popleft()
            if index < stretch.stop:
                self._open.append((stretch, read_clip(self._store, stretch.address)))
        shown = [(clip, index - stretch.start) for stretch, clip in self._open if stretch.is_shown(index)]
        if shown:
            self.boxes[index] = _box(shown)
        return shown


def _box(shown: Sequence[tuple[ClipSample, int]]) -> F64:
    """(4,) around the crops of these faces, source px."""
    side = shown[0][0].transform.size_px - 1
    corners = np.array([[[0, 0], [side, 0], [0, side], [side, side]]], dtype=np.float64)
    points = np.concatenate([clip.transform.slice(row, row + 1).to_source(corners)[0] for clip, row in shown])
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


def _stretch(entry: Mapping[str, Any], times: FrameTimes) -> Stretch:
    start = int(np.searchsorted(times.pts, entry["start_pts"]))
    return Stretch(address=entry["clip"], start=start, rows=tuple((int(a), int(b)) for a, b in entry["rows"]))


def fade(shown: np.ndarray) -> F64:
    """(T,) opacity: 0 outside, rising over FADE_FRAMES from every border to an untouched frame; the title's own ends
    are no borders."""
    frames = np.arange(len(shown), dtype=np.float64)
    untouched = np.flatnonzero(~shown)
    if len(untouched) == 0:
        return np.ones(len(shown))
    after = np.searchsorted(untouched, frames)
    before = np.where(after > 0, frames - untouched[np.maximum(after - 1, 0)], np.inf)
    behind = np.where(after < len(untouched), untouched[np.minimum(after, len(untouched) - 1)] - frames, np.inf)
    opacity: F64 = np.minimum(np.minimum(before, behind) / (FADE_FRAMES + 1), 1.0) * shown
    return opacity


def _encode(native: NativeSource, mouths: Mouths, info: MediaInfo, out: Path) -> MasterReport:
    video = native_video(picture(info))
    with MasterWriter(out, info, native.times) as writer:
        for frame in native.frames():
            writer.write(_composed(frame, mouths, video))
        return writer.finish()


def _composed(frame: NativeFrame, mouths: Mouths, video: VideoStream) -> NativeFrame:
    for clip, row in mouths.on(frame.index):
        frame = compose(
            frame,
            clip.frames[row],
            clip.transform.matrices[row],
            clip.transform.window,
            video,
            opacity=float(mouths.opacity[frame.index]),
        )
    return frame
