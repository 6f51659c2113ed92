"""Stable Diffusion's U-Net as a start for ours: which of its tensors ours takes over, and what is left on either side.

Only the convolutional half is taken. A transformer block of theirs works between two projections of its own, reads
text, and has no counterpart; ours starts at zero beside the convolutions. Two things are changed on the way: the first
convolution gets channels of zeros for the mask and the source, and the embedding of time is spread over our finer
frequencies, of which theirs are every fourth. Their blocks add time before the norm and ours scale and shift after it,
so that part starts at zero.

Names are diffusers'. Weights are read from safetensors, never unpickled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from model.layers import ResBlock, zeroed
from shards.errors import RequestError

FILES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors")
BLOCK = {"norm_in": "norm1", "conv_in": "conv1", "norm_out": "norm2", "conv_out": "conv2", "skip": "conv_shortcut"}
"""Our name of a residual block's part -> theirs."""
Fate = Literal["matched", "reshaped", "missing", "zeroed"]


@dataclass
class Transfer:
    """What became of each tensor."""

    ours: dict[str, Fate] = field(default_factory=dict)
    """Tensor of ours -> taken as it is, taken in another shape, not found, or set to zero."""
    unused: tuple[str, ...] = ()
    """Tensors of theirs that nothing of ours takes."""
    parameters: dict[str, int] = field(default_factory=dict)
    """Values in each of these groups."""

    def named(self, fate: Fate) -> list[str]:
        return [name for name, found in self.ours.items() if found == fate]

    def note(self, name: str, fate: Fate, count: int) -> None:
        self.ours[name] = fate
        self.parameters[fate] = self.parameters.get(fate, 0) + count

    def __str__(self) -> str:
        counts = {fate: len(self.named(fate)) for fate in ("matched", "reshaped", "zeroed", "missing")}
        counts["unused"] = len(self.unused)
        groups = (f"{n} {name} ({self.parameters.get(name, 0):,} values)" for name, n in counts.items())
        return "from Stable Diffusion's U-Net: " + ", ".join(groups)


def load_unet(denoiser: nn.Module, reference: nn.Module, source: str | Path, *, prediction: str) -> Transfer:
    """Copies what fits into both networks. Their last convolution says the noise: taken only where ours does so too."""
    theirs = _read(Path(source))
    report, used = Transfer(), set[str]()
    for title, net in (("denoiser", denoiser), ("reference", reference)):
        pairs = dict(_pairs(net))
        if prediction != "epsilon":
            pairs.pop("conv_out", None)
        used |= _copy(title, net, pairs, theirs, report)
    report.unused = tuple(sorted(theirs.keys() - used))
    report.parameters["unused"] = sum(theirs[name].numel() for name in report.unused)
    if report.ours["denoiser.conv_in.weight"] == "missing":
        raise RequestError("a U-Net of another width", field="denoiser.source", value=str(source))
    return report


def _read(path: Path) -> Mapping[str, Tensor]:
    """A file, a folder that has it, or the folder of a whole Stable Diffusion with `unet/` in it."""
    candidates = [path, *(folder / name for folder in (path, path / "unet") for name in FILES)]
    found = next((c for c in candidates if c.is_file()), None)
    if found is None:
        raise RequestError(f"no U-Net weights here; wanted {FILES[0]}", field="denoiser.source", value=str(path))
    try:
        return load_file(found)
    except SafetensorError as error:
        raise RequestError("not a safetensors file", field="denoiser.source", value=str(found)) from error


def _pairs(net: nn.Module) -> Iterator[tuple[str, str]]:
    """(part of ours, part of theirs); a part has a weight and perhaps a bias."""
    yield from (("conv_in", "conv_in"), ("norm_out", "conv_norm_out"), ("conv_out", "conv_out"))
    yield from (("time.mlp.0", "time_embedding.linear_1"), ("time.mlp.2", "time_embedding.linear_2"))
    levels = len(net.downs) + 1  # type: ignore[arg-type]
    for name, part in net.named_modules():
        if isinstance(part, ResBlock):
            yield from ((f"{name}.{ours}", f"{_block(name, levels)}.{theirs}") for ours, theirs in BLOCK.items())
    for i in range(levels - 1):
        yield f"downs.{i}", f"down_blocks.{i}.downsamplers.0.conv"
        yield f"ups.{i}", f"up_blocks.{levels - 2 - i}.upsamplers.0.conv"


