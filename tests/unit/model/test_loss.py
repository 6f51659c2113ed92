from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor

from model.config import DiffusionConfig
from model.loss import (
    SHUT,
    LossWeights,
    autoencoder_sums,
    completion_loss,
    diffusion_sum,
    means,
    min_snr,
    picture_sum,
    region_weight,
)
from model.sampling import forward_process, signal_to_noise
from shards.topology import topology

LAYOUT, WEIGHTS = topology("mediapipe131"), LossWeights(closure=1.0, timing=1.0, spread=1.0)


def mouths(gaps: list[float], eyes: float) -> Tensor:
    """(1, T, P, 2): faces whose eyes are `eyes` apart and whose inner lips are `gaps` apart, in that unit."""
    lm = torch.zeros(1, len(gaps), 131, 2)
    lm[:, :, list(LAYOUT.right_eye), 0] = eyes
    lm[0, :, LAYOUT.inner_lip_mid[1], 1] = eyes * torch.tensor(gaps)
    return lm


def test_a_perfect_completion_costs_nothing() -> None:
    lm, seen = torch.rand(2, 5, 131, 2), torch.ones(2, 5, dtype=torch.bool)
    assert all(abs(float(part)) < 1e-6 for part in completion_loss(lm, lm, seen, LAYOUT, WEIGHTS).values())


def test_an_unseen_frame_costs_nothing_whatever_is_said() -> None:
    true, seen = torch.rand(1, 5, 131, 2), torch.ones(1, 5, dtype=torch.bool)
    seen[0, 2] = False
    hat = true.clone()
    hat[0, 2] += 7.0
    assert all(abs(float(part)) < 1e-6 for part in completion_loss(hat, true, seen, LAYOUT, WEIGHTS).values())


def test_a_mouth_that_trembles_costs_more_than_one_that_is_off() -> None:
    true, seen = torch.zeros(1, 10, 131, 2), torch.ones(1, 10, dtype=torch.bool)
    off = true + 0.1
    trembling = true + 0.1 * torch.tensor([1.0, -1.0]).repeat(5)[None, :, None, None]
    costs = [sum(completion_loss(hat, true, seen, LAYOUT, WEIGHTS).values()) for hat in (off, trembling)]
    assert costs[1] > costs[0]


def test_a_closed_mouth_where_it_should_be_open_is_named() -> None:
    true, seen = torch.zeros(1, 4, 131, 2), torch.ones(1, 4, dtype=torch.bool)
    true[:, :, LAYOUT.inner_lip_mid[1], 1] = 0.2
    parts = completion_loss(torch.zeros_like(true), true, seen, LAYOUT, WEIGHTS)
    assert abs(float(parts["opening"]) - 0.2) < 1e-4


@pytest.mark.parametrize("eyes", [0.4, 0.8])
def test_an_open_mouth_where_it_should_be_shut_costs_by_how_far_it_is_open_in_eye_distances(eyes: float) -> None:
    seen = torch.ones(1, 4, dtype=torch.bool)
    seen[0, 3] = False
    true = mouths([0.0, 0.5 * SHUT, 0.2, 0.0], eyes)
    hat = mouths([0.1, 0.1, 0.4, 0.9], eyes)  # the third one may be open, the fourth is not seen
    closure = completion_loss(hat, true, seen, LAYOUT, WEIGHTS)["closure"]
    assert float(closure) == pytest.approx((0.1 + 0.1 - 0.5 * SHUT) / 2, abs=1e-4)


def test_a_mouth_that_shuts_where_it_should_costs_nothing_more() -> None:
    seen, hat = torch.ones(1, 3, dtype=torch.bool), mouths([0.0, 0.0, 0.3], 0.8)
    assert float(completion_loss(hat, mouths([0.0, 0.02, 0.2], 0.8), seen, LAYOUT, WEIGHTS)["closure"]) < 1e-5


def test_where_no_mouth_is_shut_the_term_is_nothing_and_not_a_nan() -> None:
    seen, hat = torch.ones(1, 2, dtype=torch.bool), mouths([0.4, 0.3], 0.8).requires_grad_(True)
    part = completion_loss(hat, mouths([0.1, 0.2], 0.8), seen, LAYOUT, WEIGHTS)["closure"]
    part.backward()
    assert hat.grad is not None
    assert float(part.detach()) == float(hat.grad.abs().sum()) == 0


def test_a_run_that_began_without_the_closure_term_goes_on_without_it() -> None:
    lm, seen = torch.rand(1, 5, 131, 2), torch.ones(1, 5, dtype=torch.bool)
    assert "closure" not in completion_loss(lm, lm, seen, LAYOUT, LossWeights())


