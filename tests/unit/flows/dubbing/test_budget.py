"""Hours of renderers."""

from __future__ import annotations

from flows.dubbing.budget import Budget


def test_time_is_counted_for_every_renderer_that_is_held() -> None:
    now = [0.0]
    budget = Budget(1.0, clock=lambda: now[0])
    now[0] = 1000.0
    assert budget.used_s == 0
    budget.held({"render": 2, "analyse": 7})
    now[0] = 1500.0
    budget.held({"render": 1})
    now[0] = 2500.0
    assert budget.used_s == 2 * 500 + 1000
    assert not budget.is_used_up
    now[0] = 4100.0
    assert budget.is_used_up


def test_without_a_limit_it_is_never_used_up() -> None:
    now = [0.0]
    budget = Budget(None, clock=lambda: now[0])
    budget.held({"render": 8})
    now[0] = 1e9
    assert not budget.is_used_up
