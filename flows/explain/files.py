"""A checkpoint, a preset and a title: what a model is and takes, and what probing sees in a media file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from preprocessing.errors import Unusable
from preprocessing.media.probe import probe
from shards.fingerprint import plain


def checkpoint_facts(folder: Path) -> dict[str, Any]:
    """Config, parameters per network, and what weights and calls take in memory."""
    from model.pretrained import load
    from model.sizes import model_size

    _, record = load(folder)
    return {
        "kind": "checkpoint",
        "preset": record.config.name,
        "digest": record.digest,
        "trained": dict(record.trained),
        **model_size(record.config).told(),
        "condition": plain(record.config.condition),
        "config": plain(record.config),
        "card": dict(record.card),
    }


def preset_facts(name: str) -> dict[str, Any]:
    """The same of a model that is not trained: how large it would be."""
    from model.presets import preset
    from model.sizes import model_size

    config = preset(name)
    return {
        "kind": "preset",
        "preset": name,
        **model_size(config).told(),
        "condition": plain(config.condition),
        "config": plain(config),
    }


def title_facts(path: Path) -> dict[str, Any]:
    """The streams of a media file, or why it cannot be used."""
    try:
        info = probe(path, need_video=False)
    except Unusable as unusable:
        return {"kind": "unusable", "path": str(path), **plain(unusable.rejection)}
    return {"kind": "video" if info.video else "sound", **plain(info), "path": str(path)}