def _block(name: str, levels: int) -> str:
    """`levels.1.0` -> `down_blocks.1.resnets.0` and so on."""
    kind, *numbers = name.split(".")
    if kind == "middle":
        return f"mid_block.resnets.{numbers[0]}"
    level, block = (int(n) for n in numbers)
    if kind == "levels":
        return f"down_blocks.{level}.resnets.{block}"
    # Theirs has one block more on the way up, and a skip into each: the first, which is widest, has no counterpart.
    return f"up_blocks.{levels - 1 - level}.resnets.{block + 1}"


@torch.no_grad()
def _copy(
    title: str, net: nn.Module, pairs: Mapping[str, str], theirs: Mapping[str, Tensor], report: Transfer
) -> set[str]:
    """Fills `net` and the report; returns the names that were used."""
    used: set[str] = set()
    for name, value in net.state_dict(keep_vars=True).items():
        part, _, kind = name.rpartition(".")
        source = f"{pairs[part]}.{kind}" if part in pairs else ""
        taken = _fitted(part, theirs[source], value.shape) if source in theirs else None
        if taken is None:
            report.note(f"{title}.{name}", "missing", value.numel())
            continue
        used.add(source)
        value.copy_(taken)
        fate: Fate = "matched" if theirs[source].shape == value.shape else "reshaped"
        report.note(f"{title}.{name}", fate, value.numel())
    for name, part in net.named_modules():
        if isinstance(part, ResBlock) and report.ours[f"{title}.{name}.conv_in.weight"] != "missing":
            zeroed(part.time)
            for kind, value in part.time.named_parameters():
                report.parameters["missing"] -= value.numel()
                report.note(f"{title}.{name}.time.{kind}", "zeroed", value.numel())
    return used


def _fitted(part: str, theirs: Tensor, shape: torch.Size) -> Tensor | None:
    """Their tensor in our shape, where it says the same there; None where no such shape is known."""
    if theirs.shape == shape:
        return theirs
    if theirs.dim() != len(shape):
        return None
    if part == "conv_in" and theirs.shape[0] == shape[0] and theirs.shape[1] < shape[1]:
        # Ours has (z, mask, source): zeros for what theirs does not know.
        return torch.cat([theirs, theirs.new_zeros(shape[0], shape[1] - theirs.shape[1], *shape[2:])], dim=1)
    if part == "time.mlp.0" and theirs.shape[0] == shape[0] and shape[1] % theirs.shape[1] == 0:
        return _finer(theirs, shape[1])
    if part.startswith("up_levels") and part.endswith((".conv_in", ".norm_in")):
        return _without_skip(theirs, shape)
    return None


def _finer(theirs_OF: Tensor, width: int) -> Tensor:
    """Weights over (cosines, sines) -> the same over (sines, cosines) of more frequencies, zero at the others."""
    cos_OF, sin_OF = theirs_OF.chunk(2, dim=1)
    every, out = width // theirs_OF.shape[1], theirs_OF.new_zeros(len(theirs_OF), width)
    out[:, : width // 2 : every] = sin_OF
    out[:, width // 2 :: every] = cos_OF
    return out


def _without_skip(theirs: Tensor, shape: torch.Size) -> Tensor | None:
    """The part over the channels that come from below; ours has no skip into this block."""
    axis = 1 if theirs.dim() > 1 else 0
    ours = list(theirs.shape)
    ours[axis] = shape[axis]
    return theirs.narrow(axis, 0, shape[axis]) if ours == list(shape) and theirs.shape[axis] > shape[axis] else None
