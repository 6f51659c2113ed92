from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pytest

from flows.watching.alarms import Alarm, AlarmName, Alarms
from tests.support.steps import step_report


def heard(alarms: Alarms, losses: Iterable[float], **changes: Any) -> list[Alarm]:
    """What rings while these losses are reported."""
    rung = []
    for step, loss in enumerate(losses, start=1):
        rung += alarms.see(step_report(step, loss=loss, **changes))
    return rung


def test_a_healthy_run_is_left_in_peace() -> None:
    assert not heard(Alarms(), [2.0 - 0.001 * step for step in range(500)])


@pytest.mark.parametrize(
    "changes", [{"loss": math.nan}, {"grad_norm": math.inf}, {"parts": {"points": 1.0, "closure": math.nan}}]
)
def test_what_is_no_number_is_told_at_its_first_step(changes: dict[str, Any]) -> None:
    (alarm,) = Alarms().see(step_report(7, **changes))
    assert (alarm.name, alarm.step, alarm.stage) == (AlarmName.NOT_A_NUMBER, 7, "completion")


def test_a_loss_far_over_its_running_median_is_a_divergence_told_once() -> None:
    rung = heard(Alarms(), [1.0] * 100 + [5.0] * 20)
    assert [alarm.name for alarm in rung] == [AlarmName.DIVERGING]
    assert 100 < rung[0].step <= 105


def test_one_bad_batch_is_no_divergence() -> None:
    assert not heard(Alarms(), [1.0] * 100 + [10.0] + [1.0] * 100)


def test_another_stage_is_compared_with_itself() -> None:
    alarms = Alarms()
    heard(alarms, [0.01] * 100)
    assert not heard(alarms, [1.0] * 100, stage="diffusion")


def test_a_sync_loss_that_stays_at_a_coins_cross_entropy_is_told() -> None:
    rung = heard(Alarms(), [0.6931 + 0.001 * (-1) ** step for step in range(250)], stage="sync")
    assert [alarm.name for alarm in rung] == [AlarmName.SYNC_STUCK]
    assert not heard(Alarms(), [0.6931] * 100 + [0.6] * 150, stage="sync")
    assert not heard(Alarms(), [0.6931] * 250)


def test_the_level_at_which_a_part_knows_nothing_can_be_told() -> None:
    alarms = Alarms(knows_nothing_at={"sync": 0.05})
    rung = heard(alarms, [1.0] * 250, parts={"sync": 0.05, "pixel": 0.95}, stage="refine")
    assert [alarm.name for alarm in rung] == [AlarmName.SYNC_STUCK]


def test_waiting_for_data_over_a_fifth_of_the_time_is_told_and_again_after_it_was_mended() -> None:
    alarms = Alarms()
    assert not heard(alarms, [1.0] * 100, waited_s=0.015)
    (first,) = heard(alarms, [1.0] * 100, waited_s=0.03)
    assert first.name is AlarmName.DATA_STARVED
    assert not heard(alarms, [1.0] * 100, waited_s=0.001)
    assert len(heard(alarms, [1.0] * 100, waited_s=0.09)) == 1
