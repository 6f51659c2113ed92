"""Takes -> pictures: which frames share a batch, their noise and looks, the denoising, the mouth put into the crop.

Nothing in the networks looks from one frame to another (temporal attention apart, which stays in its take), so a frame
is the same picture whatever shares its batch, up to the order in which sums are rounded: one level of 255, here and
there. The same batches are the same bytes. Which faces the mouths follow is decided before (`pipeline.py`).

T frames, S crop side, P points, B batch, W audio columns, C channels, H W pixels or cells.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.batch import FRAME_S, audio_columns
from model.choice import References
from model.errors import NonFinitePicture
from model.landmarks import to_units
from model.networks import Networks
from model.sampling import guided, sample, shot_noise
from model.shot import Sampling, Take
from model.talkformer import Tokens
from model.training.stages import latent_mask
from shards.crop import crop_window
from shards.errors import RequestError
from shards.schema import F64, U8

LOOKS_KEPT = 16
"""Reference features are kept for so many people: a title's stretches come person by person, not sorted."""
Place = tuple[int, int]
"""Number of the take, number of the frame in it."""


class Renderer:
    """The networks at work on takes. Keeps the reference features between calls."""

    def __init__(self, networks: Networks) -> None:
        self.nets, self.config = networks, networks.config
        self._looks: OrderedDict[tuple[int, torch.device, torch.dtype], tuple[References, list[Tokens]]] = OrderedDict()

    @torch.inference_mode()
    def render(
        self,
        takes: Sequence[Take],
        scheduler: Any,
        sampling: Sampling,
        on_progress: Callable[[int], None] | None = None,
    ) -> list[U8]:
        """The frames of each take with the mouth of its target; outside the mask they are the source's bytes."""
        for take in takes:
            take.check(self.config.condition)
        autoencoder, side = self.config.autoencoder, self.config.latent_px
        shape = (autoencoder.latent_channels, side, side)
        noise = [shot_noise(shape, take.seed, self.nets.device) for take in takes]
        out, done = [take.frames.copy() for take in takes], 0
        for places in self._batches(takes, sampling.batch_size):
            noise_BCHW = torch.cat([noise[i] for i, _ in self._filled(places, sampling)])
            made = self._render_batch(takes, places, noise_BCHW, scheduler, sampling)
            for (i, frame), picture in zip(places, made, strict=True):
                out[i][frame] = picture
            done += len(places)
            if on_progress is not None:
                on_progress(done)
        return out

    def _batches(self, takes: Sequence[Take], size: int) -> list[list[Place]]:
        """Seen frames in order. What shares a batch has as many references; a temporal window is of one take."""
        alone = self.config.denoiser.temporal_attention
        runs: dict[tuple[int, int], list[Place]] = {}
        for i, take in enumerate(takes):
            run = runs.setdefault((i if alone else 0, len(take.references.frames)), [])
            run += [(i, int(frame)) for frame in np.flatnonzero(take.target.seen())]
        return [run[at : at + size] for run in runs.values() for at in range(0, len(run), size)]

    def _filled(self, places: list[Place], sampling: Sampling) -> list[Place]:
        """One shape for all batches: a network is compiled once, and a last frame is summed as all others are."""
        return places + [places[-1]] * (sampling.batch_size - len(places))

    def _render_batch(
        self, takes: Sequence[Take], places: list[Place], noise_BCHW: Tensor, scheduler: Any, sampling: Sampling
    ) -> U8:
        nets, filled = self.nets, self._filled(places, sampling)
        device, dtype, b = nets.device, nets.dtype, len(filled)
        mask_HW = torch.from_numpy(crop_window(self.config.condition.window).mask(self.config.condition.crop_px))
        mask_HW = mask_HW.to(device)
        mask_B1HW = latent_mask(mask_HW, self.config.latent_px).expand(b, -1, -1, -1)
        frames_BHWC = torch.from_numpy(np.stack([takes[i].frames[f] for i, f in filled])).to(device)
        told = self._told(takes, filled).to(device)
        moment_1B = self._moments(takes, filled, len(places))
        finite: list[Tensor] = []

        def predict(z_BCHW: Tensor, t_B: Tensor) -> Tensor:
            given = (z_BCHW, mask_B1HW, source_BCHW, t_B, told, looks)
            said: Tensor = nets.denoiser(*given, moment_VT=moment_1B).float()
            if sampling.guidance != 1.0:
                unsaid = nets.denoiser(*given, motion_scale=0.0, moment_VT=moment_1B).float()
                said = guided(said, unsaid, sampling.guidance)
            finite.append(_is_finite(said))
            return said

        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            looks = self._looks_for([takes[i].references for i, _ in filled])
            hidden_BCHW = pixels(frames_BHWC) * (1 - mask_HW)
            source_BCHW = nets.autoencoder.encode(hidden_BCHW).float()
            z_BCHW = sample(predict, noise_BCHW, scheduler, sampling.steps)
            made_BHWC = nets.autoencoder.decode(z_BCHW).float().permute(0, 2, 3, 1)
        finite.append(_is_finite(made_BHWC))

        # Where the mask is 0 this is the source byte for byte: x * 1 + made * 0, rounded.
        mask_HW1 = mask_HW[..., None]
        mixed_BHWC = frames_BHWC * (1 - mask_HW1) + ((made_BHWC + 1) * 127.5).clamp(0, 255) * mask_HW1
        self._need_finite(finite, takes, places, sampling.steps)
        out: U8 = mixed_BHWC.round().to(torch.uint8)[: len(places)].cpu().numpy()
        return out

    def _need_finite(self, finite: list[Tensor], takes: Sequence[Take], places: list[Place], steps: int) -> None:
        """Looked at once a batch: the device is waited for only then."""
        broken = ~torch.stack(finite).cpu()[:, : len(places)]
        if broken.any():
            step, item = (int(x) for x in broken.nonzero()[0])
            take, frame = places[item]
            name = str(self.nets.dtype).removeprefix("torch.")
            raise NonFinitePicture(shot=takes[take].name, frame=frame, step=step + 1, steps=steps, dtype=name)

    def _told(self, takes: Sequence[Take], places: list[Place]) -> Tensor:
        """What each frame is to say: its landmarks, or the sound around it."""
        if self.config.denoiser.landmarks != "audio":
            points = np.stack([takes[i].target.points[f] for i, f in places])
            return torch.from_numpy(to_units(points, self.config.condition.crop_px))
        heard = []
        for i, frame in places:
            if not takes[i].features or takes[i].times_s is None:
                raise RequestError("this model reads audio: give features and times", field="features")
            heard.append(audio_columns(takes[i].features, self._times(takes[i])[[frame]], self.config))
        return torch.cat(heard)

    def _moments(self, takes: Sequence[Take], places: list[Place], real: int) -> Tensor | None:
        """(1, B) for temporal attention, in frames of 25 a second; what only fills the batch is seen by nobody."""
        if not self.config.denoiser.temporal_attention:
            return None
        moments = [self._times(takes[i])[f] / FRAME_S for i, f in places]
        moments[real:] = [math.nan] * (len(moments) - real)
        return torch.tensor([moments], dtype=torch.float32, device=self.nets.device)

    @staticmethod
    def _times(take: Take) -> F64:
        if take.times_s is not None:
            return take.times_s
        return np.arange(len(take.frames), dtype=np.float64) * FRAME_S

    def _looks_for(self, references: list[References]) -> list[Tokens]:
        """F_a, once if all are the same person's, else one after the other for each frame."""
        looks = [self._looks_of(one) for one in references]
        if all(one is looks[0] for one in looks):
            return looks[0]
        return [
            Tokens(
                value_BMD=torch.cat([one[level].value_BMD for one in looks]),
                place_BM2=torch.cat([one[level].place_BM2 for one in looks]),
            )
            for level in range(len(looks[0]))
        ]

    def _looks_of(self, references: References) -> list[Tokens]:
        """Kept, since a title is rendered in many calls with the same ones."""
        key = (id(references), self.nets.device, self.nets.dtype)
        if key not in self._looks:
            frames = torch.from_numpy(references.frames).to(self.nets.device)
            z_RCHW = self.nets.autoencoder.encode(pixels(frames))
            self._looks[key] = (references, self.nets.reference(z_RCHW[None].float()))
        self._looks.move_to_end(key)
        while len(self._looks) > LOOKS_KEPT:
            self._looks.popitem(last=False)
        return self._looks[key][1]


def pixels(frames_BHWC: Tensor) -> Tensor:
    """uint8 -> (B, 3, H, W) in [-1, 1], on the device the bytes are on."""
    return frames_BHWC.permute(0, 3, 1, 2).float() / 127.5 - 1


def _is_finite(x_B: Tensor) -> Tensor:
    return x_B.isfinite().flatten(1).all(dim=1)
