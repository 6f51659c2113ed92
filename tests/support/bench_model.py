"""How fast the model learns and draws. On a CPU as part of `make bench`; `make bench-gpu` runs it on a CUDA device.

Weights are random: speed does not depend on them. A training step is a batch made, losses, gradients, AdamW and the
running mean, as the loop does them, without its files.
"""

# ruff: noqa: T201  (a command)

from __future__ import annotations

import dataclasses
import functools
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from model.batch import collate, windows
from model.ema import Ema
from model.networks import Networks
from model.pipeline import DubbingPipeline
from model.presets import preset
from model.shot import Sampling, Take
from model.sizes import inference_calls, model_size
from model.training.config import TrainConfig, recipe
from model.training.stages import STAGES
from tests.support.clips import make_clip

STEPS = 4
"""Of sampling."""


@dataclasses.dataclass(frozen=True)
class StepTime:
    """Medians over some steps, seconds."""

    batch_s: float
    """Making the batch, for which the device waits where no reader works ahead."""
    work_s: float

    @property
    def whole_s(self) -> float:
        return self.batch_s + self.work_s


def training_step(config: TrainConfig, name: str, *, device: str = "cpu", steps: int = 7) -> StepTime:
    """One step of a stage; the first two, which warm up, are not counted."""
    networks = Networks(config.model).to(device)
    stage = STAGES[name](networks, config)
    networks.requires_grad_(False)
    weights = [p for net in stage.trained().values() for p in net.requires_grad_(True).train().parameters()]
    optimizer, ema = torch.optim.AdamW(weights, lr=1e-5), Ema(networks, config.ema_decay)
    condition = config.model.condition
    clips = [make_clip(seed, frames=50, size=condition.crop_px, features=condition.features) for seed in range(2)]
    times = []
    for step in range(steps + 2):
        begun, rng, settings = time.perf_counter(), np.random.default_rng(step), config.stage(name)
        drawn = [windows(clips[i % 2], 25, rng, config.model, settings.windows) for i in range(settings.clips)]
        batch = collate([window for some in drawn for window in some]).to(networks.device)
        made = _now(device)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=config.precision == "bf16"):
            loss = torch.stack(list(stage.loss(batch, torch.Generator().manual_seed(step)).values())).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, config.grad_clip)
        optimizer.step()
        ema.update(networks)
        times.append((made - begun, _now(device) - made))
    batch_s, work_s = np.median(times[2:], axis=0)
    return StepTime(float(batch_s), float(work_s))


def joint_step(preset_name: str, device: str = "cpu", threads: int = 1) -> str:
    """The joint stage beside stage 2 of the same run, and what making the batch takes of it."""
    torch.set_num_threads(threads)
    config = recipe(preset_name)
    joint, second = (training_step(config, name, device=device) for name in ("joint", "diffusion"))
    ratio, wait = joint.work_s / second.work_s, joint.batch_s / joint.whole_s
    return f"{joint.whole_s:.3f} s, {ratio:.2f}x the step of stage 2, waiting for data {wait:.0%}"


def drawing(preset_name: str, dtype: str, *, device: str = "cpu", batch_size: int = 8, fast: bool = False) -> float:
    """Frames a second of the whole of rendering, encoding and decoding included, with the references' features kept.

    `fast` compiles and orders memory for tensor cores; compiling is not counted.
    """
    pipe = DubbingPipeline.from_networks(Networks(preset(preset_name)), digest="random")
    pipe.to(device, getattr(torch, dtype))
    if fast:
        pipe.enable_channels_last()
        pipe.compile()
    clip = make_clip(1, frames=4 * batch_size, size=pipe.condition.crop_px, features=pipe.condition.features)
    references = pipe.choose_references(clip.frames, clip.landmarks)
    take = Take(frames=clip.frames, target=clip.landmarks, references=references, seed=0)
    first = dataclasses.replace(take, frames=clip.frames[:1], target=clip.landmarks.slice(0, 1))
    how = Sampling(steps=STEPS, batch_size=batch_size)
    for _ in range(2):
        pipe.render_all([first], how)
    return len(clip.frames) / min(_seconds(lambda: pipe.render_all([take], how), device) for _ in range(3))


