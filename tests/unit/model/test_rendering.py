from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import torch

from model.choice import References
from model.config import ModelConfig
from model.errors import NonFinitePicture
from model.networks import Networks
from model.pipeline import DubbingPipeline
from model.shot import Sampling, Take
from shards.errors import RequestError
from shards.schema import ClipSample, Landmarks
from tests.support.clips import make_clip
from tests.unit.model.conftest import awake, nano

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


def take(pipe: DubbingPipeline, clip_seed: int, frames: int, *, seed: int, pictures: int = 2) -> Take:
    """Some frames of somebody, who says what he says."""
    clip = make_clip(clip_seed, frames=frames, size=32)
    return Take(
        frames=clip.frames,
        target=clip.landmarks,
        references=pipe.choose_references(clip.frames, clip.landmarks, pictures),
        seed=seed,
        times_s=clip.times.seconds(),
        features=clip.features,
        name=f"take {clip_seed}",
    )


# -- many at once ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["ddim", "dpmsolver++"])
def test_takes_rendered_together_are_what_each_is_alone(pipe: DubbingPipeline, sampler: str) -> None:
    takes = [take(pipe, 1, 5, seed=1), take(pipe, 2, 4, seed=2), take(pipe, 3, 3, seed=3, pictures=1)]
    how = Sampling(steps=2, batch_size=4)
    together = pipe.render_all(takes, how, sampler=sampler)
    for one, made in zip(takes, together, strict=True):
        assert_same(made, pipe.render_all([one], how, sampler=sampler)[0])


def assert_same(a: np.ndarray, b: np.ndarray) -> None:
    """But for the order in which sums are rounded."""
    assert np.abs(a.astype(int) - b.astype(int)).max() <= 1
    assert (a != b).mean() < 1e-3


def in_pieces(whole: Take, *edges: int) -> list[Take]:
    return [
        dataclasses.replace(whole, frames=whole.frames[a:b], target=whole.target.slice(a, b))
        for a, b in pairwise(edges)
    ]


def test_a_long_take_in_pieces_of_whole_batches_is_the_long_take_bit_for_bit(pipe: DubbingPipeline) -> None:
    whole, how = take(pipe, 1, 11, seed=1), Sampling(steps=2, batch_size=4)
    [made] = pipe.render_all([whole], how)
    pieces = [pipe.render_all([piece], how)[0] for piece in in_pieces(whole, 0, 4, 8, 11)]
    assert np.array_equal(np.concatenate(pieces), made)


def test_a_long_take_in_any_pieces_is_the_long_take(pipe: DubbingPipeline) -> None:
    whole, how = take(pipe, 1, 11, seed=1), Sampling(steps=2, batch_size=4)
    [made] = pipe.render_all([whole], how)
    assert_same(np.concatenate(pipe.render_all(in_pieces(whole, 0, 3, 10, 11), how)), made)


def test_progress_runs_over_all_takes(pipe: DubbingPipeline) -> None:
    heard: list[int] = []
    takes = [take(pipe, 1, 5, seed=1), take(pipe, 2, 4, seed=2)]
    pipe.render_all(takes, Sampling(steps=1, batch_size=8), on_progress=heard.append)
    assert heard == [8, 9]


