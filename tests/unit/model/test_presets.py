from __future__ import annotations

import pytest
import torch

from model.networks import Networks
from model.presets import PRESETS, preset
from model.training.config import RECIPES, recipe
from shards.errors import RequestError


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_builds_and_has_a_recipe(name: str) -> None:
    with torch.device("meta"):  # shapes without memory: `large` has close to a thousand million weights
        networks = Networks(preset(name))
    assert set(networks.sizes()) == {"autoencoder", "completion", "reference", "denoiser"}
    assert recipe(name).model == preset(name)
    assert set(RECIPES) == set(PRESETS)


@pytest.mark.parametrize(("name", "limit"), [("tiny", 2.2e6), ("compact", 20e6)])
def test_small_presets_stay_small(name: str, limit: float) -> None:
    with torch.device("meta"):
        assert sum(Networks(preset(name)).sizes().values()) <= limit


def test_an_unknown_preset_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(RequestError, match="did you mean 'compact'"):
        preset("compcat")
