from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from model.perceptual import SCALE, SHIFT, lpips, pyramid
from shards.errors import RequestError

NET = pyramid()


def texture(seed: int = 0, side: int = 64) -> Tensor:
    fine = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return avg_pool2d(fine, 3, 1, 1)


def test_a_picture_is_as_itself() -> None:
    assert float(NET(texture(), texture())) == 0


def test_blur_costs_far_more_than_a_change_of_brightness_of_the_same_square_error() -> None:
    x = texture()
    blurred = interpolate(avg_pool2d(x, 4), scale_factor=4, mode="bilinear")
    rms = (blurred - x).square().mean().sqrt()
    assert float(NET(blurred, x)) > 10 * float(NET(x + rms, x))


def test_it_is_the_same_net_every_time_and_leaves_the_callers_random_numbers_alone() -> None:
    torch.manual_seed(5)
    first = pyramid()
    torch.manual_seed(6)
    again = pyramid()
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


def test_only_what_has_weight_counts() -> None:
    x, weight = texture(), torch.zeros(2, 1, 64, 64)
    weight[..., :24] = 1.0
    other = x.clone()
    other[..., 48:] = 0.0  # further away than any feature reaches
    assert float(NET(other, x, weight)) == 0
    assert float(NET(other, x)) > 0.01


def test_the_gradient_reaches_the_made_picture_and_no_weight() -> None:
    made = texture(1).requires_grad_(True)
    NET(made, texture()).backward()
    assert made.grad is not None
    assert float(made.grad.abs().sum()) > 0
    assert all(p.grad is None for p in NET.parameters())


def alexnet_weights(generator: torch.Generator) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """As torchvision and the `lpips` package name them."""
    shapes = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3)}
    backbone = {"classifier.1.weight": torch.zeros(2, 2)}
    for number, shape in shapes.items():
        backbone[f"features.{number}.weight"] = torch.randn(shape, generator=generator) * 0.05
        backbone[f"features.{number}.bias"] = torch.randn(shape[0], generator=generator) * 0.05
    heads = {
        f"lin{i}.model.1.weight": torch.rand(1, shape[0], 1, 1, generator=generator)
        for i, shape in enumerate(shapes.values())
    }
    return backbone, heads


def independent_lpips(backbone: dict[str, Tensor], heads: dict[str, Tensor], a: Tensor, b: Tensor) -> Tensor:
    """The published definition over torchvision's layer list, written once more."""
    layers = nn.Sequential(
        *(nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(), nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
    )
    layers.load_state_dict({k.removeprefix("features."): v for k, v in backbone.items() if k.startswith("features.")})
    scale, shift = (torch.tensor(c).view(1, 3, 1, 1) for c in (SCALE, SHIFT))
    total, (a, b) = torch.zeros(()), ((x - shift) / scale for x in (a, b))
    for i, (start, end) in enumerate(pairwise((0, 2, 5, 8, 10, 12))):
        a, b = layers[start:end](a), layers[start:end](b)
        apart = (a / a.square().sum(1, keepdim=True).sqrt() - b / b.square().sum(1, keepdim=True).sqrt()).square()
        total = total + nn.functional.conv2d(apart, heads[f"lin{i}.model.1.weight"]).mean()
    return total


@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_lpips_is_as_published_when_its_weights_are_given(tmp_path: Path, kind: str) -> None:
    backbone, heads = alexnet_weights(torch.Generator().manual_seed(2))
    for name, tensors in (("alexnet", backbone), ("lpips", heads)):
        path = tmp_path / f"{name}.{kind}"
        save_file(tensors, path) if kind == "safetensors" else torch.save(tensors, path)
    a, b = texture(3), texture(4)
    with torch.no_grad():
        torch.testing.assert_close(lpips(tmp_path)(a, b), independent_lpips(backbone, heads, a, b))


def test_lpips_without_its_weights_is_refused_naming_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no weight files of LPIPS"):
        lpips(tmp_path / "nowhere")
    backbone, _ = alexnet_weights(torch.Generator().manual_seed(2))
    save_file(backbone, tmp_path / "alexnet.safetensors")
    with pytest.raises(RequestError, match=r"lin0\.model\.1\.weight is missing"):
        lpips(tmp_path)
    (tmp_path / "broken.safetensors").write_bytes(b"not weights")
    with pytest.raises(RequestError, match="not readable"):
        lpips(tmp_path)
