from __future__ import annotations

import torch

from model.loss import LossWeights, autoencoder_loss, completion_loss, diffusion_loss, region_weight
from shards.topology import topology

LAYOUT, WEIGHTS = topology("mediapipe131"), LossWeights()


def test_a_perfect_completion_costs_nothing() -> None:
    lm, seen = torch.rand(2, 5, 131, 2), torch.ones(2, 5, dtype=torch.bool)
    assert all(float(part) == 0 for part in completion_loss(lm, lm, seen, LAYOUT, WEIGHTS).values())


def test_an_unseen_frame_costs_nothing_whatever_is_said() -> None:
    true, seen = torch.rand(1, 5, 131, 2), torch.ones(1, 5, dtype=torch.bool)
    seen[0, 2] = False
    hat = true.clone()
    hat[0, 2] += 7.0
    assert all(float(part) == 0 for part in completion_loss(hat, true, seen, LAYOUT, WEIGHTS).values())


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


def test_the_diffusion_loss_counts_where_the_weight_is() -> None:
    true, hat = torch.zeros(1, 4, 4, 4), torch.ones(1, 4, 4, 4)
    weight = torch.zeros(1, 1, 4, 4)
    weight[..., :2] = 2.0
    assert float(diffusion_loss(hat, true, weight)) == 1.0
    hat[..., :2] = 0.0
    assert float(diffusion_loss(hat, true, weight)) == 0.0


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
    parts = autoencoder_loss(flat, sharp, weight, WEIGHTS)
    assert parts["gradient"] > 0.05
    assert all(float(part) == 0 for part in autoencoder_loss(sharp, sharp, weight, WEIGHTS).values())
