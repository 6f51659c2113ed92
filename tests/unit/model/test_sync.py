"""The sync expert: what it answers, what its losses count, what it says of a clip.

It is taught within seconds on mouths that are as bright as their sound is loud.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from model.sync import (
    LEAST_WINDOWS,
    STUCK_AT,
    SyncConfig,
    SyncExpert,
    clip_tensors,
    mouth_box,
    mouths,
    pair_loss,
    score_clip,
    score_offsets,
    sync_loss,
)
from model.training.clips import ListedClips
from model.training.sync import SyncTraining, shift_accuracy, train_expert
from shards.crop import crop_window
from shards.errors import RequestError
from shards.schema import ClipSample
from tests.support.clips import make_clip

SIDE = 32
SMALL = SyncConfig(side_px=16, bands=8, channels=(16, 32), width=32, norm_groups=4)
TRAINING = SyncTraining(expert=SMALL, steps=120, clips=12, items=4, rate=2e-3, warmup=10)


def talking(seed: int, length: int = 50, late: int = 0) -> ClipSample:
    """As bright as its sound is loud, in a face of a brightness of its own; the sound `late` frames behind."""
    rng = np.random.default_rng(seed)
    loud = np.convolve(rng.random(length + 62), np.ones(3) / 3, mode="valid")[: length + 60]
    clip = make_clip(seed, frames=length, size=SIDE)
    frames = np.full((length, SIDE, SIDE, 3), rng.integers(0, 256), dtype=np.uint8)
    left, top, right, bottom = mouth_box(crop_window("lower_face"), SIDE)
    frames[:, top:bottom, left:right] = (255 * loud[30 : 30 + length])[:, None, None, None]
    mel = clip.feature("mel")
    at_s = float(mel.origin_s) + np.arange(len(mel.values)) * float(mel.hop_s)
    level = np.interp(at_s * 25 - late + 30, np.arange(len(loud)), loud)
    values = (4 * level - 2)[:, None] + 0.1 * rng.standard_normal((len(mel.values), 8))
    heard = replace(mel, values=values.astype(np.float32), silence=np.full(8, -4, dtype=np.float32))
    return replace(clip, frames=frames, features=(heard,))


@pytest.fixture(scope="module")
def expert() -> SyncExpert:
    """Taught for a few seconds."""
    return train_expert(TRAINING, ListedClips([talking(seed) for seed in range(60)]))


def windows(clips: int, start: int = 0, count: int = SMALL.frames) -> tuple[Tensor, Tensor]:
    """(B, T, ...) of unseen clips."""
    parts = [clip_tensors(SMALL, talking(1000 + seed)) for seed in range(clips)]
    cut = slice(start, start + count)
    return torch.stack([seen[cut] for seen, _ in parts]), torch.stack([heard[cut] for _, heard in parts])


# -- what it tells -----------------------------------------------------------------------------------------------------


def test_it_tells_what_is_in_sync_from_what_is_five_frames_off_or_more(expert: SyncExpert) -> None:
    found = shift_accuracy(expert, [talking(1000 + seed) for seed in range(8)])
    assert found.accuracy >= 0.95
    assert found.ranked >= 0.95
    assert found.windows == 8 * (50 - SMALL.frames + 1)


@pytest.mark.parametrize("late", [-4, 0, 7])
def test_it_says_by_how_many_frames_the_sound_of_a_clip_is_late(expert: SyncExpert, late: int) -> None:
    score = score_clip(expert, talking(2000, 80, late))
    assert score.offset_frames == late
    assert (score.distance == score.distance_at_zero) == (late == 0)
    assert score.distance <= score.distance_at_zero
    assert score.confidence > 0.1


def test_a_clip_with_the_sound_of_another_fits_at_no_offset(expert: SyncExpert) -> None:
    own, other = talking(2001, 80), talking(2002, 80)
    right, wrong = score_clip(expert, own), score_clip(expert, replace(own, features=other.features))
    assert wrong.confidence < 0.5 * right.confidence
    assert wrong.distance_at_zero > right.distance_at_zero


def test_frames_without_a_face_do_not_count(expert: SyncExpert) -> None:
    clip = talking(2003, 80)
    frames, points = clip.frames.copy(), clip.landmarks.points.copy()
    frames[30:34] = 0
    points[30:34] = np.nan
    hidden = replace(clip, frames=frames, landmarks=replace(clip.landmarks, points=points))
    seen, heard = expert.trace(*clip_tensors(SMALL, clip))
    touched = range(30 - SMALL.frames + 1, 34)
    seen[touched.start : touched.stop] = torch.nan
    assert score_clip(expert, hidden) == score_offsets(seen, heard)


def test_offsets_with_too_little_to_compare_are_left_out_and_no_score_is_made_of_nothing() -> None:
    vectors = torch.eye(LEAST_WINDOWS + 2)
    score = score_offsets(vectors[:, 2:], vectors[:, 2:], [-3, 0, 2, 3])
    assert score.offset_frames == 0
    # Only 0 and 2 were compared: the median of two is their middle.
    assert score.confidence == pytest.approx(0.5 * (math.sqrt(2) * 8 + 2) / 10, abs=0.2)
    with pytest.raises(RequestError, match="10 windows"):
        score_offsets(vectors[:5], vectors[:5], [0])
    with pytest.raises(RequestError, match="offset 0"):
        score_offsets(vectors, vectors, [1, 2])


def test_a_clip_it_was_not_made_for_is_refused_by_name(expert: SyncExpert) -> None:
    with pytest.raises(RequestError, match="`window`"):
        score_clip(expert, make_clip(1, frames=30, size=SIDE, window="face"))
    with pytest.raises(RequestError, match="8 channels"):
        score_clip(expert, make_clip(1, frames=30, size=SIDE))
    slow = talking(1)
    times = replace(slow.times, pts=slow.times.pts * 2)
    with pytest.raises(RequestError, match="25 frames a second"):
        score_clip(expert, replace(slow, times=times))
    with pytest.raises(RequestError, match="16 frames at once"):
        score_clip(expert, talking(1, 10))


# -- how it looks ------------------------------------------------------------------------------------------------------


def test_crops_of_another_size_are_judged_alike(expert: SyncExpert) -> None:
    frames, audio = windows(4)
    larger = torch.nn.functional.interpolate(frames.flatten(0, 1), scale_factor=2, mode="nearest")
    same = expert.cosine(larger.reshape(4, SMALL.frames, 3, 2 * SIDE, 2 * SIDE), audio)
    torch.testing.assert_close(same, expert.cosine(frames, audio), atol=0.05, rtol=0)


def test_stored_bytes_and_generated_pixels_give_the_same_mouths() -> None:
    clip = talking(7)
    noise = np.random.default_rng(0).integers(0, 256, clip.frames.shape, dtype=np.uint8)
    stored = mouths(SMALL, torch.from_numpy(noise).permute(0, 3, 1, 2)).float()
    made = mouths(SMALL, torch.from_numpy(noise).permute(0, 3, 1, 2).float())
    torch.testing.assert_close(stored, made, atol=1.01, rtol=0)


def test_it_hears_the_middle_of_wider_columns() -> None:
    clip, expert = talking(8), SyncExpert(SMALL)
    wide = clip_tensors(SMALL.model_copy(update={"columns": 16}), clip)[1][None, : SMALL.frames]
    own = clip_tensors(SMALL, clip)[1][None, : SMALL.frames]
    torch.testing.assert_close(expert.hear(wide), expert.hear(own), atol=0, rtol=0)


# -- losses ------------------------------------------------------------------------------------------------------------


def test_its_judgement_reaches_the_pixels_of_the_mouth_and_no_others(expert: SyncExpert) -> None:
    frames, audio = windows(2)
    frames = frames.clone().requires_grad_()
    torch.autograd.backward(sync_loss(expert, frames, audio))
    assert frames.grad is not None
    left, top, right, bottom = mouth_box(crop_window("lower_face"), SIDE)
    inside = frames.grad[..., top:bottom, left:right]
    assert float(inside.abs().sum()) > 0
    assert float(frames.grad.abs().sum()) == pytest.approx(float(inside.abs().sum()))
    assert all(parameter.grad is None for parameter in expert.parameters())


def test_half_floats_from_a_decoder_are_judged_too(expert: SyncExpert) -> None:
    frames, audio = windows(2)
    half = frames.to(torch.bfloat16).requires_grad_()
    loss = sync_loss(expert, half, audio)
    torch.autograd.backward(loss)
    assert half.grad is not None
    assert half.grad.dtype == torch.bfloat16
    assert float(loss.detach()) == pytest.approx(float(sync_loss(expert, frames, audio)), abs=0.01)


def test_following_the_gradient_brings_a_mouth_into_sync(expert: SyncExpert) -> None:
    frames, audio = windows(4)
    _, late = windows(4, start=8)
    made, losses = frames.clone().requires_grad_(), []
    optimizer = torch.optim.Adam([made], lr=0.05)
    for _ in range(30):
        loss = sync_loss(expert, made, late)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(float(loss.detach()))
    true = float(sync_loss(expert, frames, audio))
    assert losses[0] > true + 0.1
    assert losses[-1] < 0.5 * (losses[0] + true)


def test_the_loss_lies_between_0_and_1_and_a_longer_stretch_is_judged_in_windows(expert: SyncExpert) -> None:
    frames, audio = windows(3, count=40)
    starts = (0, 8, 16, 24)
    each = [sync_loss(expert, frames[:, s : s + 16], audio[:, s : s + 16]) for s in starts]
    assert float(sync_loss(expert, frames, audio)) == pytest.approx(float(torch.stack(each).mean()), abs=1e-6)
    assert 0 <= min(map(float, each)) <= max(map(float, each)) <= 1
    # An uneven end is judged, too.
    frames[:, 39] = 5.0
    assert float(sync_loss(expert, frames[:, :37], audio[:, :37])) != pytest.approx(
        float(sync_loss(expert, frames[:, :32], audio[:, :32])), abs=1e-6
    )
    with pytest.raises(RequestError, match="16 consecutive frames"):
        sync_loss(expert, frames[:, :15], audio[:, :15])


def test_an_expert_that_knows_nothing_has_the_loss_it_is_said_to_be_stuck_at() -> None:
    assert float(pair_loss(torch.zeros(8, 8))) == pytest.approx(STUCK_AT) == math.log(2)


def test_right_and_wrong_pairs_weigh_the_same_however_many_there_are() -> None:
    logits = torch.full((50, 50), -4.0)
    assert float(pair_loss(logits)) == pytest.approx(0.5 * (math.log1p(math.exp(4)) + math.log1p(math.exp(-4))))


def test_each_kind_of_wrong_pair_weighs_the_same_and_unmarked_pairs_nothing() -> None:
    logits = torch.eye(4) * 40 - 20
    logits[0, 1], logits[2, 3] = 8.0, 50.0
    few, many = torch.zeros(4, 4, dtype=torch.bool), torch.zeros(4, 4, dtype=torch.bool)
    few[0, 1] = True
    many[1:, 0] = True
    assert float(pair_loss(logits, few, many)) == pytest.approx(0.5 * 0.5 * 8, rel=1e-3)
    assert float(pair_loss(logits, many)) < 1e-6
    with pytest.raises(RequestError, match="no wrong pair"):
        pair_loss(torch.zeros(1, 1))
