"""How different two pictures look: distances between features, after each place's feature is scaled to length 1.

By default the features are our own: a pyramid of fixed random convolutions. It has learned nothing and needs no
weights; what it adds to an L1 is that texture and edges count at several sizes, and brightness hardly. It does not
know what people find different: LPIPS does, and is used where its published weights are given.

B batch, C channels, H W cells of a level. Pictures are in [-1, 1].
"""

# ruff: noqa: N815  (shape suffixes)

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, max_pool2d, normalize, relu

from shards.errors import RequestError

SEED = 20240805
WIDTHS = (24, 48, 96, 96)


class Conv(NamedTuple):
    """A convolution, and the rectifier behind it."""

    c_in: int
    c_out: int
    side: int = 3
    stride: int = 1
    padding: int = 1
    tap: bool = False
    """Whether a feature is read here."""


class Pool(NamedTuple):
    """A maximum over squares."""

    side: int
    stride: int


Layers = tuple[Conv | Pool, ...]
ALEXNET: Layers = (
    *(Conv(3, 64, 11, 4, 2, tap=True), Pool(3, 2)),
    *(Conv(64, 192, 5, 1, 2, tap=True), Pool(3, 2)),
    *(Conv(192, 384, tap=True), Conv(384, 256, tap=True), Conv(256, 256, tap=True)),
)
VGG16: Layers = (
    *(Conv(3, 64), Conv(64, 64, tap=True), Pool(2, 2)),
    *(Conv(64, 128), Conv(128, 128, tap=True), Pool(2, 2)),
    *(Conv(128, 256), Conv(256, 256), Conv(256, 256, tap=True), Pool(2, 2)),
    *(Conv(256, 512), Conv(512, 512), Conv(512, 512, tap=True), Pool(2, 2)),
    *(Conv(512, 512), Conv(512, 512), Conv(512, 512, tap=True)),
)
# What the published weights were trained on: ImageNet's channels, for pictures in [-1, 1].
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


class PerceptualDistance(nn.Module):
    """Frozen features and a weight for each of their channels; the gradient reaches the first picture."""

    shift_C11: Tensor
    scale_C11: Tensor

    def __init__(self, layers: Layers) -> None:
        super().__init__()
        self.layers = layers
        convs = [layer for layer in layers if isinstance(layer, Conv)]
        self.convs = nn.ModuleList(nn.Conv2d(c.c_in, c.c_out, c.side, c.stride, c.padding) for c in convs)
        self.shares = nn.ParameterList(torch.ones(c.c_out) for c in convs if c.tap)
        self.register_buffer("shift_C11", torch.tensor(SHIFT)[:, None, None], persistent=False)
        self.register_buffer("scale_C11", torch.tensor(SCALE)[:, None, None], persistent=False)
        self.requires_grad_(False)

    def features(self, x_BCHW: Tensor) -> list[Tensor]:
        h, convs = (x_BCHW - self.shift_C11) / self.scale_C11, iter(self.convs)
        found: list[Tensor] = []
        for layer in self.layers:
            if isinstance(layer, Pool):
                h = max_pool2d(h, layer.side, layer.stride)
                continue
            h = relu(next(convs)(h))
            if layer.tap:
                found.append(normalize(h, dim=1, eps=1e-8))
        return found

    def forward(self, hat_BCHW: Tensor, true_BCHW: Tensor, weight_B1HW: Tensor | None = None) -> Tensor:
        """Sum over levels of the weighted mean square; `weight` says what counts, at the pictures' size."""
        with torch.no_grad():
            wanted = self.features(true_BCHW)
        total = hat_BCHW.new_zeros(())
        for got, want, share_C in zip(self.features(hat_BCHW), wanted, self.shares, strict=True):
            error_B1HW = ((got - want).square() * share_C[:, None, None]).sum(dim=1, keepdim=True)
            if weight_B1HW is None:
                total = total + error_B1HW.mean()
            else:
                at_B1HW = adaptive_avg_pool2d(weight_B1HW, error_B1HW.shape[-2:])
                total = total + (at_B1HW * error_B1HW).sum() / at_B1HW.sum().clamp_min(1e-6)
        return total

    def each(self, hat_BCHW: Tensor, true_BCHW: Tensor, weight_B1HW: Tensor) -> Tensor:
        """(B,) the weighted distance of each picture, whatever pictures are beside it."""
        with torch.no_grad():
            wanted = self.features(true_BCHW)
        total_B = hat_BCHW.new_zeros(len(hat_BCHW))
        for got, want, share_C in zip(self.features(hat_BCHW), wanted, self.shares, strict=True):
            error_B1HW = ((got - want).square() * share_C[:, None, None]).sum(dim=1, keepdim=True)
            at_B1HW = adaptive_avg_pool2d(weight_B1HW, error_B1HW.shape[-2:])
            total_B = total_B + (at_B1HW * error_B1HW).sum(dim=(1, 2, 3)) / at_B1HW.sum(dim=(1, 2, 3)).clamp_min(1e-6)
        return total_B


def pyramid() -> PerceptualDistance:
    """Our own: four levels of fixed random convolutions, the same on every machine."""
    strides = (1, 2, 2, 2)
    layers = [Conv(a, b, stride=s, tap=True) for (a, b), s in zip(pairwise((3, *WIDTHS)), strides, strict=True)]
    net = PerceptualDistance(tuple(layers))
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for name, value in net.convs.named_parameters():
            value.copy_(torch.randn(value.shape, generator=generator) / value[0].numel() ** 0.5)
            if name == "0.weight":
                value.sub_(value.mean(dim=(2, 3), keepdim=True))  # an even surface of any colour says nothing
            if name.endswith("bias"):
                value.zero_()
    return net


def lpips(folder: Path) -> PerceptualDistance:
    """LPIPS from a local folder: torchvision's AlexNet or VGG16, and the `lpips` package's weights for it."""
    tensors = _tensors_in(folder)
    numbers = sorted({int(n) for n in re.findall(r"features\.(\d+)\.weight", " ".join(tensors))})
    first = tensors.get("features.0.weight")
    net = PerceptualDistance(ALEXNET if first is not None and first.shape[-1] == 11 else VGG16)
    named = {f"convs.{i}.{part}": f"features.{n}.{part}" for i, n in enumerate(numbers) for part in ("weight", "bias")}
    named |= {f"shares.{i}": f"lin{i}.model.1.weight" for i in range(len(net.shares))}
    for mine, value in net.state_dict().items():
        theirs = named.get(mine, mine)
        if theirs not in tensors or tensors[theirs].numel() != value.numel():
            raise RequestError(f"no LPIPS here: {theirs} is missing, or of another size", field="lpips", value=folder)
        value.copy_(tensors[theirs].reshape(value.shape))
    return net


def _tensors_in(folder: Path) -> dict[str, Tensor]:
    """All tensors of all weight files there; nothing is unpickled but tensors."""
    found: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*")) if folder.is_dir() else []:
        try:
            if path.suffix == ".safetensors":
                found |= load_file(path)
            elif path.suffix in (".pth", ".pt"):
                found |= torch.load(path, weights_only=True, map_location="cpu")
        except (SafetensorError, RuntimeError) as error:
            raise RequestError(f"not readable as weights: {error}", field="lpips", value=path) from error
    if not found:
        raise RequestError("no weight files of LPIPS here (.safetensors, .pth)", field="lpips", value=folder)
    return found
