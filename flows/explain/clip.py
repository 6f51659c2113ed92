"""One clip: its facts, and on request a picture and a short video of it."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any

from flows.explain.clip_video import write_clip_video
from flows.explain.drawing import clip_picture, frame_end_s
from shards.fingerprint import plain
from shards.schema import ClipSample


def clip_facts(clip: ClipSample, picture: Path | None, video: Path | None) -> dict[str, Any]:
    """The facts as plain values; writes what was asked for."""
    made: dict[str, Any] = {}
    if picture is not None:
        write_whole(picture, clip_picture(clip))
        made["picture"] = str(picture)
    if video is not None:
        write_clip_video(video, clip)
        made["video"] = str(video)
    span = clip.provenance.span
    return {
        "kind": "clip",
        "key": clip.key,
        "frames": len(clip.times),
        "seconds": round(frame_end_s(clip), 3),
        "crop": f"{clip.transform.size_px} px, {clip.transform.window.name}",
        "landmarks": clip.landmarks.topology_name,
        "seen": f"{clip.landmarks.seen().mean():.0%}",
        "features": [f"{f.name}@{f.version} {f.values.shape}" for f in clip.features],
        "identity": clip.identity,
        "language": clip.language,
        "scores": {name: round(value, 3) for name, value in sorted(clip.scores.items())},
        "source": clip.provenance.source_name,
        "span": f"{float(span.start.seconds):.3f} to {float(span.end.seconds):.3f} s of the source",
        "made_by": {
            "landmark_backend": clip.provenance.landmark_backend,
            "code": clip.provenance.code_version,
            "config": clip.provenance.config_sha256,
            "parents": plain(clip.provenance.parents),
        },
    } | made


def write_whole(path: Path, data: bytes) -> None:
    """The file appears whole or not at all."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