def drawing_on(preset_name: str, device: str, batch_size: int = 32) -> str:
    rate = drawing(preset_name, "bfloat16", device=device, batch_size=batch_size, fast=True)
    return f"{rate:.0f} frames/s at {STEPS} steps with decoding"


def compact_rendering() -> str:
    """In a process of its own, so that what is resident is its own; two threads."""
    command = [sys.executable, "-m", "tests.support.bench_model", "compact"]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=900).stdout.strip()


def _tell_compact() -> None:
    torch.set_num_threads(2)
    parameters = sum(model_size(preset("compact")).parameters.values())
    rates = {dtype: drawing("compact", dtype) for dtype in ("float32", "bfloat16")}
    told = ", ".join(f"{rate:.1f} frames/s {dtype}" for dtype, rate in rates.items())
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{told}; {parameters / 1e6:.1f} M parameters, {resident:,.0f} MiB resident at most")


def base_on(device: str, batch_size: int = 32) -> str:
    """`base`, bf16, compiled: frames a second, and one denoising step beside its floor on this device."""
    rate = drawing_on("base", device, batch_size)
    floor_s = model_size(preset("base"), batch_size).flops["denoiser"] / peak_flops(device)
    step_s = denoising_step(device, batch_size)
    return (
        f"{rate}; a denoising step of {batch_size} frames "
        f"{step_s * 1e3:.1f} ms, floor {floor_s * 1e3:.1f} ms ({step_s / floor_s:.2f}x)"
    )


def denoising_step(device: str, batch_size: int) -> float:
    networks = Networks(preset("base")).eval().requires_grad_(False).to(device, torch.bfloat16)
    networks.denoiser.to(memory_format=torch.channels_last)
    networks.denoiser.compile()
    with torch.inference_mode(), torch.autocast(torch.device(device).type, torch.bfloat16):
        call = inference_calls(networks, batch_size)["denoiser"]
        for _ in range(3):
            call()
        return min(_seconds(call, device) for _ in range(10))


def peak_flops(device: str, side: int = 8192) -> float:
    """Multiplications and additions a second of the largest thing this device does well: one product of matrices."""
    a = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    for _ in range(3):
        a @ a
    return 2 * side**3 / min(_seconds(lambda: a @ a, device) for _ in range(10))


def _now(device: str) -> float:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _seconds(work: Callable[[], Any], device: str) -> float:
    begun = _now(device)
    work()
    return _now(device) - begun


BENCHES: Sequence[tuple[str, Callable[[], str]]] = (
    ("tiny, one joint training step, one thread", functools.partial(joint_step, "tiny")),
    (f"compact, {STEPS} steps of sampling, two threads", compact_rendering),
)


def main(asked: list[str]) -> int:
    """`compact`: what `make bench` tells of it; nothing: all of it on the CUDA device."""
    if asked == ["compact"]:
        _tell_compact()
        return 0
    if not torch.cuda.is_available():
        print("make bench-gpu measures on a CUDA device, and PyTorch sees none here", file=sys.stderr)
        return 2
    print(f"on {torch.cuda.get_device_name()}, PyTorch {torch.__version__}", flush=True)
    for name, measure in (
        ("tiny, one joint training step", functools.partial(joint_step, "tiny", "cuda")),
        (
            "compact, frames/s, bf16, compiled",
            lambda: f"{drawing('compact', 'bfloat16', device='cuda', fast=True):.0f}",
        ),
        ("base, bf16, compiled", functools.partial(base_on, "cuda")),
        ("base, one joint training step", functools.partial(joint_step, "base", "cuda")),
    ):
        print(f"{name}: {measure()}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
