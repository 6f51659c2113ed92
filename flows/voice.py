"""Which checkpoint speaks: the one named, or the one that ships; and what the report must say of it."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from flows.title import Voice
from model.card import one_line
from model.pretrained import load
from preprocessing.audio.base import feature_version
from shards.errors import RequestError

SHIPPED = "shipped"


def read_voice(checkpoint: str | None) -> Voice:
    """The voice in the folder, or the shipped one for None."""
    folder = Path(checkpoint) if checkpoint else shipped_checkpoint()
    if not folder.is_dir():
        raise RequestError("no such checkpoint folder", field="--checkpoint", value=str(folder))
    _, record = load(folder)
    condition = record.config.condition
    condition.check(feature_versions={name: feature_version(name) for name in condition.features})
    return Voice(
        checkpoint=str(folder.resolve()),
        digest=record.digest,
        crop_px=condition.crop_px,
        window=condition.window,
        topology=condition.topology,
        features=condition.features,
        description=one_line(
            record.config.name, condition.crop_px, trained=record.trained, card=record.card, digest=record.digest
        ),
    )


def shipped_checkpoint() -> Path:
    """The checkpoint inside the package."""
    folder = Path(str(resources.files("model"))) / SHIPPED
    if not folder.is_dir():
        raise RequestError("this installation ships no checkpoint; name one", field="--checkpoint")
    return folder
