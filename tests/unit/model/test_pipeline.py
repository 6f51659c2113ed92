from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from model import pretrained
from model.choice import References
from model.config import ModelConfig
from model.errors import CheckpointDamaged, CheckpointMismatch
from model.networks import Networks
from model.pipeline import DubbingPipeline
from shards.errors import RequestError, UnknownSchemaVersion
from shards.schema import ClipSample, Landmarks
from tests.support.clips import make_clip


@pytest.fixture
def references(pipe: DubbingPipeline, clip: ClipSample) -> References:
    return pipe.choose_references(clip.frames, clip.landmarks)


def hidden(landmarks: Landmarks, frames: list[int]) -> Landmarks:
    points = landmarks.points.copy()
    points[frames] = np.nan
    return Landmarks(
        points=points, confidence=landmarks.confidence, topology_name=landmarks.topology_name, space="crop"
    )


# -- a folder ----------------------------------------------------------------------------------------------------------


def test_a_saved_model_makes_the_same_pictures_bit_for_bit(
    pipe: DubbingPipeline, clip: ClipSample, tmp_path: Path
) -> None:
    digest = pipe.save_pretrained(tmp_path)
    again = DubbingPipeline.from_pretrained(tmp_path)
    a, b = pipe(clip, seed=3, steps=2), again(clip, seed=3, steps=2)
    assert np.array_equal(a.frames, b.frames)
    assert np.array_equal(a.landmarks.points, b.landmarks.points)
    assert digest == pipe.digest == again.digest


def test_half_precision_halves_the_file_and_has_its_own_name(pipe: DubbingPipeline, tmp_path: Path) -> None:
    whole = pipe.save_pretrained(tmp_path / "whole")
    half = pipe.save_pretrained(tmp_path / "half", half=True)
    sizes = [(tmp_path / name / pretrained.WEIGHTS).stat().st_size for name in ("half", "whole")]
    assert sizes[0] < 0.7 * sizes[1]
    assert whole != half == DubbingPipeline.from_pretrained(tmp_path / "half").digest


def test_nothing_in_the_folder_is_a_pickle(pipe: DubbingPipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors", "README.md"}
    # A safetensors file begins with the length of its JSON header; a pickle or a zip of one does not.
    head = (tmp_path / pretrained.WEIGHTS).read_bytes()
    json.loads(head[8 : 8 + int.from_bytes(head[:8], "little")])


def test_the_card_says_what_it_was_told(pipe: DubbingPipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path, card={"figures": "PSNR 30 dB"})
    text = (tmp_path / "README.md").read_text()
    for said in ("noise", "PSNR 30 dB", "for tests only", pipe.digest, "mediapipe131"):
        assert said in text
    assert "for tests only" in DubbingPipeline.from_pretrained(tmp_path).description


def test_weights_of_another_config_are_found_out(pipe: DubbingPipeline, config: ModelConfig, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path)
    DubbingPipeline.from_networks(Networks(config)).save_pretrained(tmp_path / "other")
    (tmp_path / "other" / pretrained.WEIGHTS).replace(tmp_path / pretrained.WEIGHTS)
    with pytest.raises(CheckpointDamaged, match="was written for"):
        DubbingPipeline.from_pretrained(tmp_path)


def test_a_cut_file_is_found_out(pipe: DubbingPipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path)
    weights = tmp_path / pretrained.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointDamaged, match="not a readable model"):
        DubbingPipeline.from_pretrained(tmp_path)


def test_a_newer_schema_and_an_empty_folder_are_refused(pipe: DubbingPipeline, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no model here"):
        DubbingPipeline.from_pretrained(tmp_path)
    pipe.save_pretrained(tmp_path)
    record = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(record | {"schema_version": 999}))
    with pytest.raises(UnknownSchemaVersion, match="999"):
        DubbingPipeline.from_pretrained(tmp_path)


def test_data_of_another_kind_are_refused_naming_both(pipe: DubbingPipeline) -> None:
    pipe.check_fits(topology="mediapipe131", features=("mel",), window="lower_face", crop_px=32)
    with pytest.raises(CheckpointMismatch, match=r"mediapipe131.*ibug68"):
        pipe.check_fits(topology="ibug68")
    with pytest.raises(CheckpointMismatch, match=r"32.*64"):
        pipe.check_fits(crop_px=64)
    other = make_clip(1, size=32, topology="ibug68")
    with pytest.raises(CheckpointMismatch, match="ibug68"):
        pipe(other)


# -- landmarks ---------------------------------------------------------------------------------------------------------


def test_the_pose_is_the_sources_and_the_mouth_is_not(
    pipe: DubbingPipeline, clip: ClipSample, references: References
) -> None:
    made = pipe.predict_landmarks(clip.features, clip.times.seconds(), clip.landmarks, references)
    layout = clip.landmarks.topology
    pose, content = list(layout.pose), list(layout.content)
    assert np.array_equal(made.points[:, pose], clip.landmarks.points[:, pose])
    assert np.abs(made.points[:, content] - clip.landmarks.points[:, content]).max() > 0.1


def test_unseen_frames_stay_unseen(pipe: DubbingPipeline, clip: ClipSample, references: References) -> None:
    made = pipe.predict_landmarks(clip.features, clip.times.seconds(), hidden(clip.landmarks, [4]), references)
    assert np.flatnonzero(~made.seen()).tolist() == [4]
    assert made.confidence[4] == 0


