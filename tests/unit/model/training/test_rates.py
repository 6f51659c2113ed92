from __future__ import annotations

import pytest

from model.training.config import StageConfig
from model.training.rates import rate_at


def test_the_rate_rises_and_then_falls_along_a_cosine_to_its_floor() -> None:
    settings = StageConfig(steps=110, rate=2.0, warmup=10, floor=0.1)
    rates = [rate_at(settings, step) for step in range(111)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9] == pytest.approx(2.0)
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[60] == pytest.approx(2.0 * 0.55)
    assert rates[110] == pytest.approx(0.2)


def test_a_stage_of_an_old_run_keeps_its_rate() -> None:
    settings = StageConfig(steps=100, rate=2.0, warmup=10)
    assert {rate_at(settings, step) for step in range(10, 100)} == {2.0}
    assert not {"floor", "accumulate"} & settings.model_dump().keys()


def test_no_warm_up_begins_at_the_whole_rate() -> None:
    assert rate_at(StageConfig(steps=3, rate=2.0, warmup=0), 0) == 2.0
