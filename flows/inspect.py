"""What is this? A video, a store, a clip in it, a checkpoint: the facts, and a picture with the landmarks drawn."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from preprocessing.errors import Unusable
from preprocessing.media.probe import probe
from shards.errors import RequestError
from shards.fingerprint import plain
from shards.reader import open_dataset
from shards.schema import U8, ClipSample
from shards.status import status
from shards.store import LAYOUT_PATH, open_store

SHEET_FRAMES = 8
SHEET_PX = 256
_COLOURS = {"pose": (90, 200, 250), "jaw": (250, 200, 60), "lips": (250, 80, 120)}


def inspect(target: str, picture: Path | None) -> dict[str, Any]:
    """The facts as plain values; writes `picture` where one was asked for and there is something to see."""
    # A file's own name may hold the sign as well.
    place, _, key = (target, "", "") if Path(target).is_file() else target.partition("#")
    if key:
        return _clip(place, key, picture)
    if "://" in place or Path(place, LAYOUT_PATH).is_file():
        return _store(place)
    path = Path(place)
    if Path(place, "config.json").is_file():
        return _checkpoint(path)
    if path.is_file():
        return _video(path)
    raise RequestError("nothing here that can be inspected: no video, store or checkpoint", value=target)


def _store(uri: str) -> dict[str, Any]:
    store = open_store(uri, create=False)
    found = {"kind": "store", **status(store)}
    if found["current"] is not None:
        dataset = open_dataset(store)
        found["clips"] = [f"{uri}#{key}" for key in dataset.keys("train")[:5]]
    return found


def _clip(uri: str, key: str, picture: Path | None) -> dict[str, Any]:
    clip = open_dataset(open_store(uri, create=False)).read(key)
    if picture is not None:
        write_png(picture, contact_sheet(clip))
    return {
        "kind": "clip",
        "key": clip.key,
        "frames": len(clip.times),
        "seconds": round(float(clip.times.seconds()[-1]), 3),
        "crop": f"{clip.transform.size_px} px, {clip.transform.window.name}",
        "landmarks": clip.landmarks.topology_name,
        "seen": f"{clip.landmarks.seen().mean():.0%}",
        "features": [f"{f.name}@{f.version} {f.values.shape}" for f in clip.features],
        "identity": clip.identity,
        "language": clip.language,
        "scores": {name: round(value, 3) for name, value in clip.scores.items()},
        "source": clip.provenance.source_name,
    } | ({"picture": str(picture)} if picture else {})


def _checkpoint(folder: Path) -> dict[str, Any]:
    from model.pretrained import load

    networks, record = load(folder)
    sizes = networks.sizes()
    return {
        "kind": "checkpoint",
        "preset": record.config.name,
        "digest": record.digest,
        "trained": dict(record.trained),
        "parameters": {**sizes, "all": sum(sizes.values())},
        "condition": plain(record.config.condition),
        "card": dict(record.card),
    }


def _video(path: Path) -> dict[str, Any]:
    try:
        info = probe(path, need_video=False)
    except Unusable as unusable:
        return {"kind": "unusable", "path": str(path), **plain(unusable.rejection)}
    facts = plain(dataclasses.asdict(info)) | {"path": str(path)}
    return {"kind": "video" if info.video else "sound", **facts}


def contact_sheet(clip: ClipSample) -> U8:
    """Frames spread over the clip, with pose, jaw and lips drawn in their colours."""
    picks = np.linspace(0, len(clip.frames) - 1, min(SHEET_FRAMES, len(clip.frames))).round().astype(int)
    return np.concatenate([drawn(clip, int(i)) for i in picks], axis=1)


def drawn(clip: ClipSample, index: int) -> U8:
    """One crop, enlarged, with its landmarks."""
    scale = SHEET_PX / clip.transform.size_px
    big = cv2.resize(clip.frames[index], (SHEET_PX, SHEET_PX), interpolation=cv2.INTER_CUBIC)
    points, topology = clip.landmarks.points[index], clip.landmarks.topology
    for group, colour in _COLOURS.items():
        for x, y in points[list(getattr(topology, group))]:
            if np.isfinite(x + y):
                centre = (round((float(x) + 0.5) * scale), round((float(y) + 0.5) * scale))
                cv2.circle(big, centre, 2, colour, -1, cv2.LINE_AA)
    return np.asarray(big, dtype=np.uint8)


def write_png(path: Path, rgb: U8) -> None:
    """Whole or not at all."""
    done, data = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    if not done:
        raise RuntimeError("the picture could not be encoded as PNG")
    part = path.with_name(path.name + ".part")
    part.write_bytes(data.tobytes())
    part.replace(path)
