"""DubbingPipeline: a face crop and new speech in, the crop with new lips out. What dubbing and reports call.

A diffusers pipeline (`to`, `scheduler`, `from_pretrained`, `save_pretrained`) over one set of networks. Where crops
come from, and how they go back into the picture, is the caller's.

T frames, S crop side, R reference pictures, N reference faces, P points, B batch, C channels, H W cells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from torch import Tensor

from model import pretrained
from model.batch import FRAME_S, audio_columns, pictures
from model.card import one_line
from model.choice import References, choose
from model.completion import complete
from model.config import LandmarkCondition, ModelConfig
from model.errors import CheckpointMismatch
from model.landmarks import at_times, filled, to_px, to_units
from model.networks import Networks
from model.sampling import guided, sample, sampler, shot_noise
from model.talkformer import Tokens
from model.training.stages import latent_mask
from shards.crop import crop_window
from shards.schema import F64, U8, AudioFeatures, ClipSample, Landmarks
from shards.topology import topology


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DubbedClip:
    """What the pipeline makes of a clip."""

    frames: U8
    """(T, S, S, 3) uint8."""
    landmarks: Landmarks
    """(T, P, 2) crop px: what the frames were made to follow."""


class DubbingPipeline(DiffusionPipeline):
    """The networks of one checkpoint, ready to dub."""

    def __init__(
        self,
        networks: Networks,
        scheduler: Any,
        card: Mapping[str, str] | None = None,
        trained: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(networks=networks, scheduler=scheduler)  # type: ignore[no-untyped-call]
        self.config_: ModelConfig = networks.config
        self.card, self.trained = dict(card or {}), dict(trained or {})
        self.digest: str = pretrained.digest(networks.config, networks.state_dict())
        self._looks: tuple[References, list[Tokens]] | None = None

    # -- from and to a folder ------------------------------------------------------------------------------------------

    @classmethod
    def from_networks(cls, networks: Networks, **about: Any) -> Self:
        return cls(networks.eval(), sampler(networks.config.diffusion), **about)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:  # type: ignore[override]
        """The model in a folder, float32 on the CPU; `.to("cuda")` moves it."""
        networks, record = pretrained.load(Path(folder))
        return cls.from_networks(networks, card=record.card, trained=record.trained)

    def save_pretrained(  # type: ignore[override]
        self, folder: str | Path, *, card: Mapping[str, str] | None = None, half: bool = False
    ) -> str:
        """Writes config, weights and model card; returns the digest. `half` halves the size, and rounds the weights."""
        told = {**self.card, **(card or {})}
        return pretrained.save(Path(folder), self.networks, trained=self.trained, card=told, half=half)

    @property
    def condition(self) -> LandmarkCondition:
        return self.config_.condition

    @property
    def description(self) -> str:
        """One line for a report."""
        return one_line(
            self.config_.name, self.condition.crop_px, trained=self.trained, card=self.card, digest=self.digest
        )

    def check_fits(
        self,
        *,
        topology: str | None = None,
        features: tuple[str, ...] | None = None,
        window: str | None = None,
        crop_px: int | None = None,
    ) -> None:
        """Raises `CheckpointMismatch`, naming both sides, when data are not what this checkpoint was trained on."""
        self.condition.check(topology=topology, features=features, window=window, crop_px=crop_px)

    # -- the three steps of a dub --------------------------------------------------------------------------------------

    def choose_references(self, frames: U8, landmarks: Landmarks, count: int | None = None) -> References:
        """Pictures (R, or `count`) and faces (N) of different mouth openings, all from frames that show the face."""
        self.check_fits(topology=landmarks.topology_name, crop_px=frames.shape[1])
        return choose(
            frames,
            landmarks,
            num_pictures=count or self.config_.denoiser.num_references,
            num_faces=self.config_.completion.num_references,
        )

    @torch.no_grad()
    def predict_landmarks(
        self, features: Sequence[AudioFeatures], times_s: F64, landmarks: Landmarks, references: References
    ) -> Landmarks:
        """The faces that say `features`, at `times_s` on the features' clock; any frame rate, also a variable one.

        `landmarks` are the source's, crop px, at these times: their pose is kept, their mouth is never looked at.
        Completion runs at 25 Hz on the audio's clock and is interpolated. Unseen frames stay NaN.
        """
        self.check_fits(topology=landmarks.topology_name)
        size, device = self.condition.crop_px, self.networks.device
        first, last = np.floor(times_s[0] / FRAME_S), np.ceil(times_s[-1] / FRAME_S)
        ticks_s = np.arange(first, last + 1) * FRAME_S
        pose = torch.from_numpy(to_units(at_times(landmarks, times_s, ticks_s), size))
        lm_TP2, seen_T = (x.to(device) for x in filled(pose))
        audio_TWC = audio_columns(features, ticks_s, self.config_).to(device)
        ref_NP2 = torch.from_numpy(to_units(references.landmarks, size)).to(device)
        made = to_px(complete(self.networks.completion, audio_TWC, lm_TP2, seen_T, ref_NP2).cpu().numpy(), size)

        on_ticks = Landmarks(
            points=made.astype(np.float32),
            confidence=np.ones(len(ticks_s), np.float32),
            topology_name=landmarks.topology_name,
            space=landmarks.space,
        )
        content = list(topology(self.condition.topology).content)
        points = landmarks.points.copy()
        points[:, content] = at_times(on_ticks, ticks_s, times_s)[:, content]
        points[~landmarks.seen()] = np.nan
        return Landmarks(
            points=points,
            confidence=np.where(landmarks.seen(), landmarks.confidence, np.float32(0)),
            topology_name=landmarks.topology_name,
            space=landmarks.space,
        )

    @torch.no_grad()
    def render(
        self,
        frames: U8,
        target: Landmarks,
        references: References,
        *,
        seed: int,
        steps: int = 4,
        batch_size: int = 8,
        guidance: float = 1.0,
        on_progress: Callable[[int], None] | None = None,
    ) -> U8:
        """The crops of one shot with the mouth of `target`. One `seed`, one noise for the whole shot.

        Frames whose target is NaN, and everything outside the window's mask, come back as they are.
        `on_progress` is told how many frames are done so far.
        """
        self.check_fits(topology=target.topology_name, crop_px=frames.shape[1])
        if len(target) != len(frames):
            raise CheckpointMismatch.between("target", checkpoint=f"{len(frames)} frames", given=f"{len(target)}")
        config, device = self.config_, self.networks.device
        side = config.latent_px
        noise_1CHW = shot_noise((config.autoencoder.latent_channels, side, side), seed, device)
        looks = self._features_of(references)
        out, todo = frames.copy(), np.flatnonzero(target.seen())
        for start in range(0, len(todo), batch_size):
            at = todo[start : start + batch_size]
            lm_BP2 = torch.from_numpy(to_units(target.points[at], config.condition.crop_px)).to(device)
            out[at] = self._render_batch(frames[at], lm_BP2, looks, noise_1CHW, steps, guidance)
            if on_progress is not None:
                on_progress(start + len(at))
        return out

    def __call__(
        self, clip: ClipSample, *, features: Sequence[AudioFeatures] | None = None, seed: int = 0, steps: int = 4
    ) -> DubbedClip:
        """The whole of it for one clip; `features` are of the new speech, the clip's own when None."""
        self.condition.check_sample(clip)
        references = self.choose_references(clip.frames, clip.landmarks)
        said = clip.features if features is None else features
        target = self.predict_landmarks(said, clip.times.seconds(), clip.landmarks, references)
        made = self.render(clip.frames, target, references, seed=seed, steps=steps)
        return DubbedClip(frames=made, landmarks=target)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _render_batch(
        self, frames: U8, lm_BP2: Tensor, looks: list[Tokens], noise_1CHW: Tensor, steps: int, guidance: float
    ) -> U8:
        nets, b = self.networks, len(frames)
        window = crop_window(self.condition.window)
        mask = window.mask(self.condition.crop_px)
        mask_HW = torch.from_numpy(mask).to(nets.device)
        source_BCHW = nets.autoencoder.encode(pictures(frames).to(nets.device) * (1 - mask_HW))
        mask_B1HW = latent_mask(mask_HW, self.config_.latent_px).expand(b, -1, -1, -1)

        def predict(z_BCHW: Tensor, t_B: Tensor) -> Tensor:
            said: Tensor = nets.denoiser(z_BCHW, mask_B1HW, source_BCHW, t_B, lm_BP2, looks)
            if guidance == 1.0:
                return said
            unsaid = nets.denoiser(z_BCHW, mask_B1HW, source_BCHW, t_B, lm_BP2, looks, motion_scale=0.0)
            return guided(said, unsaid, guidance)

        z_BCHW = sample(predict, noise_1CHW.expand(b, -1, -1, -1), self.scheduler, steps)
        made = (nets.autoencoder.decode(z_BCHW).permute(0, 2, 3, 1).cpu().numpy() + 1) * 127.5
        # Where the mask is 0 this is the source byte for byte: x * 1 + made * 0, rounded.
        mixed = frames * (1 - mask[..., None]) + np.clip(made, 0, 255) * mask[..., None]
        out: U8 = np.round(mixed).astype(np.uint8)
        return out

    def _features_of(self, references: References) -> list[Tokens]:
        """F_a of these references; kept, since a title is rendered in many calls with the same ones."""
        device = self.networks.device
        if self._looks is None or self._looks[0] is not references or self._looks[1][0].value_BMD.device != device:
            z_RCHW = self.networks.autoencoder.encode(pictures(references.frames).to(device))
            self._looks = (references, self.networks.reference(z_RCHW[None]))
        return self._looks[1]
