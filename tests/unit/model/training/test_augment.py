from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.batch import ClipBatch, collate, windows
from model.config import LandmarkCondition, ModelConfig
from model.landmarks import opening
from model.training.augment import HIGHEST, LOWEST, varied
from model.training.draws import Draws
from shards.topology import topology
from tests.support.clips import make_clip
from tests.unit.model.conftest import nano

FEATURES = {"phones": 42, "mel": 80}
LAYOUT = topology("mediapipe131")


@pytest.fixture
def batch() -> ClipBatch:
    condition = LandmarkCondition(crop_px=32, features=tuple(FEATURES), feature_dims=tuple(FEATURES.values()))
    config: ModelConfig = nano().model_copy(update={"condition": condition})
    clip = make_clip(1, frames=24, size=32, features=tuple(FEATURES))
    return collate(windows(clip, 10, np.random.default_rng(0), config, count=3))


def draws(seed: int = 0) -> Draws:
    return Draws((seed, item) for item in range(3))


def test_only_the_spectrogram_sounds_otherwise(batch: ClipBatch) -> None:
    made = varied(batch, FEATURES, draws())
    assert torch.equal(made.audio_BTWC[..., :42], batch.audio_BTWC[..., :42])
    mel = made.audio_BTWC[..., 42:]
    assert not torch.allclose(mel, batch.audio_BTWC[..., 42:])
    assert float(mel.min()) >= LOWEST
    assert float(mel.max()) <= HIGHEST


def test_a_voice_stays_itself_over_a_window_and_differs_between_windows(batch: ClipBatch) -> None:
    flat = replace(batch, audio_BTWC=torch.full_like(batch.audio_BTWC, 2.0))
    mel = varied(flat, {"mel": 122}, draws(3)).audio_BTWC
    assert torch.equal(mel[:, 0, 0], mel[:, -1, -1])
    assert not torch.allclose(mel[0, 0, 0], mel[1, 0, 0], atol=0.05)


def test_a_face_and_its_references_move_as_one_and_the_mouth_stays_what_it_was(batch: ClipBatch) -> None:
    made = varied(batch, FEATURES, draws())
    for before, after in (
        (batch.landmarks_BTP2, made.landmarks_BTP2),
        (batch.ref_landmarks_BNP2, made.ref_landmarks_BNP2),
    ):
        ratio = opening(after, LAYOUT) / opening(before, LAYOUT)
        torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio), rtol=1e-3, atol=1e-3)
    whole = torch.cat([batch.landmarks_BTP2, batch.ref_landmarks_BNP2], dim=1).flatten(1, 2)
    moved = torch.cat([made.landmarks_BTP2, made.ref_landmarks_BNP2], dim=1).flatten(1, 2)
    sizes = (moved - moved.mean(1, keepdim=True)) / (whole - whole.mean(1, keepdim=True))
    torch.testing.assert_close(sizes, sizes[:, :1, :1].expand_as(sizes), rtol=1e-2, atol=1e-2)
    assert torch.equal(made.frames_BTCHW, batch.frames_BTCHW)


def test_an_unseen_frame_stays_unseen(batch: ClipBatch) -> None:
    seen = batch.seen_BT.clone()
    seen[0, 2] = False
    lm = torch.where(seen[..., None, None], batch.landmarks_BTP2, 0.0)
    assert (varied(replace(batch, seen_BT=seen, landmarks_BTP2=lm), FEATURES, draws()).landmarks_BTP2[0, 2] == 0).all()


def test_the_same_seed_is_the_same_variation(batch: ClipBatch) -> None:
    a, b, c = (varied(batch, FEATURES, draws(seed)).audio_BTWC for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
