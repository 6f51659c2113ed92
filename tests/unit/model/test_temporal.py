from __future__ import annotations

import pytest
import torch
from torch import Tensor

from model.temporal import TemporalAttention

NAN = float("nan")


@pytest.fixture
def attention() -> TemporalAttention:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = TemporalAttention(16, 8)
        torch.nn.init.normal_(net.out.weight)
        return net.requires_grad_(False)


def pictures(count: int) -> Tensor:
    return torch.randn(count, 16, 3, 3, generator=torch.Generator().manual_seed(1))


def moments(*rows: list[float]) -> Tensor:
    return torch.tensor(rows)


def test_it_starts_as_a_no_op() -> None:
    h = pictures(4)
    assert torch.equal(TemporalAttention(16, 8)(h, moments([0, 1], [0, 1])), h)


def test_a_frame_hears_of_its_window_and_of_no_other(attention: TemporalAttention) -> None:
    h, when = pictures(6), moments([0, 1, 2], [0, 1, 2])
    other = h.clone()
    other[2] *= -1
    before, after = attention(h, when), attention(other, when)
    assert (before[:2] - after[:2]).abs().amax(dim=(1, 2, 3)).gt(0.01).all()
    assert torch.equal(before[3:], after[3:])


def test_each_cell_looks_only_at_itself_in_other_frames(attention: TemporalAttention) -> None:
    h, when = pictures(2), moments([0, 1])
    other = h.clone()
    other[1, :, 0, 0] *= -1
    changed = (attention(h, when)[0] - attention(other, when)[0]).abs().amax(dim=0) > 0.01
    assert changed.nonzero().tolist() == [[0, 0]]


def test_nobody_looks_at_a_frame_in_which_nothing_is_seen(attention: TemporalAttention) -> None:
    h, when = pictures(3), moments([0, NAN, 2])
    other = h.clone()
    other[1] = 7.0
    before, after = attention(h, when), attention(other, when)
    assert torch.equal(before[[0, 2]], after[[0, 2]])
    assert before.isfinite().all()


def test_a_window_in_which_nothing_is_seen_at_all_is_still_a_number(attention: TemporalAttention) -> None:
    assert attention(pictures(2), moments([NAN, NAN])).isfinite().all()


def test_it_matters_how_far_apart_frames_are_but_not_when_the_window_is(attention: TemporalAttention) -> None:
    h = pictures(3)
    now, late, slower = (attention(h, moments(row)) for row in ([0, 1, 2], [90_000, 90_001, 90_002], [0, 2, 4]))
    assert torch.equal(now, late)
    assert (now - slower).abs().max() > 1e-4
