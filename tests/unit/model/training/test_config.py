from __future__ import annotations

import pytest

from model.training.config import STAGE_NAMES, recipe
from shards.errors import RequestError


def test_a_share_of_a_recipe_has_that_share_of_every_stage() -> None:
    whole, part = recipe("tiny"), recipe("tiny").scaled(0.1)
    for name in STAGE_NAMES:
        assert part.stage(name).steps == round(whole.stage(name).steps * 0.1)
    assert recipe("base").scaled(1e-9).autoencoder.steps == 0
    assert recipe("base").scaled(1e-9).joint.steps == 1


def test_no_share_and_an_unknown_recipe_are_refused() -> None:
    with pytest.raises(RequestError, match="share"):
        recipe("tiny").scaled(0)
    with pytest.raises(RequestError, match="tiny"):
        recipe("tini")
