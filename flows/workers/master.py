"""Dubbing's last worker: the pieces of the picture, the new speech and all else of the source -> the finished file.

Nothing is encoded here: encoded pieces and the source's own packets are joined, muxed, checked, and told of beside the
file. It appears under its name when it has passed its checks.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from flows.dubbing.scratch import scratch
from flows.report.strip import Strip, moments, picture_strip
from flows.version import release
from flows.workers.fragments import need_planned
from flows.workers.mouths import Mouths
from flows.workers.picture import PIECE_SUFFIX
from preprocessing.media.base import MediaInfo
from preprocessing.media.chunks import Chunk
from preprocessing.media.delivery import speech_end_s
from preprocessing.media.displayed import DisplayedSource
from preprocessing.media.encode import EncodeConfig, encoding_for
from preprocessing.media.gops import Habits
from preprocessing.media.join import MasterReport, Part, join
from preprocessing.media.length import SPEECH_OVERHANG_S, DurationPolicy, output_times, picture_length_s
from preprocessing.media.loudness import track_lufs
from preprocessing.media.mux import MuxReport, Tracks, mux
from preprocessing.media.probe import probe_with_times
from preprocessing.media.provenance import Origin, Provenance, manifest_beside, sidecar, sign
from preprocessing.media.signing_keys import SigningKey
from shards.commit import Claim, Ledger, ObjectRef, Receipt
from shards.fingerprint import file_sha256
from shards.schema import FrameTimes
from shards.store import open_store

STRIP_SUFFIX = ".strip.jpg"
_CHANGES_LENGTH: tuple[DurationPolicy, ...] = ("cut", "freeze")


class MasterWorker:
    """Finishes one row at a time, in constant memory."""

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
        with scratch(self._out) as folder:
            made = self._finished(payload, source, speech, folder / target.name)
            kept = self._keep(item, made.strip, folder / "strip.jpg")
            beside, signed = _told(payload, made, source)
            details = _details(payload, made, signed) | _sound_details(payload, made, source, speech)
            for path in [*beside, made.path]:
                path.replace(target.with_name(path.name))
        receipt = Receipt(unit_id=unit.unit_id, stage=unit.stage, objects=(kept,), details=details)
        return self._ledger.commit(item, receipt)

    def close(self) -> None:
        """Nothing is held between rows."""

    def _finished(self, payload: Mapping[str, Any], source: Path, speech: Path, out: Path) -> _Finished:
        info, source_times = probe_with_times(source)
        if source_times is None:
            raise ValueError(f"{source.name} was planned as a title and has no picture")
        times = finished_times(source_times, speech, payload)
        joined = self._join(payload, source, out.with_name("picture.mov"), times, info, source_times)
        muxed = mux(
            joined.path,
            source,
            speech,
            out,
            info,
            times=times,
            language=payload["language"],
            tracks=Tracks(**payload["tracks"]),
            audio_stream=payload["audio_stream"],
            audio_offset_s=Fraction(payload["audio_offset_ms"], 1000),
            duration_policy=payload["duration_policy"],
        )
        mouths = self._mouths(payload, min(len(times), len(source_times)))
        boxes = np.full((len(mouths.opacity), 4), np.nan)
        for moment in moments(mouths.opacity):
            boxes[moment] = mouths.box(moment)
        strip = picture_strip(
            DisplayedSource(source, info, source_times),
            DisplayedSource(out, probe_with_times(out)[0], times),
            mouths.opacity,
            boxes,
        )
        rendered = int((mouths.opacity > 0).sum())
        return _Finished(
            path=out,
            joined=joined,
            muxed=muxed,
            strip=strip,
            rendered_frames=rendered,
            length_s=picture_length_s(times),
        )

    def _join(
        self,
        payload: Mapping[str, Any],
        source: Path,
        out: Path,
        times: FrameTimes,
        info: MediaInfo,
        source_times: FrameTimes,
    ) -> MasterReport:
        parts = []
        for entry in payload["chunks"]:
            path = None
            if entry["object"] is not None:
                path = out.with_name(f"{entry['start']:08d}{PIECE_SUFFIX}")
                self._ledger.store.fetch(entry["object"], path)
            chunk = Chunk(start=entry["start"], stop=entry["stop"], is_copied=path is None)
            parts.append(Part(chunk=chunk, path=path))
        report = join(
            parts,
            source,
            out,
            times,
            info=info,
            source_times=source_times,
            sets=[bytes.fromhex(each) for each in payload["sets"]],
            encoding=encoding_for(info, EncodeConfig(), payload["codec_policy"], Habits(**payload["habits"])),
        )
        for part in parts:
            if part.path is not None:
                part.path.unlink()
        return report

    def _mouths(self, payload: Mapping[str, Any], stop: int) -> Mouths:
        return Mouths(self._ledger.store, payload["stretches"], payload["faces"], payload["cuts"], 0, stop)

    def _keep(self, claim: Claim, strip: Strip, path: Path) -> ObjectRef:
        path.write_bytes(strip.jpeg)
        return self._ledger.put_object(claim, path, STRIP_SUFFIX)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finished:
    """A finished file that has passed its checks and has not got its name yet."""

    path: Path
    joined: MasterReport
    muxed: MuxReport
    strip: Strip
    rendered_frames: int
    length_s: Fraction
    """Of the picture."""


def finished_times(times: FrameTimes, speech: Path, asked: Mapping[str, Any]) -> FrameTimes:
    """When the frames of the finished title are shown; `asked` holds the row's columns about its sound."""
    if asked["duration_policy"] not in _CHANGES_LENGTH:
        return times
    offset_s = Fraction(asked["audio_offset_ms"], 1000)
    return output_times(
        times, speech_end_s(speech, stream=asked["audio_stream"], offset_s=offset_s), asked["duration_policy"]
    )


