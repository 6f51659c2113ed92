from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor

from model.config import DiffusionConfig
from model.sampling import estimate, forward_process, guided, sample, sampler, shot_noise, target
from shards.errors import RequestError

Z = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))


# diffusers hands a tensor to numpy in a way that numpy 2 deprecates.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
@pytest.mark.parametrize("name", ["ddim", "dpmsolver++"])
@pytest.mark.parametrize("prediction", ["v_prediction", "epsilon", "sample"])
@pytest.mark.parametrize("steps", [1, 4, 20])
def test_who_knows_the_answer_samples_it(
    name: Literal["ddim", "dpmsolver++"], prediction: Literal["v_prediction", "epsilon", "sample"], steps: int
) -> None:
    config = DiffusionConfig(sampler=name, prediction=prediction)
    process = forward_process(config)

    def knows(z_t: Tensor, t: Tensor) -> Tensor:
        a = process.alphas_cumprod[t.long()].float()[:, None, None, None]
        noise = (z_t - a.sqrt() * Z) / (1 - a).sqrt()
        return target(process, config, Z, noise, t.long())

    made = sample(knows, shot_noise((4, 8, 8), 3, Z.device).expand(2, -1, -1, -1), sampler(config), steps)
    torch.testing.assert_close(made, Z, atol=0.02, rtol=0)


@pytest.mark.parametrize("prediction", ["v_prediction", "epsilon", "sample"])
def test_who_says_the_right_thing_is_solved_for_the_clean_latent(
    prediction: Literal["v_prediction", "epsilon", "sample"],
) -> None:
    config = DiffusionConfig(prediction=prediction)
    process, t = forward_process(config), torch.tensor([30, 600])
    noise = torch.randn(Z.shape, generator=torch.Generator().manual_seed(2))
    said = target(process, config, Z, noise, t)
    torch.testing.assert_close(estimate(process, config, process.add_noise(Z, noise, t), said, t), Z)


def test_one_seed_is_one_noise_and_another_is_another() -> None:
    a, b, c = (shot_noise((4, 8, 8), seed, Z.device) for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_no_steps_are_refused() -> None:
    with pytest.raises(RequestError, match="steps"):
        sample(lambda z, t: z, Z, sampler(DiffusionConfig()), 0)


def test_guidance_of_one_is_the_conditional_prediction() -> None:
    torch.testing.assert_close(guided(Z, torch.zeros_like(Z), 1.0), Z)
    torch.testing.assert_close(guided(Z, torch.zeros_like(Z), 2.0), 2 * Z)
