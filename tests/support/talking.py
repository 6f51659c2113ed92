"""Clips of a talking face as preprocessing cuts them, and a published dataset of them; made once per process."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from collections.abc import Sequence
from pathlib import Path

from flows.workers.fragments import original_speech
from preprocessing.clip import ClipTools, analyse, cut_clips
from preprocessing.config import AudioConfig, CropConfig, FaceConfig, PreprocessConfig
from preprocessing.media.decode import FfmpegSource
from preprocessing.media.probe import probe
from shards.commit import Ledger
from shards.index import DatasetInfo
from shards.pack import PackConfig, finalize
from shards.schema import ClipSample
from shards.store import Store
from tests.support.datasets import commit_clips, make_plan
from tests.support.synthetic import talking_title

SIZE_PX = 64


@functools.cache
def talking_clip(size_px: int = SIZE_PX, seconds: float = 1.4) -> ClipSample:
    """One person speaking, with all that `compact` hears."""
    config = PreprocessConfig(
        faces=FaceConfig(backend="mediapipe"),
        crop=CropConfig(size_px=size_px),
        audio=AudioConfig(features=("mel", "phones", "ear")),
    )
    with tempfile.TemporaryDirectory(prefix="dubwright-talking-") as folder:
        path = talking_title(Path(folder), seconds=seconds, size=(256, 256)).video
        info = probe(path)
        source = FfmpegSource(path, info)
        with ClipTools(config) as tools:
            found = analyse(source, tools.backend, config)
            speech = original_speech(path, info, source, 16_000)
            about = {"source_sha256": "0" * 64, "source_name": path.name, "code_version": "test"}
            parts = list(cut_clips(found, source, speech, tools, config, **about))
        source.close()
    (clip,) = [part for part in parts if isinstance(part, ClipSample)]
    return clip


def talking_dataset(
    store: Store, folder: Path, identities: Sequence[str], config: PackConfig, *, size_px: int = SIZE_PX
) -> DatasetInfo:
    """A published dataset of one clip an identity; it is the same clip, for splits go by name alone."""
    ledger, plan = Ledger(store), make_plan(len(identities))
    ledger.write_plan(plan)
    for number, name in enumerate(identities):
        clip = dataclasses.replace(talking_clip(size_px), key=f"{number + 1:032x}", identity=name)
        commit_clips(ledger, f"unit-{number}", [clip], folder)
    return finalize(ledger, plan, config)
