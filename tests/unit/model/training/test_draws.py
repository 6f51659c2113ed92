from __future__ import annotations

import torch

from model.training.draws import Draws, seed_of


def test_an_item_draws_the_same_whoever_is_beside_it() -> None:
    together, alone = Draws([(1, 2), (3, 4)]), Draws([(3, 4)])
    for draw in (lambda d: d.uniform(3), lambda d: d.normal(2, 2), lambda d: d.whole(1000, 4)):
        assert torch.equal(draw(together)[1:], draw(alone))


def test_items_differ_and_draws_of_one_item_do() -> None:
    draws = Draws([(0, 0), (0, 1)])
    first, second = draws.normal(4), draws.normal(4)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, second)


def test_keys_of_other_lengths_are_other_keys() -> None:
    assert len({seed_of(1), seed_of(1, 0), seed_of(1, 0, 0), seed_of(0, 1)}) == 4
