from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from model.config import ModelConfig
from model.denoiser import Denoiser
from model.networks import Networks
from model.reference import ReferenceEncoder
from shards.topology import topology
from tests.unit.model.conftest import awake

LAYOUT = topology("mediapipe131")


def inputs(batch: int = 2) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    z, source = (torch.randn(batch, 4, 8, 8, generator=generator) for _ in range(2))
    lm = torch.rand(batch, 131, 2, generator=generator) * 2 - 1
    return z, torch.ones(batch, 1, 8, 8), source, torch.full((batch,), 500), lm


def looks(reference: ReferenceEncoder, batch: int = 1) -> list[Any]:
    return reference(torch.randn(batch, 2, 4, 8, 8, generator=torch.Generator().manual_seed(4)))


@pytest.mark.parametrize("landmark_map", [False, True])
def test_new_conditions_start_as_no_ops(config: ModelConfig, landmark_map: bool) -> None:
    denoiser_config = config.denoiser.model_copy(update={"landmark_map": landmark_map})
    net, reference = Denoiser(4, LAYOUT, denoiser_config), ReferenceEncoder(4, denoiser_config)
    torch.nn.init.normal_(net.conv_out.weight)  # it starts at zero as well, and would hide everything
    told = net(*inputs(), looks(reference))
    untold = net(*inputs(), looks(reference), motion_scale=0.0, appearance_scale=0.0)
    assert told.abs().sum() > 0
    assert torch.equal(told, untold)


@pytest.mark.parametrize("switch", ["motion_scale", "appearance_scale"])
def test_a_trained_attention_counts_and_can_be_dropped_per_item(networks: Networks, switch: str) -> None:
    refs = looks(networks.reference)
    told = networks.denoiser(*inputs(), refs)
    half = networks.denoiser(*inputs(), refs, **{switch: torch.tensor([1.0, 0.0])})
    torch.testing.assert_close(told[0], half[0])
    assert (told[1] - half[1]).abs().max() > 1e-4


@pytest.mark.parametrize("switch", ["motion_attention", "appearance_attention"])
def test_an_attention_that_is_switched_off_has_no_weights(config: ModelConfig, switch: str) -> None:
    off = config.model_copy(update={"denoiser": config.denoiser.model_copy(update={switch: False})})
    with_it, without = Networks(config).sizes(), awake(Networks(off))
    assert without.sizes()["denoiser"] < with_it["denoiser"]
    z, mask, source, t, lm = inputs()
    refs = looks(without.reference)
    if switch == "motion_attention":
        assert torch.equal(
            without.denoiser(z, mask, source, t, lm, refs), without.denoiser(z, mask, source, t, -lm, refs)
        )
    else:
        others = without.reference(torch.zeros(1, 2, 4, 8, 8))
        assert torch.equal(
            without.denoiser(z, mask, source, t, lm, refs), without.denoiser(z, mask, source, t, lm, others)
        )


def test_lips_and_jaw_alone_can_be_the_condition(config: ModelConfig) -> None:
    only = config.model_copy(update={"denoiser": config.denoiser.model_copy(update={"landmarks": "content"})})
    nets = awake(Networks(only))
    z, mask, source, t, lm = inputs()
    refs, moved = looks(nets.reference), lm.clone()
    moved[:, list(LAYOUT.pose)] += 0.3
    assert torch.equal(nets.denoiser(z, mask, source, t, lm, refs), nets.denoiser(z, mask, source, t, moved, refs))


def test_the_landmarks_get_a_gradient(networks: Networks) -> None:
    z, mask, source, t, lm = inputs()
    lm.requires_grad_(True)
    networks.denoiser(z, mask, source, t, lm, looks(networks.reference)).square().sum().backward()
    assert lm.grad is not None
    assert (lm.grad.abs().sum(dim=(0, 2)) > 0).all()


def test_references_shared_by_neighbours_equal_references_given_to_each(networks: Networks) -> None:
    z = torch.randn(2, 2, 4, 8, 8, generator=torch.Generator().manual_seed(4))
    shared = networks.reference(z)
    each = networks.reference(z.repeat_interleave(2, dim=0))
    args = inputs(4)
    torch.testing.assert_close(networks.denoiser(*args, shared), networks.denoiser(*args, each))
