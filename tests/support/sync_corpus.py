"""A corpus for the sync expert: the generator's portraits say its sentences, and the media room cuts the clips.

Sentences, not clips, are held out, so no line of the test was heard in training in any voice. Needs espeak-ng.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from preprocessing.clip import ClipTools, analyse, cut_clips
from preprocessing.config import PreprocessConfig
from preprocessing.faces.keep import CropStore
from preprocessing.media.decode import FfmpegSource
from preprocessing.media.probe import probe
from preprocessing.media.speech import read_speech
from preprocessing.sample.catalogue import make_title
from preprocessing.sample.script import ScriptedTitle, script, spoken
from preprocessing.sample.speech import RECORDED_DIR
from shards.schema import ClipSample

SIDE_PX = 256
HELD_OUT = ("line-0.en", "line-5.en", "line-1.es", "line-2.fr", "line-0.de")


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncCorpus:
    """Clips of sentences that are trained on, and of others."""

    train: list[ClipSample]
    held_out: list[ClipSample]


def sync_corpus(titles: int, seed: int = 7) -> SyncCorpus:
    """So many titles of the catalogue's casting; its first, the shipped sample, is held out."""
    with tempfile.TemporaryDirectory() as folder, ClipTools(_config()) as tools:
        corpus = SyncCorpus(train=[], held_out=[])
        for title in script(titles, seed, RECORDED_DIR):
            is_new = title.line.name in HELD_OUT or title.line.voice is None
            (corpus.held_out if is_new else corpus.train).extend(_clips(title, Path(folder), tools))
    return corpus


def _clips(title: ScriptedTitle, folder: Path, tools: ClipTools) -> Iterator[ClipSample]:
    """Nothing but speech: where mouth and sound both rest, nobody can tell one moment from another."""
    line = spoken(title.line, RECORDED_DIR)
    made = make_title(folder, title.name, portrait=title.portrait, line=line, size=(SIDE_PX, SIDE_PX), seed=title.seed)
    source, config = FfmpegSource(made.video, probe(made.video)), _config()
    about = {"source_sha256": f"{title.seed:064x}", "source_name": made.video.name, "code_version": "sample"}
    with CropStore() as crops:
        found = analyse(source, tools.backend, config, crops=crops)
        speech = read_speech(made.video, zero_s=source.times.at(0).seconds)
        parts = list(cut_clips(found, source, speech, tools, config, crops=crops, **about))
    source.close()
    made.video.unlink()
    return (part for part in parts if isinstance(part, ClipSample))


def _config() -> PreprocessConfig:
    return PreprocessConfig.model_validate({"sync": {"correct": False}})
