"""A checkpoint and a title: what is in a folder of weights, and in a media file as probing sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from preprocessing.errors import Unusable
from preprocessing.media.probe import probe
from shards.fingerprint import plain

BYTES_BY_DTYPE = {"float32": 4, "bfloat16": 2, "float16": 2}


def checkpoint_facts(folder: Path) -> dict[str, Any]:
    """Config, parameters per network, and what the weights take in memory."""
    from model.pretrained import load

    networks, record = load(folder)
    sizes = networks.sizes()
    sizes["all"] = sum(sizes.values())
    return {
        "kind": "checkpoint",
        "preset": record.config.name,
        "digest": record.digest,
        "trained": dict(record.trained),
        "parameters": sizes,
        "weights_mb": {
            dtype: {name: round(count * size / 1e6, 3) for name, count in sizes.items()}
            for dtype, size in BYTES_BY_DTYPE.items()
        },
        "condition": plain(record.config.condition),
        "config": plain(record.config),
        "card": dict(record.card),
    }


def title_facts(path: Path) -> dict[str, Any]:
    """The streams of a media file, or why it cannot be used."""
    try:
        info = probe(path, need_video=False)
    except Unusable as unusable:
        return {"kind": "unusable", "path": str(path), **plain(unusable.rejection)}
    return {"kind": "video" if info.video else "sound", **plain(info), "path": str(path)}
