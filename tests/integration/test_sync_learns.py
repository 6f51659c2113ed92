"""The sync expert, trained on generated faces that the media room cut, hears what it was never taught."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from pathlib import Path

import pytest

from model.sync import SyncConfig, SyncExpert, score_clip
from model.training.clips import ListedClips
from model.training.sync import SyncTraining, load_expert, save_expert, shift_accuracy, train_expert
from preprocessing.sample import speech
from shards.schema import ClipSample
from tests.support.sync_corpus import SyncCorpus, sync_corpus

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not speech.available(), reason="espeak-ng is not installed: there is nothing new to say"),
]

SMALL = SyncConfig(side_px=32, channels=(16, 32, 64), width=128)
TRAINING = SyncTraining(expert=SMALL, steps=150, clips=32, items=6, rate=1e-3, warmup=40)


@pytest.fixture(scope="module")
def corpus() -> SyncCorpus:
    return sync_corpus(titles=60)


@pytest.fixture(scope="module")
def expert(corpus: SyncCorpus, tmp_path_factory: pytest.TempPathFactory) -> SyncExpert:
    folder: Path = tmp_path_factory.mktemp("sync")
    save_expert(folder, train_expert(TRAINING, ListedClips(corpus.train)))
    return load_expert(folder)


def moved(clip: ClipSample, late: int) -> ClipSample:
    """The same clip, its sound `late` frames behind."""
    mel = clip.feature("mel")
    later = dataclasses.replace(mel, origin_s=mel.origin_s + Fraction(late, 25))
    return dataclasses.replace(clip, features=(later,))


def test_on_lines_it_never_heard_it_prefers_a_windows_own_sound_to_one_five_frames_off_or_more(
    expert: SyncExpert, corpus: SyncCorpus
) -> None:
    """By which of the two fits better. Its yes and no is weaker: 45 clips teach no limit that holds for others."""
    found = shift_accuracy(expert, corpus.held_out)
    print(found, f"yes or no: {found.accuracy:.4f}")  # noqa: T201  (the figures, with `pytest -s`)
    assert found.windows > 500
    assert found.ranked >= 0.95
    assert found.accuracy >= 0.75


@pytest.mark.parametrize("late", [-8, 0, 5])
def test_it_says_by_how_much_the_sound_of_a_clip_is_late(expert: SyncExpert, corpus: SyncCorpus, late: int) -> None:
    offsets = [score_clip(expert, moved(clip, late)).offset_frames for clip in corpus.held_out]
    right = sum(abs(offset - late) <= 1 for offset in offsets)
    assert right / len(offsets) >= 0.9, offsets
