from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from model.config import ModelConfig
from model.networks import Networks
from model.presets import PRESETS, preset
from model.sizes import _flops, _peak, model_size, peaks


def test_shapes_alone_give_what_values_give(config: ModelConfig, networks: Networks) -> None:
    size = model_size(config, batch_size=3)
    assert size.activations == peaks(networks, batch_size=3)
    assert size.parameters == networks.sizes()


def test_the_peak_is_what_is_alive_at_once() -> None:
    x = torch.zeros(1000)

    def call() -> Tensor:
        for _ in range(5):
            y = x + 1  # 4000 bytes; the last turn's are still there when the next one's are made
        return y.view(10, 100)

    assert _peak(call) == 8000


def test_a_view_of_what_was_there_costs_nothing() -> None:
    x = torch.zeros(1000)
    assert _peak(lambda: x.view(10, 100)[:5].t()) == 0


def test_flops_are_two_for_each_multiplication_and_addition() -> None:
    linear = nn.Linear(8, 16, bias=False)
    assert _flops(lambda: linear(torch.zeros(4, 8))) == 2 * 4 * 8 * 16
    q, k = torch.zeros(1, 2, 5, 8), torch.zeros(1, 2, 7, 8)
    attended = _flops(lambda: nn.functional.scaled_dot_product_attention(q, k, k))
    assert attended == 2 * (2 * 2 * 5 * 7 * 8)


def test_half_precision_halves_all_but_completion(config: ModelConfig) -> None:
    size = model_size(config)
    whole, half = size.weight_bytes("float32"), size.weight_bytes("bfloat16")
    assert half["denoiser"] == whole["denoiser"] / 2
    assert half["completion"] == whole["completion"]
    assert half["all"] == sum(half.values()) - half["all"]


def test_a_batch_of_twice_as_many_holds_about_twice_as_much(config: ModelConfig) -> None:
    four, eight = (model_size(config, n).activations["decode"] for n in (4, 8))
    assert eight == pytest.approx(2 * four, rel=0.05)


@pytest.mark.parametrize("name", ["base", "large"])
def test_a_large_model_is_sized_without_being_made(name: str) -> None:
    size = model_size(preset(name))
    assert size.parameters["denoiser"] > 5e8
    assert size.activations["decode"] > 1e9


def test_compact_is_as_small_as_promised() -> None:
    size = model_size(preset("compact"))
    assert sum(size.parameters.values()) <= 20e6
    assert size.told()["weights_mb"]["float16"]["all"] <= 60


def test_every_preset_is_known_to_inspect() -> None:
    from flows.explain.target import PRESETS as KNOWN

    assert set(KNOWN) == set(PRESETS)
