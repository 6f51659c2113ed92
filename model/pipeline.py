"""DubbingPipeline: face crops and new speech in, the crops with new lips out. What dubbing and reports call.

A diffusers pipeline (`to`, `scheduler`, `from_pretrained`, `save_pretrained`) over one set of networks. Where crops
come from, and how they go back into the picture, is the caller's; how pictures are made is `rendering.py`.

T frames, S crop side, R reference pictures, N reference faces, P points, W audio columns, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline

from model import pretrained
from model.batch import FRAME_S, audio_columns
from model.card import one_line
from model.choice import References, choose
from model.completion import complete
from model.config import DiffusionConfig, LandmarkCondition, ModelConfig
from model.emphasis import emphasised
from model.landmarks import at_times, filled, to_px, to_units
from model.networks import Networks
from model.rendering import Renderer
from model.sampling import sampler as scheduler_of
from model.shot import DubbedClip, Sampling, Shot, Take, need_frames, need_references, need_sound, need_times
from shards.errors import RequestError
from shards.schema import F64, U8, AudioFeatures, ClipSample, Landmarks
from shards.topology import topology

SAMPLERS = ("ddim", "dpmsolver++")


class DubbingPipeline(DiffusionPipeline):
    """The networks of one checkpoint, ready to dub."""

    def __init__(
        self,
        networks: Networks,
        scheduler: Any,
        card: Mapping[str, str] | None = None,
        trained: Mapping[str, int] | None = None,
        digest: str | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(networks=networks, scheduler=scheduler)  # type: ignore[no-untyped-call]
        self.config_: ModelConfig = networks.config
        self.card, self.trained = dict(card or {}), dict(trained or {})
        self.digest: str = digest or pretrained.digest(networks.config, networks.state_dict())
        self._renderer = Renderer(networks)

    # -- from and to a folder ------------------------------------------------------------------------------------------

    @classmethod
    def from_networks(cls, networks: Networks, **about: Any) -> Self:
        return cls(networks.eval(), scheduler_of(networks.config.diffusion), **about)

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, folder: str | Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
    ) -> Self:
        """The model in a folder; half precision is taken by the large weights (see `Networks.to`)."""
        networks, record = pretrained.load(Path(folder))
        pipe = cls.from_networks(networks, card=record.card, trained=record.trained, digest=record.digest)
        return pipe.to(device, dtype)

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

    # -- memory and speed ----------------------------------------------------------------------------------------------

    def enable_vae_slicing(self) -> None:
        """Decodes frame by frame: at 512 px a batch of 8 asks for eight times the memory of one."""
        self.networks.autoencoder.slicing = True

    def disable_vae_slicing(self) -> None:
        self.networks.autoencoder.slicing = False

    def enable_channels_last(self) -> None:
        """Weights in the order that the convolutions of GPUs with tensor cores read."""
        for net in (self.networks.autoencoder, self.networks.reference, self.networks.denoiser):
            net.to(memory_format=torch.channels_last)

    def compile(self, **options: Any) -> None:
        """`torch.compile` of the denoiser and the decoder. Batches have one shape, so each is compiled once.

        The first call takes the minutes. Another `batch_size` or number of references compiles again.
        """
        self.networks.denoiser.compile(**options)
        self.networks.autoencoder.net.decode = torch.compile(self.networks.autoencoder.net.decode, **options)

    def enable_attention_slicing(self, slice_size: str | int | None = "auto") -> None:
        """Refused: attention is never a matrix here (scaled-dot-product kernels), so slices would only cost time."""
        raise _refused("enable_attention_slicing", "attention is never held as a matrix; take a smaller batch_size")

    def enable_xformers_memory_efficient_attention(self, attention_op: Any = None) -> None:
        """Refused: PyTorch's own kernels are in use."""
        raise _refused("enable_xformers_memory_efficient_attention", "PyTorch's memory-efficient attention is in use")

    def enable_model_cpu_offload(self, gpu_id: int | None = None, device: Any = None) -> None:
        """Refused: the denoiser runs at every step and is nearly all of the weights; moving it is slower than it."""
        raise _refused("enable_model_cpu_offload", "nearly all weights are used at every step; .to(dtype) halves them")

    # -- the three steps of a dub --------------------------------------------------------------------------------------

    def choose_references(
        self, frames: U8, landmarks: Landmarks, count: int | None = None, *, target: Landmarks | None = None
    ) -> References:
        """Pictures (R, or `count`) and faces (N) of different mouth openings, all from frames that show the face.

        With `target`, the faces to be made, those turned alike are preferred.
        """
        need_frames(frames, "references")
        self.check_fits(topology=landmarks.topology_name, crop_px=frames.shape[1])
        return choose(
            frames,
            landmarks,
            num_pictures=self.config_.denoiser.num_references if count is None else count,
            num_faces=self.config_.completion.num_references,
            target=target,
        )

    @torch.inference_mode()
    def predict_landmarks(
        self,
        features: Sequence[AudioFeatures],
        times_s: F64,
        landmarks: Landmarks,
        references: References,
        *,
        emphasis: float | None = None,
    ) -> Landmarks:
        """The faces that say `features`, at `times_s` on the features' clock; any frame rate, also a variable one.

        `landmarks` are the source's, crop px, at these times: their pose is kept, their mouth is never looked at.
        Completion runs at 25 Hz on the audio's clock and is interpolated. Unseen frames stay NaN; before and after
        the features there is silence. `emphasis` as the model has it, unless given.
        """
        self.check_fits(topology=landmarks.topology_name)
        need_references(references, self.condition)
        need_times(times_s, landmarks)
        need_sound(features, self.condition)
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
        by = self.config_.completion.emphasis if emphasis is None else emphasis
        points = emphasised(points, references.landmarks, landmarks.topology, by)
        points[~landmarks.seen()] = np.nan
        return Landmarks(
            points=points,
            confidence=np.where(landmarks.seen(), landmarks.confidence, np.float32(0)),
            topology_name=landmarks.topology_name,
            space=landmarks.space,
        )

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
        sampler: str | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> U8:
        """The crops of one shot with the mouth of `target`; frames whose target is NaN come back as they are."""
        take = Take(frames=frames, target=target, references=references, seed=seed)
        sampling = Sampling(steps=steps, guidance=guidance, batch_size=batch_size)
        return self.render_all([take], sampling, sampler=sampler, on_progress=on_progress)[0]

    def render_all(
        self,
        takes: Sequence[Take],
        sampling: Sampling | None = None,
        *,
        sampler: str | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> list[U8]:
        """Several shots, of one title or of many, in shared batches; each is what it is alone (see `rendering.py`).

        `sampler` is one of SAMPLERS; None: the pipeline's `scheduler`. `on_progress` hears how many frames are done.
        """
        return self._renderer.render(takes, self._scheduler(sampler), sampling or Sampling(), on_progress)

    def __call__(
        self,
        shots: Shot | ClipSample | Sequence[Shot | ClipSample],
        *,
        steps: int = 4,
        guidance: float = 1.0,
        batch_size: int = 8,
        sampler: str | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> list[DubbedClip]:
        """The whole of it, for one shot or for several at once. A clip by itself says what it says: see `Shot.of`."""
        listed = [shots] if isinstance(shots, Shot | ClipSample) else shots
        sampling = Sampling(steps=steps, guidance=guidance, batch_size=batch_size)
        takes = [self._take(Shot.of(shot) if isinstance(shot, ClipSample) else shot) for shot in listed]
        made = self.render_all(takes, sampling, sampler=sampler, on_progress=on_progress)
        return [DubbedClip(frames=m, landmarks=take.target) for m, take in zip(made, takes, strict=True)]

    # -- inside --------------------------------------------------------------------------------------------------------

    def _take(self, shot: Shot) -> Take:
        """The shot with its mouth decided."""
        shot.check(self.condition)
        references = shot.references or self.choose_references(shot.frames, shot.landmarks)
        return Take(
            frames=shot.frames,
            target=self.predict_landmarks(shot.features, shot.times_s, shot.landmarks, references),
            references=references,
            seed=shot.seed,
            times_s=shot.times_s,
            features=shot.features,
            name=shot.name,
        )

    def _scheduler(self, name: str | None) -> Any:
        if name is None:
            return self.scheduler
        if name not in SAMPLERS:
            raise RequestError("unknown sampler", field="sampler", value=name, choices=SAMPLERS)
        knobs = {**self.config_.diffusion.model_dump(), "sampler": name}
        return scheduler_of(DiffusionConfig.model_validate(knobs))


def _refused(name: str, why: str) -> RequestError:
    return RequestError(f"not here: {why}", field=name)
