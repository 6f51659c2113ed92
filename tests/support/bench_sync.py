"""What judging sync costs: our expert's score of a clip, its training step, its loss on pixels, and the public SyncNet.

Processor time of one thread, untrained weights: they cost what trained ones do. Each function returns one line.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import torch

from model.lse import SyncNet, lip_sync_error
from model.sync import SyncExpert, clip_tensors, score_clip, sync_loss
from model.training.clips import ListedClips
from model.training.sync import SyncTraining, train_expert
from shards.schema import Speech
from tests.support.clips import make_clip

FRAMES, SIDE_PX, STEPS = 75, 128, 3


def expert_costs() -> str:
    """Of three seconds of 128 px crops, per frame; of one step of 256 items; of one window of generated pixels."""
    torch.set_num_threads(1)
    config = SyncTraining()
    expert = SyncExpert(config.expert).eval().requires_grad_(False)
    clip = make_clip(1, frames=FRAMES, size=SIDE_PX)
    score = processor_s(lambda: score_clip(expert, clip))
    frames, audio = (part[None, : config.expert.frames] for part in clip_tensors(config.expert, clip))
    pixels = frames.clone().requires_grad_()
    loss = processor_s(lambda: torch.autograd.backward(sync_loss(expert, pixels, audio)))
    short = config.model_copy(update={"steps": STEPS, "clips": 32})
    clips = ListedClips([make_clip(seed, frames=FRAMES, size=SIDE_PX) for seed in range(short.clips)])
    step = processor_s(lambda: train_expert(short, clips)) / STEPS
    weights = sum(p.numel() for p in expert.parameters()) / 1e6
    return (
        f"{weights:.1f} M weights: {1e3 * score / FRAMES:.1f} ms a frame scored, {step:.2f} s a training step, "
        f"{1e3 * loss:.0f} ms for loss and gradient of {config.expert.frames} frames"
    )


def syncnet_cost() -> str:
    """Of the public network on as many frames as fill a block."""
    torch.set_num_threads(1)
    net, rng = SyncNet().eval(), np.random.default_rng(0)
    frames = rng.integers(0, 256, (25, 224, 224, 3), dtype=np.uint8)
    sound = Speech(samples=np.zeros(16_000, np.int16), rate_hz=16_000, origin_s=Fraction(0))
    return f"{1e3 * processor_s(lambda: lip_sync_error(net, frames, sound)) / 25:.0f} ms a frame"


def processor_s(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


BENCHES = (("the sync expert", expert_costs), ("the public SyncNet", syncnet_cost))
