from __future__ import annotations

import torch
from torch import nn

from model.ema import Ema


def test_the_mean_follows_slowly_and_can_be_copied_back() -> None:
    net = nn.Linear(1, 1, bias=False)
    net.weight.data.fill_(0.0)
    ema = Ema(net, decay=0.9)
    net.weight.data.fill_(1.0)
    seen = []
    for _ in range(200):
        ema.update(net)
        seen.append(float(ema.mean["weight"]))
    assert 0 < seen[0] <= 1
    assert seen == sorted(seen)
    net.weight.data.fill_(5.0)
    ema.copy_to(net)
    assert abs(net.weight.item() - 1.0) < 1e-3


def test_frozen_weights_are_not_followed() -> None:
    net = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1).requires_grad_(False))
    assert set(Ema(net, 0.9).mean) == {"0.weight", "0.bias"}


def test_a_loaded_mean_goes_on_as_before() -> None:
    net = nn.Linear(2, 2)
    first, second = Ema(net, 0.9), Ema(net, 0.9)
    with torch.no_grad():
        net.weight += 1
    first.update(net)
    second.load({name: value.clone() for name, value in first.mean.items()}, first.steps)
    first.update(net)
    second.update(net)
    assert torch.equal(first.mean["weight"], second.mean["weight"])
