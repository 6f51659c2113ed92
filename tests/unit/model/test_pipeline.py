from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from model.choice import References
from model.errors import CheckpointMismatch
from model.pipeline import DubbingPipeline
from model.shot import Shot
from shards.errors import RequestError
from shards.schema import AudioFeatures, ClipSample, Landmarks
from tests.support.clips import make_clip

# diffusers' DPM-Solver hands a tensor to numpy the old way.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)


@pytest.fixture
def references(pipe: DubbingPipeline, clip: ClipSample) -> References:
    return pipe.choose_references(clip.frames, clip.landmarks)


def hidden(landmarks: Landmarks, frames: list[int]) -> Landmarks:
    points = landmarks.points.copy()
    points[frames] = np.nan
    return Landmarks(
        points=points, confidence=landmarks.confidence, topology_name=landmarks.topology_name, space="crop"
    )


# -- what does not fit -------------------------------------------------------------------------------------------------


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


def test_silence_is_what_lies_beyond_the_sound(pipe: DubbingPipeline, clip: ClipSample, references: References) -> None:
    own = clip.features[0]
    short = with_values(own, own.values[:8])
    ended = np.concatenate([own.values[:8], np.broadcast_to(own.silence, own.values[8:].shape)])
    told = [
        pipe.predict_landmarks([sound], clip.times.seconds(), clip.landmarks, references).points
        for sound in (short, with_values(own, ended), own)
    ]
    assert np.array_equal(told[0], told[1])
    assert (told[0] != told[2]).any()


def test_three_frames_are_fewer_than_a_window_and_are_dubbed(pipe: DubbingPipeline) -> None:
    [made] = pipe(make_clip(1, frames=3, size=32), steps=1)
    assert len(made.frames) == 3
    assert made.landmarks.seen().all()


# -- the whole ---------------------------------------------------------------------------------------------------------


def test_new_speech_gives_another_mouth(pipe: DubbingPipeline, clip: ClipSample) -> None:
    other = make_clip(2, frames=24, size=32).features
    own, new = pipe([clip, Shot.of(clip, features=other)], steps=1)
    assert np.abs(own.landmarks.points - new.landmarks.points).max() > 1e-3


def test_a_shot_is_its_fields_or_a_clip(pipe: DubbingPipeline, clip: ClipSample) -> None:
    by_hand = Shot(
        frames=clip.frames,
        transform=clip.transform,
        landmarks=clip.landmarks,
        times_s=clip.times.seconds(),
        features=clip.features,
        seed=4,
    )
    [a], [b] = pipe(by_hand, steps=1), pipe(Shot.of(clip, seed=4), steps=1)
    assert np.array_equal(a.frames, b.frames)


def test_shots_of_several_titles_in_one_call_are_what_each_is_alone(pipe: DubbingPipeline) -> None:
    shots = [Shot.of(make_clip(n, frames=n + 3, size=32), seed=n) for n in (1, 2, 3)]
    for shot, made in zip(shots, pipe(shots, steps=2, batch_size=4, sampler="dpmsolver++"), strict=True):
        [alone] = pipe(shot, steps=2, batch_size=4, sampler="dpmsolver++")
        assert np.abs(made.frames.astype(int) - alone.frames.astype(int)).max() <= 1
        assert (made.frames != alone.frames).mean() < 1e-3
        assert np.array_equal(made.landmarks.points, alone.landmarks.points)


def test_samplers_have_names(pipe: DubbingPipeline, clip: ClipSample) -> None:
    made = [pipe(clip, steps=3, sampler=name)[0].frames for name in ("ddim", "dpmsolver++")]
    assert (made[0] != made[1]).any()
    assert np.array_equal(made[0], pipe(clip, steps=3)[0].frames)
    with pytest.raises(RequestError, match=r"`sampler`.*did you mean 'ddim'"):
        pipe(clip, sampler="dimm")


def test_it_is_a_diffusers_pipeline(pipe: DubbingPipeline, clip: ClipSample, references: References) -> None:
    assert set(pipe.components) == {"networks", "scheduler"}
    assert pipe.to("cpu").device == torch.device("cpu")
    before = pipe.render(clip.frames[:1], clip.landmarks.slice(0, 1), references, seed=1)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, timestep_spacing="leading")
    assert (pipe.render(clip.frames[:1], clip.landmarks.slice(0, 1), references, seed=1) != before).any()


