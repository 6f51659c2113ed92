from __future__ import annotations

import pytest

from model.loss import LossWeights
from model.training.config import RECIPES, STAGE_NAMES, RefineConfig, TrainConfig, recipe
from shards.errors import RequestError


def test_a_share_of_a_recipe_has_that_share_of_every_stage() -> None:
    whole, part = recipe("tiny"), recipe("tiny").scaled(0.1)
    for name in STAGE_NAMES:
        assert part.stage(name).steps == round(whole.stage(name).steps * 0.1)
    assert recipe("base").scaled(1e-9).autoencoder.steps == 0
    assert recipe("base").scaled(1e-9).joint.steps == 1


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_shuts_mouths_and_leaves_the_pixels_to_who_asks(name: str) -> None:
    config = recipe(name)
    assert config.weights.closure > 0
    assert config.refine.steps == 0


def test_what_is_younger_than_a_saved_run_is_written_only_where_it_says_something() -> None:
    """So that the config of an old run compares equal to itself."""
    silent = recipe("tiny").model_copy(update={"weights": LossWeights()})
    written = silent.model_dump()
    assert not {"refine", "checkpointing"} & written.keys()
    assert not {"closure", "pixel", "perceptual", "sync"} & written["weights"].keys()
    said = silent.model_copy(update={"refine": RefineConfig(steps=7), "checkpointing": True})
    assert said.model_dump()["refine"]["steps"] == 7
    assert all(TrainConfig.model_validate(c.model_dump(mode="json")) == c for c in (silent, said))


def test_no_share_and_an_unknown_recipe_are_refused() -> None:
    with pytest.raises(RequestError, match="share"):
        recipe("tiny").scaled(0)
    with pytest.raises(RequestError, match="tiny"):
        recipe("tini")