def _told(payload: Mapping[str, Any], made: _Finished, source: Path) -> tuple[list[Path], str]:
    """Signs the file where that was asked, and writes what is told beside it; those files, and how it was signed."""
    if payload["provenance"] == "none":
        return [], "nothing is told, as asked"
    about = Provenance(
        title_id=payload["title_id"],
        language=payload["language"],
        source=Origin(name=source.name, sha256=payload["video_sha256"]),
        speech=tuple(Origin(**each) for each in payload["speech"]),
        models=tuple(payload["models"]),
        num_frames=made.joined.num_frames,
        generated=tuple((a, b) for a, b in payload["generated"]),
        tool=release(),
        consent_ref=payload["consent_ref"],
    )
    beside, signed = [], "sidecar"
    if payload["provenance"] == "c2pa":
        signed = sign(made.path, about, _key(payload["signing"]), _own_keys(), source=source)
        manifest = manifest_beside(made.path)
        beside += [manifest] if manifest is not None else []
    return [*beside, sidecar(made.path, about)], signed


def _key(given: Mapping[str, str] | None) -> SigningKey | None:
    if not given:
        return None
    return SigningKey(certificates=Path(given["certificates"]), private_key=Path(given["private_key"]))


def _own_keys() -> Path:
    """Where a development key is made when none is given: one for each user."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "dubwright"


def _sound_details(payload: Mapping[str, Any], made: _Finished, source: Path, speech: Path) -> dict[str, Any]:
    """How loud the dub and the source are, and how much of the speech did not fit."""
    offset_s, stream = Fraction(payload["audio_offset_ms"], 1000), payload["audio_stream"]
    over_s = speech_end_s(speech, stream=stream, offset_s=offset_s) - made.length_s
    return {
        "loudness": {"speech_lufs": track_lufs(speech, stream=stream), "source_lufs": track_lufs(source)},
        "speech_cut_s": float(over_s) if over_s > SPEECH_OVERHANG_S else 0.0,
    }


def _details(payload: Mapping[str, Any], made: _Finished, signed: str) -> dict[str, Any]:
    """What the commit says of the file."""
    joined, muxed = made.joined, made.muxed
    how = f"{joined.codec} by {joined.encoder}" if joined.encoder else f"{joined.codec}, the source's own packets"
    notes = (*joined.notes, *muxed.notes)
    checks = {
        "picture": f"{joined.num_frames} frames, {how}, every frame at its time",
        "copied": f"{joined.num_copied} of {joined.num_frames} frames",
        "speech": muxed.speech,
        "sound against picture": f"{float(muxed.av_delta_s) * 1000:+.1f} ms",
        "streams": ", ".join(muxed.streams),
        "outside the mouth": f"{made.strip.psnr_outside_db:.1f} dB against the source, after the encode",
        "provenance": signed,
        "notes": "; ".join(notes) or "none",
    }
    return {
        "output": payload["output"],
        "size_bytes": made.path.stat().st_size,
        "sha256": file_sha256(made.path),
        "frames": joined.num_frames,
        "rendered_frames": made.rendered_frames,
        "codec": joined.codec,
        "encoder": joined.encoder,
        "chunks": [
            {"start": each["start"], "stop": each["stop"], "is_copied": each["object"] is None}
            for each in payload["chunks"]
        ],
        "why_not_copied": payload["why_not_copied"],
        "checks": checks,
        "notes": list(notes),
    }