def test_slicing_and_memory_order_change_no_picture(pipe: DubbingPipeline, clip: ClipSample) -> None:
    [before] = pipe(clip, steps=1)
    pipe.enable_vae_slicing()
    pipe.enable_channels_last()
    [after] = pipe(clip, steps=1)
    assert np.abs(before.frames.astype(int) - after.frames.astype(int)).max() <= 1
    pipe.disable_vae_slicing()
    assert not pipe.networks.autoencoder.slicing


@pytest.mark.parametrize(
    "name", ["enable_attention_slicing", "enable_xformers_memory_efficient_attention", "enable_model_cpu_offload"]
)
def test_what_would_do_nothing_here_is_refused_with_the_reason(pipe: DubbingPipeline, name: str) -> None:
    with pytest.raises(RequestError, match=f"{name}.*not here"):
        getattr(pipe, name)()


@pytest.mark.slow
def test_a_compiled_model_makes_the_same_pictures(pipe: DubbingPipeline, clip: ClipSample) -> None:
    [plain] = pipe(clip, steps=2)
    pipe.compile()
    [compiled] = pipe(clip, steps=2)
    assert np.abs(plain.frames.astype(int) - compiled.frames.astype(int)).max() <= 1


# -- bad input ---------------------------------------------------------------------------------------------------------


def with_values(feature: AudioFeatures, values: np.ndarray) -> AudioFeatures:
    return dataclasses.replace(feature, values=values.astype(np.float32))


def unseen(clip: ClipSample) -> Landmarks:
    return hidden(clip.landmarks, list(range(len(clip.frames))))


BAD: dict[str, tuple[Callable[[ClipSample], dict[str, object]], str]] = {
    "frames that are not square": (lambda c: {"frames": c.frames[:, :, :30]}, "frames are"),
    "frames of floats": (lambda c: {"frames": c.frames.astype(np.float32)}, "frames are"),
    "no frames": (lambda c: {"frames": c.frames[:0]}, "at least one"),
    "fewer faces than frames": (lambda c: {"landmarks": c.landmarks.slice(0, 3)}, "one of each for every frame"),
    "fewer times than frames": (lambda c: {"times_s": np.arange(3.0)}, "one time for each"),
    "times that stand still": (lambda c: {"times_s": np.zeros(24)}, "later than the one before"),
    "times that are no numbers": (lambda c: {"times_s": np.full(24, np.nan)}, "finite"),
    "no sound": (lambda c: {"features": ()}, "features"),
    "sound of another kind": (lambda c: {"features": make_clip(1, features=("hubert",)).features}, "hubert"),
    "sound that is no number": (
        lambda c: {"features": [with_values(c.features[0], np.full_like(c.features[0].values, np.nan))]},
        "no numbers",
    ),
    "no face in any frame": (lambda c: {"landmarks": unseen(c)}, "no frame shows the face"),
    "no reference picture": (
        lambda c: {"references": References(frames=c.frames[:0], landmarks=c.landmarks.points[:1])},
        "at least one picture",
    ),
    "no reference face": (
        lambda c: {"references": References(frames=c.frames[:1], landmarks=c.landmarks.points[:0])},
        "at least one picture and one face",
    ),
    "a reference face half seen": (
        lambda c: {"references": References(frames=c.frames[:1], landmarks=unseen(c).points[:1])},
        "seen whole",
    ),
    "references of another size": (
        lambda c: {"references": References(frames=make_clip(1, size=64).frames, landmarks=c.landmarks.points[:1])},
        "crop_px.*32.*64",
    ),
    "another window": (
        lambda c: {"transform": make_clip(1, frames=24, size=32, window="face").transform},
        "window.*lower_face.*face",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_refused_by_name(pipe: DubbingPipeline, clip: ClipSample, what: str) -> None:
    change, said = BAD[what]
    with pytest.raises(RequestError, match=said):
        pipe(Shot.of(clip, **change(clip)), steps=1)