def test_looks_are_kept_for_so_many_people_and_no_more(pipe: DubbingPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.rendering.LOOKS_KEPT", 2)
    calls: list[int] = []
    pipe.networks.reference.register_forward_hook(lambda module, given, made: calls.append(1))
    a, b, c = (take(pipe, n, 1, seed=n) for n in (1, 2, 3))
    for one in (a, b, a, c, a, b):
        pipe.render_all([one], Sampling(steps=1, batch_size=1))
    assert len(calls) == 4  # b was the one unused for longest when c came


# -- other models ------------------------------------------------------------------------------------------------------


def variant(**denoiser: object) -> DubbingPipeline:
    config = nano()
    config = ModelConfig.model_validate(
        {**config.model_dump(), "denoiser": {**config.denoiser.model_dump(), **denoiser}}
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return DubbingPipeline.from_networks(awake(Networks(config)).eval().requires_grad_(False))


def test_a_model_that_reads_audio_follows_it_and_asks_for_it() -> None:
    pipe = variant(landmarks="audio")
    own = take(pipe, 1, 3, seed=1)
    other = dataclasses.replace(own, features=make_clip(2, frames=3, size=32).features)
    a, b = pipe.render_all([own, other], Sampling(steps=1))
    assert (a != b).any()
    with pytest.raises(RequestError, match="reads audio"):
        pipe.render_all([dataclasses.replace(own, features=())], Sampling(steps=1))


def test_frames_look_at_their_neighbours_only_within_a_take() -> None:
    pipe = variant(temporal_attention=True)
    first, second = take(pipe, 1, 4, seed=1), take(pipe, 2, 3, seed=1)
    how = Sampling(steps=1, batch_size=8)
    alone, _ = pipe.render_all([first, second], how)
    assert np.array_equal(alone, pipe.render_all([first], how)[0])
    # Four in a batch of eight: what only fills it up is seen by nobody.
    assert_same(alone, pipe.render_all([first], Sampling(steps=1, batch_size=4))[0])
    one = dataclasses.replace(first, frames=first.frames[:1], target=first.target.slice(0, 1), times_s=None)
    assert (pipe.render_all([one], how)[0] != alone[:1]).any()


# -- precision and numbers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_near_full_precision(pipe: DubbingPipeline, dtype: torch.dtype) -> None:
    one, how = take(pipe, 1, 3, seed=1), Sampling(steps=2, batch_size=3)
    [full] = pipe.render_all([one], how)
    half = pipe.to(dtype)
    assert half.networks.dtype == dtype
    assert half.networks.completion.read_lips.weight.dtype == torch.float32
    [made] = half.render_all([one], how)
    assert np.abs(full.astype(int) - made.astype(int)).mean() < 2


def test_a_picture_that_is_no_number_is_an_error_that_names_the_step(pipe: DubbingPipeline) -> None:
    calls: list[int] = []

    def poison(module: object, given: object, made: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 2:
            made[1] = torch.nan
        return made

    pipe.networks.denoiser.register_forward_hook(poison)
    with pytest.raises(NonFinitePicture, match="take 4, frame 1: the picture is not finite at step 2 of 3"):
        pipe.render_all([take(pipe, 4, 2, seed=1)], Sampling(steps=3, batch_size=2))


def test_a_decoder_that_overflows_is_named_with_its_precision(pipe: DubbingPipeline) -> None:
    with torch.no_grad():
        pipe.networks.autoencoder.net.patch_out.bias[0] = torch.inf
    with pytest.raises(NonFinitePicture, match=r"in the decoder; bfloat16 may not hold"):
        pipe.to(torch.bfloat16).render_all([take(pipe, 1, 2, seed=1)], Sampling(steps=1))


@pytest.mark.parametrize("how", [{"batch_size": 0}, {"guidance": -1.0}, {"guidance": float("nan")}])
def test_sampling_that_makes_no_sense_is_refused(how: dict[str, float]) -> None:
    with pytest.raises(RequestError, match=next(iter(how))):
        Sampling(**how)  # type: ignore[arg-type]


@pytest.mark.parametrize("steps", [0, 1001])
def test_steps_beyond_the_process_are_refused(pipe: DubbingPipeline, steps: int) -> None:
    with pytest.raises(RequestError, match="steps"):
        pipe.render_all([take(pipe, 1, 1, seed=1)], Sampling(steps=steps))


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


def test_guidance_of_two_differs_from_one(pipe: DubbingPipeline, clip: ClipSample, references: References) -> None:
    a, b = (
        pipe.render(clip.frames, clip.landmarks, references, seed=1, steps=1, guidance=guidance)
        for guidance in (1.0, 2.0)
    )
    assert (a != b).any()