@pytest.mark.parametrize("prediction", ["v_prediction", "epsilon", "sample"])
def test_min_snr_weighs_the_same_mistake_alike_whatever_is_predicted(
    prediction: Literal["v_prediction", "epsilon", "sample"],
) -> None:
    """An error of z by d is one of the noise by d sqrt(SNR), and one of v by d sqrt(SNR + 1)."""
    process, t = forward_process(DiffusionConfig()), torch.tensor([5, 300, 900])
    snr = signal_to_noise(process, t)
    squares = {"sample": torch.ones(3), "epsilon": snr, "v_prediction": snr + 1}[prediction]
    torch.testing.assert_close(min_snr(snr, prediction, 5.0) * squares, snr.clamp_max(5.0))
    assert snr[0] > 5.0 > snr[1]


def test_a_share_scales_what_an_item_adds_and_not_what_it_is_divided_by() -> None:
    true, hat, weight = torch.zeros(2, 4, 4, 4), torch.ones(2, 4, 4, 4), torch.ones(2, 1, 4, 4)
    assert float(diffusion_sum(hat, true, weight, torch.tensor([1.0, 0.0])) / weight.sum()) == 0.5


def test_a_decoded_picture_is_judged_where_the_weight_is() -> None:
    true, hat, weight = torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 0.5), torch.zeros(1, 1, 4, 4)
    weight[..., 0] = 2.0
    assert float(picture_sum(hat, true, weight) / weight.sum()) == 0.5
    hat[..., 0] = 0.0
    assert float(picture_sum(hat, true, weight) / weight.sum()) == 0.0


def test_the_diffusion_loss_counts_where_the_weight_is() -> None:
    true, hat = torch.zeros(1, 4, 4, 4), torch.ones(1, 4, 4, 4)
    weight = torch.zeros(1, 1, 4, 4)
    weight[..., :2] = 2.0
    assert float(diffusion_sum(hat, true, weight) / weight.sum()) == 1.0
    hat[..., :2] = 0.0
    assert float(diffusion_sum(hat, true, weight) / weight.sum()) == 0.0


def test_the_mouth_weighs_most_and_unseen_frames_nothing() -> None:
    lm, seen = torch.zeros(2, 131, 2), torch.tensor([True, False])
    mask = torch.zeros(1, 8, 8)
    mask[:, 2:, 2:6] = 1
    weight = region_weight(mask, lm, seen, LAYOUT, WEIGHTS)
    assert weight[0, 0, 3, 3] > weight[0, 0, 7, 3] > weight[0, 0, 0, 0] > 0
    assert weight[1].abs().sum() == 0


def test_the_autoencoder_pays_for_blur() -> None:
    sharp = torch.rand(1, 3, 16, 16)
    weight = torch.ones(1, 1, 16, 16)
    flat = sharp.mean().expand_as(sharp)
    counts = dict.fromkeys(("picture", "gradient"), weight.sum())
    parts = means(autoencoder_sums(flat, sharp, weight, WEIGHTS), counts)
    assert parts["gradient"] > 0.05
    assert all(float(part) == 0 for part in autoencoder_sums(sharp, sharp, weight, WEIGHTS).values())
    # Of a picture whose differences are all 1: each direction's mean is 1, however many there are.
    steps = torch.arange(16.0).expand(1, 3, 16, 16)
    sloped = means(autoencoder_sums(steps, torch.zeros_like(steps), weight, WEIGHTS), counts)
    assert float(sloped["gradient"]) == pytest.approx(WEIGHTS.gradient)


SAID, SEEN = [0.0, 0.3, 0.1, 0.4, 0.0, 0.2], torch.ones(1, 6, dtype=torch.bool)


def of_openings(hat: list[float], true: list[float]) -> dict[str, float]:
    parts = completion_loss(mouths(hat, 1.0), mouths(true, 1.0), SEEN, LAYOUT, WEIGHTS)
    return {name: float(part) for name, part in parts.items()}


def test_timing_asks_when_the_mouth_opens_and_not_how_far() -> None:
    half, late, against = [0.5 * x for x in SAID], [0.0, *SAID[:-1]], [0.4 - x for x in SAID]
    assert of_openings(half, SAID)["timing"] < 0.01
    assert of_openings(late, SAID)["timing"] > 0.5
    assert of_openings(against, SAID)["timing"] == pytest.approx(2.0, abs=0.01)


def test_spread_asks_how_far_the_mouth_moves_and_not_when() -> None:
    half, late = [0.5 * x for x in SAID], [*SAID[1:], SAID[0]]
    assert of_openings(late, SAID)["spread"] < 0.25 * of_openings(half, SAID)["spread"]
    # A constant further gap is neither: the mouth moves as it should.
    assert of_openings([x + 0.2 for x in SAID], SAID)["spread"] < 1e-3


@pytest.mark.parametrize("still", ["hat", "true", "both"])
def test_a_mouth_at_rest_has_finite_slopes(still: str) -> None:
    rest = [0.1] * 6
    hat = mouths(rest if still != "true" else SAID, 1.0).requires_grad_()
    true = mouths(rest if still != "hat" else SAID, 1.0)
    sum(completion_loss(hat, true, SEEN, LAYOUT, WEIGHTS).values()).backward()  # type: ignore[union-attr]
    assert hat.grad is not None
    assert hat.grad.isfinite().all()
