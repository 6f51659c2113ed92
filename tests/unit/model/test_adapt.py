"""Completion learns from a title, is judged by another part of it, and is kept only if it helped there."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from model import adapt as adapting
from model.adapt import (
    MAY_FALL,
    SIDE_PX,
    Adaptation,
    AdaptSettings,
    Figures,
    adapt,
    adapted,
    judge,
    parted,
    without_picture,
)
from model.config import CompletionConfig
from model.landmarks import to_units
from model.networks import Networks
from model.training.loop import TrainResult
from shards.errors import RequestError
from shards.schema import ClipSample, FrameTimes, MediaTime, Span
from tests.support.clips import make_clip

QUICK = AdaptSettings(steps=2, rate=1e-3, min_gain=0.03)
BASE = Fraction(1, 25)


def at(clip: ClipSample, start: int) -> ClipSample:
    """The clip, as it lies in its title from frame `start` on."""
    span = Span(start=MediaTime(pts=start, base=BASE), end=MediaTime(pts=start + len(clip.frames), base=BASE))
    return replace(clip, provenance=replace(clip.provenance, span=span))


def title(count: int = 5, frames: int = 30) -> list[ClipSample]:
    """Clips of one person, each a shot of its own: half a second lies between them."""
    return [at(make_clip(seed, frames, size=32), seed * (frames + 12)) for seed in range(count)]


def poisoned(clip: ClipSample, rows: slice = slice(None)) -> ClipSample:
    points = clip.landmarks.points.copy()
    points[rows] = np.nan
    return replace(clip, landmarks=replace(clip.landmarks, points=points))


def judging(monkeypatch: pytest.MonkeyPatch, *said: Figures) -> None:
    """Has the judge say this, one after the other."""
    left = list(said)
    monkeypatch.setattr(adapting, "judge", lambda *_: left.pop(0))


def figures(lip_distance: float, correlation: float) -> Figures:
    return Figures(lip_distance=lip_distance, correlation=correlation)


def learned(made: Adaptation) -> dict[str, Tensor]:
    assert made.weights is not None
    return dict(made.weights)


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# -- what is kept ------------------------------------------------------------------------------------------------------


def test_what_helps_is_kept_and_the_model_itself_stays_as_it_was(
    networks: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    judging(monkeypatch, figures(0.05, 0.5), figures(0.04, 0.6))
    before = {name: value.clone() for name, value in networks.state_dict().items()}
    made = adapt(networks, title(), QUICK, seed=0)
    assert same(before, networks.state_dict())
    own = networks.completion.state_dict()
    assert {n: value.shape for n, value in learned(made).items()} == {n: value.shape for n, value in own.items()}
    assert not same(learned(made), own)
    assert made.why == "held-out lips 20.0% nearer, correlation of the opening 0.50 -> 0.60"
    assert made.told() == {
        "before": {"lip_distance": 0.05, "correlation": 0.5},
        "after": {"lip_distance": 0.04, "correlation": 0.6},
        "kept": True,
        "steps": 2,
        "seconds_of_speech": 4.8,
        "why": made.why,
    }


@pytest.mark.parametrize(
    ("after", "why"),
    [
        (figures(0.0490, 0.6), "2.0% nearer, correlation of the opening 0.50 -> 0.60; at least 3% nearer is asked"),
        (figures(0.0600, 0.6), "20.0% further off, correlation of the opening 0.50 -> 0.60; at least 3% nearer"),
        (figures(0.0400, 0.4), "20.0% nearer, correlation of the opening 0.50 -> 0.40; it must not fall"),
        (figures(0.0400, float("nan")), "the mouth does not move"),
        (figures(float("nan"), 0.6), "the mouth does not move"),
    ],
)
def test_what_does_not_help_is_not_kept_and_the_reason_is_said(
    networks: Networks, monkeypatch: pytest.MonkeyPatch, after: Figures, why: str
) -> None:
    judging(monkeypatch, figures(0.05, 0.5), after)
    made = adapt(networks, title(), QUICK, seed=0)
    assert made.weights is None
    assert why in made.why
    assert made.before == figures(0.05, 0.5)


def test_a_correlation_that_falls_by_chance_alone_is_no_reason(
    networks: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    judging(monkeypatch, figures(0.05, 0.5), figures(0.04, 0.5 - MAY_FALL / 2))
    assert adapt(networks, title(), QUICK, seed=0).weights is not None


def test_the_same_title_gives_the_same_bytes_and_another_seed_others(
    networks: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    judging(monkeypatch, *[figures(0.05, 0.5), figures(0.04, 0.6)] * 3)
    first, second, other = (learned(adapt(networks, title(), QUICK, seed=seed)) for seed in (0, 0, 1))
    assert same(first, second)
    assert not same(first, other)


def test_the_order_in_which_clips_come_does_not_matter(networks: Networks, monkeypatch: pytest.MonkeyPatch) -> None:
    judging(monkeypatch, *[figures(0.05, 0.5), figures(0.04, 0.6)] * 2)
    one, two = (learned(adapt(networks, clips, QUICK, seed=0)) for clips in (title(), title()[::-1]))
    assert same(one, two)


def test_nothing_is_left_on_the_disk(networks: Networks, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    adapt(networks, title(), QUICK, seed=0)
    assert list(tmp_path.iterdir()) == []


# -- what cannot be learned from ---------------------------------------------------------------------------------------


def test_poison_clips_are_left_out_and_change_nothing(networks: Networks, monkeypatch: pytest.MonkeyPatch) -> None:
    judging(monkeypatch, *[figures(0.05, 0.5), figures(0.04, 0.6)] * 2)
    unseen, deaf, short = poisoned(title(7)[5]), title(7)[6], at(make_clip(9, 10, size=32), 999)
    noise = replace(deaf.features[0], values=np.full_like(deaf.features[0].values, np.nan))
    clips = [*title(), unseen, replace(deaf, features=(noise,)), short]
    with_them, without = adapt(networks, clips, QUICK, seed=0), adapt(networks, title(), QUICK, seed=0)
    assert same(learned(with_them), learned(without))
    assert with_them.told() == without.told()


def test_frames_in_which_the_face_is_not_seen_do_no_harm(networks: Networks) -> None:
    clips = [poisoned(clip, slice(3, 6)) for clip in title()]
    made = adapt(networks, clips, QUICK, seed=0)
    assert made.before is not None
    assert made.after is not None
    assert np.isfinite([made.before.lip_distance, made.after.lip_distance]).all()


@pytest.mark.parametrize("clips", [title(0), title(1), [poisoned(clip) for clip in title()]])
def test_a_title_without_clips_to_judge_by_is_left_alone(networks: Networks, clips: list[ClipSample]) -> None:
    made = adapt(networks, clips, QUICK, seed=0)
    assert (made.weights, made.before, made.after, made.steps) == (None, None, None, 0)
    assert "too few to learn from some and be judged by others" in made.why


def test_somebody_who_is_only_seen_in_the_held_out_part_does_not_judge(networks: Networks) -> None:
    clips = [*title(4), replace(title(5)[4], identity="somebody else")]
    assert "too few" in adapt(networks, clips, QUICK, seed=0).why


def test_a_mouth_that_never_moves_judges_nothing(networks: Networks) -> None:
    still = [replace(c, landmarks=replace(c.landmarks, points=c.landmarks.points[:1].repeat(30, 0))) for c in title()]
    made = adapt(networks, still, QUICK, seed=0)
    assert made.weights is None
    assert "nobody's mouth moves" in made.why


def test_training_that_breaks_off_leaves_the_model_as_it_is(networks: Networks) -> None:
    made = adapt(networks, title(), AdaptSettings(steps=5, rate=1e30), seed=0)
    assert made.weights is None
    assert made.before is not None
    assert made.why.startswith("training broke off")


def test_an_interrupt_is_not_taken_for_a_result(networks: Networks, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = TrainResult(folder="", finished=False, trained={}, digest="", seconds=0.0)
    monkeypatch.setattr(adapting, "train", lambda *_: stopped)
    with pytest.raises(KeyboardInterrupt):
        adapt(networks, title(), QUICK, seed=0)


def test_clips_of_another_condition_are_refused(networks: Networks) -> None:
    with pytest.raises(RequestError, match="topology"):
        adapt(networks, [make_clip(1, 30, size=32, topology="ibug68")], QUICK, seed=0)


# -- which clips judge -------------------------------------------------------------------------------------------------


def starts(clips: Sequence[ClipSample]) -> list[int]:
    return [clip.provenance.span.start.pts for clip in clips]


def test_the_last_fifth_by_time_judges() -> None:
    taught, judged = parted(title(10)[::-1])
    assert starts(taught) == [42 * place for place in range(8)]
    assert starts(judged) == [42 * 8, 42 * 9]


def test_the_cut_between_two_shots_is_preferred() -> None:
    clips = [without_picture(clip) for clip in title(10)]
    # The eighth and the ninth are one shot: it goes on at once, and the face is where it was.
    still = replace(clips[7].transform, matrices=clips[7].transform.matrices[:1].repeat(30, 0))
    clips[7], clips[8] = replace(clips[7], transform=still), replace(clips[8], transform=still)
    clips[8] = at(clips[8], clips[7].provenance.span.end.pts)
    assert len(parted(clips)[0]) in (7, 9)
    # Elsewhere in the picture, the next moment is the next shot.
    moved = replace(still, matrices=still.matrices + np.array([[0, 0, 5], [0, 0, 0]]))
    clips[8] = replace(clips[8], transform=moved)
    assert len(parted(clips)[0]) == 8


def test_a_title_of_one_shot_is_parted_all_the_same() -> None:
    clips = [without_picture(make_clip(1, 30, size=32))] * 5
    still = replace(clips[0].transform, matrices=clips[0].transform.matrices[:1].repeat(30, 0))
    clips = [at(replace(clip, transform=still), 30 * place) for place, clip in enumerate(clips)]
    assert [len(part) for part in parted(clips)] == [4, 1]


# -- clips as completion sees them -------------------------------------------------------------------------------------


def test_a_clip_comes_to_completions_clock_without_its_picture() -> None:
    clip = make_clip(1, 61, size=32)
    double = replace(clip, times=FrameTimes(pts=clip.times.pts, base=clip.times.base / 2))
    bare = without_picture(double)
    np.testing.assert_allclose(bare.times.seconds(), np.arange(31) / 25)
    assert bare.frames.shape == (31, SIDE_PX, SIDE_PX, 3)
    want = to_units(double.landmarks.points[::2], 32)
    np.testing.assert_allclose(to_units(bare.landmarks.points, SIDE_PX), want, atol=1e-5)
    there = [c.transform.to_source(c.landmarks.points) for c in (replace(double, transform=clip.transform), bare)]
    np.testing.assert_allclose(there[0][::2], there[1], atol=1e-3)
    assert bare.features == clip.features


# -- the judge ---------------------------------------------------------------------------------------------------------


class Copyist(nn.Module):
    """Speaks with the mouths it is shown: a completion must not be able to gain by that."""

    config = CompletionConfig(window_frames=10, overlap_frames=4)

    def forward(self, audio: Tensor, lm_BTP2: Tensor, seen_BT: Tensor, ref_BNP2: Tensor) -> Tensor:
        return lm_BTP2


def test_the_correlation_is_not_read_off_the_faces_under_the_speech(networks: Networks) -> None:
    networks.completion = Copyist()  # type: ignore[assignment]
    clips = [without_picture(clip) for clip in title()]
    said = judge(networks, clips, {"person-0": torch.zeros(3, 131, 2)})
    assert said.lip_distance == pytest.approx(0, abs=1e-5)
    assert said.correlation < 0.5


def test_longer_clips_count_for_more(networks: Networks) -> None:
    clips = [without_picture(make_clip(seed, frames, size=32)) for seed, frames in ((1, 30), (2, 90))]
    faces = {"person-0": torch.from_numpy(to_units(clips[0].landmarks.points[:3], SIDE_PX))}
    short, long = (judge(networks, [clip], faces).lip_distance for clip in clips)
    assert judge(networks, clips, faces).lip_distance == pytest.approx((30 * short + 90 * long) / 120)


# -- the model with it -------------------------------------------------------------------------------------------------


def test_an_adapted_model_shares_all_but_completion(networks: Networks) -> None:
    weights = {name: value + 1 for name, value in networks.completion.state_dict().items()}
    before = {name: value.clone() for name, value in networks.state_dict().items()}
    made = adapted(networks, weights)
    assert made.denoiser is networks.denoiser
    assert made.reference is networks.reference
    assert made.autoencoder is networks.autoencoder
    assert same(dict(made.completion.state_dict()), weights)
    assert same(before, networks.state_dict())
    assert made.device == networks.device
    assert made.sizes() == networks.sizes()
