"""Training the sync expert: what it learns from, the traps it names, the folder it is kept in."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.batch import grid
from model.errors import CheckpointDamaged, NonFinite
from model.sync import STUCK_AT, SyncConfig, SyncExpert, mouths
from model.training.clips import ListedClips
from model.training.sync import (
    CONFIG,
    MIN_SHIFT,
    WEIGHTS,
    SyncTraining,
    Trap,
    item_starts,
    items_of,
    load_expert,
    off_eyes,
    save_expert,
    train_expert,
)
from shards.errors import RequestError, UnknownSchemaVersion
from shards.meanface import mean_face
from shards.schema import ClipSample
from tests.support.clips import make_clip

SMALL = SyncConfig(side_px=16, channels=(8, 8), width=8, norm_groups=4)
TRAINING = SyncTraining(expert=SMALL, steps=2, clips=3, items=3, warmup=1)


def aligned(seed: int, frames: int = 40) -> ClipSample:
    """A clip whose face is where the crop window has it."""
    clip = make_clip(seed, frames=frames, size=32)
    matrix = clip.transform.window.matrix(32)
    face = mean_face("mediapipe131") @ matrix[:, :2].T + matrix[:, 2]
    points = np.broadcast_to(face, clip.landmarks.points.shape).astype(np.float32)
    return replace(clip, landmarks=replace(clip.landmarks, points=points))


def without_face(clip: ClipSample, *frames: int) -> ClipSample:
    points = clip.landmarks.points.copy()
    points[list(frames)] = np.nan
    return replace(clip, landmarks=replace(clip.landmarks, points=points))


# -- items -------------------------------------------------------------------------------------------------------------


def test_windows_of_a_clip_are_seen_whole_and_apart() -> None:
    clip = without_face(aligned(1, 60), 20)
    drawn = [item_starts(clip, TRAINING, np.random.default_rng(seed)) for seed in range(50)]
    for starts in drawn:
        assert 1 <= len(starts) <= TRAINING.items
        assert all(start + SMALL.frames <= 20 or start > 20 for start in starts)
        assert all(abs(a - b) >= MIN_SHIFT for i, a in enumerate(starts) for b in starts[:i])
    assert len({start for starts in drawn for start in starts}) > 20
    assert item_starts(aligned(1, SMALL.frames - 1), TRAINING, np.random.default_rng(0)) == []


def test_only_moments_of_one_clip_that_are_apart_and_other_clips_are_wrong_answers() -> None:
    one, other = aligned(1), aligned(2)
    items = items_of([one, other, one], TRAINING, np.random.default_rng(0))
    far, foreign = items.wrong()
    same = items.clip_N[:, None] == items.clip_N
    # A clip drawn twice is one clip: its two draws may overlap, and overlapping windows are held against nobody.
    assert items.clip_N.unique().numel() == 2
    assert torch.equal(foreign, ~same)
    assert torch.equal(far, same & ((items.start_N[:, None] - items.start_N).abs() >= MIN_SHIFT))
    assert far.any()
    assert not far.diagonal().any()


def test_a_mouth_is_shown_as_it_is_or_mirrored_with_the_sound_of_its_moment() -> None:
    clip, plain = aligned(3), TRAINING.model_copy(update={"gain": 0.0, "items": 1})
    small = mouths(SMALL, torch.from_numpy(clip.frames).permute(0, 3, 1, 2)).float() / 127.5 - 1
    sound = torch.from_numpy(clip.feature("mel").at(grid(clip.times.seconds(), SMALL.columns)))
    is_mirrored = set()
    for seed in range(12):
        items = items_of([clip], plain, np.random.default_rng(seed))
        rows = slice(int(items.start_N[0]), int(items.start_N[0]) + SMALL.frames)
        seen = items.mouths_NTCHW[0]
        is_mirrored.add(mirror := not torch.equal(seen, small[rows]))
        assert torch.equal(seen, small[rows].flip(-1) if mirror else small[rows])
        assert torch.equal(items.audio_NTWC[0], sound[rows])
    assert is_mirrored == {True, False}


def test_light_and_loudness_differ_from_item_to_item() -> None:
    clip = aligned(3)
    dull = replace(clip, frames=np.full_like(clip.frames, 100))
    items = items_of([dull, dull], TRAINING, np.random.default_rng(0))
    assert len({float(mouth.mean()) for mouth in items.mouths_NTCHW}) == len(items.start_N)
    assert torch.equal(items.mouths_NTCHW.std(dim=(1, 2, 3, 4)) < 1e-5, torch.ones(len(items.start_N)).bool())


def test_clips_in_which_nobody_is_seen_for_long_enough_cannot_be_trained_on() -> None:
    with pytest.raises(RequestError, match="16 frames"):
        items_of([without_face(aligned(1, 20), 10)], TRAINING, np.random.default_rng(0))


# -- training ----------------------------------------------------------------------------------------------------------


def test_the_same_seed_trains_the_same_expert() -> None:
    clips = [aligned(seed) for seed in range(4)]
    told: list[tuple[int, float]] = []
    first = train_expert(TRAINING, ListedClips(clips), on_step=lambda *step: told.append(step))
    again = train_expert(TRAINING, ListedClips(clips))
    assert [step for step, _ in told] == [1, 2]
    assert not first.training
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_a_loss_that_is_no_number_stops_training_by_name() -> None:
    clip = aligned(1)
    mel = clip.feature("mel")
    broken = replace(clip, features=(replace(mel, values=np.full_like(mel.values, np.nan)),))
    with pytest.raises(NonFinite, match="stage sync, step 0"):
        train_expert(TRAINING, ListedClips([broken, aligned(2)]))


# -- traps -------------------------------------------------------------------------------------------------------------


def named(caplog: pytest.LogCaptureFixture) -> set[str]:
    return {trap for trap in Trap if any(f"trap {trap.value}:" in record.getMessage() for record in caplog.records)}


def test_sound_data_in_large_batches_names_no_trap_of_data(caplog: pytest.LogCaptureFixture) -> None:
    many = TRAINING.model_copy(update={"clips": 64, "items": 4, "steps": 1})
    with caplog.at_level(logging.WARNING):
        train_expert(many, ListedClips([aligned(seed) for seed in range(4)]))
    assert named(caplog) == {Trap.STUCK}


def test_a_small_batch_is_named(caplog: pytest.LogCaptureFixture) -> None:
    train_expert(TRAINING, ListedClips([aligned(seed) for seed in range(4)]))
    assert Trap.SMALL_BATCH in named(caplog)
    assert "256" in caplog.text


def test_crops_that_do_not_hold_the_face_still_are_named(caplog: pytest.LogCaptureFixture) -> None:
    moved = aligned(1)
    points = moved.landmarks.points + np.float32(32 / 2.4 * 0.3)
    moved = replace(moved, landmarks=replace(moved.landmarks, points=points))
    assert off_eyes(aligned(1)) < 1e-3
    assert off_eyes(moved) == pytest.approx(0.3 * 2**0.5, rel=1e-2)
    train_expert(TRAINING, ListedClips([moved, aligned(2)]))
    assert Trap.CROPS_NOT_ALIGNED in named(caplog)


def test_clips_whose_sound_is_late_are_named(caplog: pytest.LogCaptureFixture) -> None:
    late = [replace(aligned(seed), scores={"av_offset_s": 0.2, "av_confidence": 0.9}) for seed in range(3)]
    unsure = [replace(clip, scores={"av_offset_s": 0.2, "av_confidence": 0.1}) for clip in late]
    train_expert(TRAINING, ListedClips(unsure))
    assert Trap.CLIPS_OUT_OF_SYNC not in named(caplog)
    train_expert(TRAINING, ListedClips(late))
    assert Trap.CLIPS_OUT_OF_SYNC in named(caplog)


def test_an_expert_that_learns_nothing_is_named_with_its_loss(caplog: pytest.LogCaptureFixture) -> None:
    """Noise has nothing in common with noise."""
    train_expert(TRAINING, ListedClips([aligned(seed) for seed in range(3)]))
    assert Trap.STUCK in named(caplog)
    assert f"{STUCK_AT:.3f}" in Trap.STUCK.value


# -- the folder --------------------------------------------------------------------------------------------------------


def test_what_is_saved_comes_back_and_what_is_damaged_is_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    expert = SyncExpert(SMALL)
    save_expert(tmp_path, expert)
    found = load_expert(tmp_path)
    assert not found.training
    assert not any(parameter.requires_grad for parameter in found.parameters())
    for name, value in expert.state_dict().items():
        assert torch.equal(value, found.state_dict()[name])
    assert sorted(path.name for path in tmp_path.iterdir()) == [CONFIG, WEIGHTS]

    config = (tmp_path / CONFIG).read_text()
    (tmp_path / CONFIG).write_text(config.replace('"width": 8', '"width": 16'))
    with pytest.raises(CheckpointDamaged, match="not a readable sync expert"):
        load_expert(tmp_path)
    (tmp_path / CONFIG).write_text(config.replace('"schema_version": 1', '"schema_version": 9'))
    with pytest.raises(UnknownSchemaVersion):
        load_expert(tmp_path)
    (tmp_path / CONFIG).write_text(config[:20])
    with pytest.raises(CheckpointDamaged, match="not JSON"):
        load_expert(tmp_path)
    (tmp_path / WEIGHTS).unlink()
    with pytest.raises(RequestError, match=r"no sync expert here: sync\.safetensors missing"):
        load_expert(tmp_path)
