"""The sync expert: it learns which sound belongs to a mouth, tells by how much it is late, and judges pixels."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from model.batch import ClipBatch
from model.errors import CheckpointDamaged
from model.sync import STUCK_AT, SyncConfig, SyncExpert, mouth_box, pair_loss, score_offsets
from model.training.sync import CONFIG, MIN_SHIFT, WEIGHTS, items_of, load_expert, save_expert
from shards.crop import crop_window
from shards.errors import RequestError, UnknownSchemaVersion

SIDE = 32
SMALL = SyncConfig(side_px=16, bands=8, channels=(16, 32), width=32, norm_groups=4)


def talking(seed: int, clips: int, length: int = 25) -> ClipBatch:
    """Mouths that are as bright as their sound is loud, in faces of different brightness."""
    generator = torch.Generator().manual_seed(seed)
    loud = torch.nn.functional.avg_pool1d(torch.rand(clips, 1, length + 2, generator=generator), 3, stride=1)[:, 0]
    frames = torch.rand(clips, 1, 1, 1, 1, generator=generator).expand(clips, length, 3, SIDE, SIDE).clone()
    left, top, right, bottom = mouth_box(crop_window("lower_face"), SIDE)
    frames[..., top:bottom, left:right] = (4 * loud - 2)[:, :, None, None, None]
    audio = (4 * loud - 2)[:, :, None, None].expand(clips, length, 16, 8).clone()
    audio += 0.1 * torch.randn(audio.shape, generator=generator)
    nothing = torch.zeros(clips, 0)
    return ClipBatch(
        frames_BTCHW=frames,
        landmarks_BTP2=nothing,
        seen_BT=torch.ones(clips, length, dtype=torch.bool),
        mask_HW=torch.ones(SIDE, SIDE),
        audio_BTWC=audio,
        ref_frames_BRCHW=nothing,
        ref_landmarks_BNP2=nothing,
    )


@pytest.fixture(scope="module")
def expert() -> SyncExpert:
    """Taught for a few seconds."""
    torch.manual_seed(0)
    made = SyncExpert(SMALL)
    optimizer = torch.optim.AdamW(made.parameters(), lr=2e-3)
    for step in range(150):
        frames, audio, apart = items_of(talking(step, 24), SMALL.frames, np.random.default_rng(step))
        loss = pair_loss(made.logits(made.see(frames), made.hear(audio)), ~apart)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    return made.eval().requires_grad_(False)


def windows_of(batch: ClipBatch, start: int) -> tuple[Tensor, Tensor]:
    stop = start + SMALL.frames
    return batch.frames_BTCHW[:, start:stop], batch.audio_BTWC[:, start:stop]


def test_it_tells_what_is_in_sync_from_what_is_five_frames_off(expert: SyncExpert) -> None:
    batch = talking(1000, 64)
    frames, audio = windows_of(batch, 0)
    _, late = windows_of(batch, MIN_SHIFT)
    right, wrong = expert.cosine(frames, audio), expert.cosine(frames, late)
    # logit > 0 means in sync
    limit = -expert.bias / expert.log_scale.exp()
    told = torch.cat([right > limit, wrong < limit]).float()
    assert float(told.mean()) >= 0.95


@pytest.mark.parametrize("late", [-4, 0, 7])
def test_it_says_by_how_many_frames_the_sound_is_late(expert: SyncExpert, late: int) -> None:
    length = 80
    batch = talking(2000, 1, length)
    audio = torch.roll(batch.audio_BTWC, late, dims=1)
    starts = range(20, length - 20 - SMALL.frames)
    seen = torch.cat([expert.see(batch.frames_BTCHW[:, s : s + SMALL.frames]) for s in starts])
    heard = torch.cat([expert.hear(audio[:, s : s + SMALL.frames]) for s in starts])
    score = score_offsets(seen, heard, range(-10, 11))
    assert score.offset_frames == late
    assert score.distance <= score.distance_at_zero
    assert score.confidence > 0.1


def test_its_judgement_reaches_the_pixels_of_the_mouth_and_no_others(expert: SyncExpert) -> None:
    frames, audio = windows_of(talking(3000, 2), 0)
    frames = frames.clone().requires_grad_()
    torch.autograd.backward(-expert.cosine(frames, audio).sum())
    assert frames.grad is not None
    left, top, right, bottom = mouth_box(crop_window("lower_face"), SIDE)
    inside = frames.grad[..., top:bottom, left:right]
    assert float(inside.abs().sum()) > 0
    assert float(frames.grad.abs().sum()) == pytest.approx(float(inside.abs().sum()))


def test_crops_of_another_size_are_judged_alike(expert: SyncExpert) -> None:
    frames, audio = windows_of(talking(4000, 4), 0)
    larger = torch.nn.functional.interpolate(frames.flatten(0, 1), scale_factor=2, mode="nearest")
    same = expert.cosine(larger.reshape(4, SMALL.frames, 3, 2 * SIDE, 2 * SIDE), audio)
    torch.testing.assert_close(same, expert.cosine(frames, audio), atol=0.05, rtol=0)


def test_an_expert_that_knows_nothing_has_the_loss_it_is_said_to_be_stuck_at() -> None:
    assert float(pair_loss(torch.zeros(8, 8))) == pytest.approx(STUCK_AT) == math.log(2)


def test_right_and_wrong_pairs_weigh_the_same_however_many_there_are() -> None:
    logits = torch.full((50, 50), -4.0)
    assert float(pair_loss(logits)) == pytest.approx(0.5 * (math.log1p(math.exp(4)) + math.log1p(math.exp(-4))))


def test_windows_that_overlap_are_not_held_against_each_other() -> None:
    logits = torch.eye(2) * 20 - 10
    logits[0, 1] = 50.0
    assert float(pair_loss(logits)) > 10
    assert float(pair_loss(logits, torch.tensor([[False, True], [False, False]]))) < 1e-3


def test_each_window_gives_two_items_apart_and_frames_without_a_face_give_none() -> None:
    batch = talking(5, 6)
    batch.seen_BT[2, 12] = False  # in the middle: in every item of this window
    frames, audio, apart = items_of(batch, SMALL.frames, np.random.default_rng(0))
    assert frames.shape == (10, SMALL.frames, 3, SIDE, SIDE)
    assert audio.shape == (10, SMALL.frames, 16, 8)
    # The two items of a window are 5 to 9 frames apart: each is the other's wrong answer.
    assert bool((apart | torch.eye(10, dtype=torch.bool)).all())


def test_what_is_saved_comes_back_and_what_is_damaged_is_refused(expert: SyncExpert, tmp_path: Path) -> None:
    save_expert(tmp_path, expert)
    frames, audio = windows_of(talking(6, 2), 0)
    torch.testing.assert_close(
        load_expert(tmp_path).cosine(frames, audio), expert.cosine(frames, audio), atol=0, rtol=0
    )

    config = (tmp_path / CONFIG).read_text()
    (tmp_path / CONFIG).write_text(config.replace('"width": 32', '"width": 64'))
    with pytest.raises(CheckpointDamaged, match="not a readable sync expert"):
        load_expert(tmp_path)
    (tmp_path / CONFIG).write_text(config.replace('"schema_version": 1', '"schema_version": 9'))
    with pytest.raises(UnknownSchemaVersion):
        load_expert(tmp_path)
    (tmp_path / WEIGHTS).unlink()
    with pytest.raises(RequestError, match=r"no sync expert here: sync\.safetensors missing"):
        load_expert(tmp_path)