def test_any_frame_rate_follows_the_same_25_hz_mouth(
    pipe: DubbingPipeline, clip: ClipSample, references: References
) -> None:
    content = list(clip.landmarks.topology.content)
    still = Landmarks(
        points=np.repeat(clip.landmarks.points[:1], 24, axis=0),
        confidence=clip.landmarks.confidence,
        topology_name="mediapipe131",
        space="crop",
    )
    at_25 = pipe.predict_landmarks(clip.features, np.arange(24) * 0.04, still, references).points[:, content]
    # Every other frame half a tick later: those are midway between their neighbours.
    odd = np.arange(24) * 0.04 + np.where(np.arange(24) % 2, 0.02, 0.0)
    odd[-1] = 23 * 0.04
    at_odd = pipe.predict_landmarks(clip.features, odd, still, references).points[:, content]
    np.testing.assert_allclose(at_odd[::2], at_25[::2], atol=1e-3)
    np.testing.assert_allclose(at_odd[1:-1:2], (at_25[1:-1:2] + at_25[2::2]) / 2, atol=1e-3)


# -- pictures ----------------------------------------------------------------------------------------------------------


def test_outside_the_mask_and_in_unseen_frames_the_source_comes_back(
    pipe: DubbingPipeline, clip: ClipSample, references: References
) -> None:
    made = pipe.render(clip.frames, hidden(clip.landmarks, [0, 7]), references, seed=1, steps=2)
    outside = clip.transform.window.mask(32) == 0
    assert np.array_equal(made[:, outside], clip.frames[:, outside])
    assert np.array_equal(made[[0, 7]], clip.frames[[0, 7]])
    assert (made[1] != clip.frames[1]).any()


def test_the_same_seed_is_the_same_picture_whatever_the_batch(
    pipe: DubbingPipeline, clip: ClipSample, references: References
) -> None:
    a, b, other = (
        pipe.render(clip.frames[:6], clip.landmarks.slice(0, 6), references, seed=seed, steps=2, batch_size=size)
        for seed, size in ((1, 8), (1, 8), (2, 8))
    )
    split = pipe.render(clip.frames[:6], clip.landmarks.slice(0, 6), references, seed=1, steps=2, batch_size=4)
    assert np.array_equal(a, b)
    assert (a != other).any()
    assert np.abs(a.astype(int) - split.astype(int)).max() <= 1


def test_the_landmarks_move_the_picture(pipe: DubbingPipeline, clip: ClipSample, references: References) -> None:
    points = clip.landmarks.points.copy()
    points[:, list(clip.landmarks.topology.lips), 1] += 4
    moved = Landmarks(points=points, confidence=clip.landmarks.confidence, topology_name="mediapipe131", space="crop")
    a, b = (pipe.render(clip.frames, lm, references, seed=1, steps=2) for lm in (clip.landmarks, moved))
    assert (a != b).any()


def test_the_masked_pixels_of_the_source_do_not_reach_the_result(
    pipe: DubbingPipeline, clip: ClipSample, references: References
) -> None:
    mask = clip.transform.window.mask(32)
    other = np.where(mask[..., None] == 1, 255 - clip.frames, clip.frames).astype(np.uint8)
    a, b = (pipe.render(frames, clip.landmarks, references, seed=1, steps=2) for frames in (clip.frames, other))
    assert np.array_equal(a[:, mask == 1], b[:, mask == 1])


def test_progress_counts_frames_to_the_end(pipe: DubbingPipeline, clip: ClipSample, references: References) -> None:
    seen: list[int] = []
    pipe.render(clip.frames, clip.landmarks, references, seed=1, steps=1, batch_size=10, on_progress=seen.append)
    assert seen == [10, 20, 24]


def test_looks_are_computed_once_for_the_same_references(
    pipe: DubbingPipeline, clip: ClipSample, references: References
) -> None:
    calls: list[torch.Size] = []
    pipe.networks.reference.register_forward_hook(lambda module, given, made: calls.append(given[0].shape))
    for _ in range(2):
        pipe.render(clip.frames[:2], clip.landmarks.slice(0, 2), references, seed=1, steps=1)
    assert len(calls) == 1
    three = pipe.choose_references(clip.frames, clip.landmarks, 3)
    pipe.render(clip.frames[:2], clip.landmarks.slice(0, 2), three, seed=1, steps=1)
    assert calls[1][1] == 3


def test_new_speech_gives_another_mouth(pipe: DubbingPipeline, clip: ClipSample) -> None:
    other = make_clip(2, frames=24, size=32).features
    own, new = pipe(clip, seed=1, steps=1), pipe(clip, features=other, seed=1, steps=1)
    assert np.abs(own.landmarks.points - new.landmarks.points).max() > 1e-3


def test_guidance_of_two_differs_from_one(pipe: DubbingPipeline, clip: ClipSample, references: References) -> None:
    a, b = (
        pipe.render(clip.frames, clip.landmarks, references, seed=1, steps=1, guidance=guidance)
        for guidance in (1.0, 2.0)
    )
    assert (a != b).any()


def test_it_is_a_diffusers_pipeline(pipe: DubbingPipeline, clip: ClipSample, references: References) -> None:
    assert set(pipe.components) == {"networks", "scheduler"}
    assert pipe.to("cpu").device == torch.device("cpu")
    before = pipe.render(clip.frames[:1], clip.landmarks.slice(0, 1), references, seed=1)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, timestep_spacing="leading")
    assert (pipe.render(clip.frames[:1], clip.landmarks.slice(0, 1), references, seed=1) != before).any()
