"""Adapting completion to one title: its own picture and its own speech are pairs of the very people who are dubbed.

Owns which of the title's clips teach and which judge, the judgement, and whether what was learned is kept. How a
network is trained is `training/`'s; which clips are worth reading and where weights are kept, the caller's.

What is learned is kept only if it helps in a part of the title that was not learned from. That part is asked twice:

    distance      the lips on the faces as they are: how near does the mouth come to this person's
    correlation   the mouth's opening on the faces turned round by parts of the clip, under speech that stays: nothing
                  can be read off a head that nods along with the words, since a dub has other words under it

T frames, P points, N reference faces.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from model import pretrained
from model.batch import FRAME_S, audio_columns
from model.choice import spread_by_opening
from model.completion import complete
from model.config import AutoencoderConfig, Config, DenoiserConfig
from model.errors import NonFinite, NonFiniteWeights
from model.landmarks import at_times, filled, opening, to_px, to_units
from model.metrics import lip_distance, opening_correlation
from model.networks import Networks
from model.training.clips import ListedClips
from model.training.config import FLOOR, WEIGHTS, StageConfig, TrainConfig
from model.training.loop import train
from shards.schema import ClipSample, FrameTimes, Landmarks

SIDE_PX = 16
"""Crops while adapting: completion knows landmarks in units of the crop and never looks at a picture."""
LEAST_FRAMES = 25
"""A clip in which the face is seen for less than a second neither teaches nor judges."""
HELD_OUT = 0.2
"""Share of the title that judges: its last."""
TURNS = (0.25, 0.5, 0.75)
"""Of a clip. On a few seconds one turn alone tells a gain of 0.1 from none only by luck; three together do."""
MAY_FALL = 0.01
"""Of a correlation: so much is chance on a few seconds."""
_SAME_SHOT = 0.15
"""How much further from that share a cut may lie in order to fall between two shots."""


class AdaptSettings(Config):
    """How completion is adapted. The defaults are what paid on people that the model had never seen."""

    steps: int = Field(60, ge=1, description="of 8 windows of a second each")
    rate: float = Field(1e-4, gt=0, description="AdamW's learning rate after a warm-up of 10 steps")
    min_gain: float = Field(0.01, ge=0, lt=1, description="share by which the held-out lips must come nearer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Completion alone on the held-out part; means over its clips, longer ones counting for more."""

    lip_distance: float
    """Eye distances, on the faces as they are."""
    correlation: float
    """Of the mouth's opening, on faces turned round."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Adaptation:
    """What came of it."""

    weights: Mapping[str, Tensor] | None
    """Of completion; None where the model stays as it is."""
    before: Figures | None
    """None where there was nothing to judge by."""
    after: Figures | None
    steps: int
    """Trained."""
    seconds_of_speech: float
    """Learned from."""
    why: str
    """Why it is kept or not, for people."""

    def told(self) -> dict[str, Any]:
        """All but the weights, as plain values."""
        figures = {"before": self.before, "after": self.after}
        return {name: asdict(value) if value is not None else None for name, value in figures.items()} | {
            "kept": self.weights is not None,
            "steps": self.steps,
            "seconds_of_speech": round(self.seconds_of_speech, 2),
            "why": self.why,
        }


def adapt(networks: Networks, clips: Iterable[ClipSample], settings: AdaptSettings, seed: int) -> Adaptation:
    """Fine-tunes a copy of completion on the clips of one title; `networks` stay as they are.

    Pictures are dropped clip by clip as they come, so an hour of a title costs no more memory than its landmarks. On
    the CPU the same clips, weights and number of threads give the same bytes.
    """
    alone = _alone(networks)
    usable = [clip for clip in map(without_picture, clips) if _is_usable(clip, alone)]
    taught, judged = parted(usable)
    people = _faces(taught, alone)
    judged = [clip for clip in judged if clip.identity in people]
    seconds = sum(len(clip.frames) for clip in taught) * FRAME_S
    if not judged:
        return _left(seconds, f"{len(usable)} clips can be used: too few to learn from some and be judged by others")
    before = judge(alone, judged, people)
    if not _is_told(before):
        return _left(seconds, "nobody's mouth moves in the held-out part, so nothing can be judged by it")
    try:
        learned = _taught(alone, taught, settings, seed)
    except (NonFinite, NonFiniteWeights) as error:
        return _left(seconds, f"training broke off: {error}", before)
    after = judge(learned, judged, people)
    is_kept, why = _verdict(before, after, settings)
    return Adaptation(
        weights=dict(learned.completion.state_dict()) if is_kept else None,
        before=before,
        after=after if _is_told(after) else None,
        steps=settings.steps,
        seconds_of_speech=seconds,
        why=why,
    )


def adapted(networks: Networks, weights: Mapping[str, Tensor]) -> Networks:
    """The same networks with this completion; the large ones are shared, not copied."""
    twin = Networks.__new__(Networks)
    nn.Module.__init__(twin)
    twin.config = networks.config
    for name, part in networks.named_children():
        twin.add_module(name, part)
    twin.completion = deepcopy(networks.completion)
    twin.completion.load_state_dict(weights)
    return twin.eval()


# -- which clips -------------------------------------------------------------------------------------------------------


def without_picture(clip: ClipSample) -> ClipSample:
    """The clip on completion's clock, its faces in the smallest crop and no picture."""
    have_s = clip.times.seconds()
    count = math.floor(have_s[-1] / FRAME_S + 1e-6) + 1
    ticks_s = np.arange(count) * FRAME_S
    nearest = np.abs(have_s[None] - ticks_s[:, None]).argmin(axis=1)
    shrink = SIDE_PX / clip.frames.shape[1]
    points = to_px(to_units(at_times(clip.landmarks, have_s, ticks_s), clip.frames.shape[1]), SIDE_PX)
    matrices = clip.transform.matrices[nearest] * shrink
    matrices[:, :, 2] += (shrink - 1) / 2  # pixel centres are at integers
    return replace(
        clip,
        frames=np.zeros((count, SIDE_PX, SIDE_PX, 3), np.uint8),
        times=FrameTimes(pts=np.arange(count, dtype=np.int64), base=Fraction(1, round(1 / FRAME_S))),
        landmarks=replace(
            clip.landmarks,
            points=points.astype(np.float32),
            confidence=clip.landmarks.confidence[nearest],
        ),
        transform=replace(clip.transform, matrices=matrices, size_px=SIDE_PX),
    )


def _is_usable(clip: ClipSample, networks: Networks) -> bool:
    """Whether enough of a face is seen, under a sound that is made of numbers; refuses a clip of another condition."""
    condition = networks.config.condition
    condition.check_sample(clip)
    heard = all(np.isfinite(clip.feature(name).values).all() for name in condition.features)
    return heard and int(clip.landmarks.seen().sum()) >= LEAST_FRAMES


def parted(clips: Sequence[ClipSample]) -> tuple[list[ClipSample], list[ClipSample]]:
    """(learned from, judged by): the last HELD_OUT by time, whole clips, parted between two shots where any is near."""
    row = sorted(clips, key=lambda clip: (clip.provenance.span.start.seconds, clip.key))
    if len(row) < 2:
        return row, []
    lengths = np.array([len(clip.frames) for clip in row])
    far = np.abs(np.cumsum(lengths)[:-1] / lengths.sum() - (1 - HELD_OUT))
    in_shot = np.zeros(len(row) - 1, dtype=bool)
    for later in range(1, len(row)):
        for earlier in range(later):
            if _continues(row[earlier], row[later]):
                in_shot[earlier:later] = True
    at = int(np.argmin(far + _SAME_SHOT * in_shot)) + 1
    return row[:at], row[at:]


def _continues(before: ClipSample, after: ClipSample) -> bool:
    """Whether a clip goes on, without a moment between, where the other left the face."""
    gap_s = after.provenance.span.start.seconds - before.provenance.span.end.seconds
    if before.identity != after.identity or abs(gap_s) > Fraction(1, 1000):
        return False
    last = len(before.transform) - 1
    middle = np.full((1, 1, 2), (SIDE_PX - 1) / 2)
    moved = after.transform.slice(0, 1).to_crop(before.transform.slice(last, last + 1).to_source(middle)) - middle
    return bool(np.abs(moved).max() < SIDE_PX / 10)


# -- the judgement -----------------------------------------------------------------------------------------------------


def _faces(clips: Sequence[ClipSample], networks: Networks) -> dict[str, Tensor]:
    """Identity -> (N, P, 2) reference faces, chosen as dubbing does from all that is seen of the person."""
    count, found = networks.config.completion.num_references, {}
    for identity in {clip.identity: None for clip in clips}:
        points = [clip.landmarks.points[clip.landmarks.seen()] for clip in clips if clip.identity == identity]
        seen = np.concatenate(points)
        chosen = seen[spread_by_opening(opening(seen, clips[0].landmarks.topology), count)]
        found[identity] = torch.from_numpy(to_units(chosen, SIDE_PX)).to(networks.device)
    return found


@torch.inference_mode()
def judge(networks: Networks, clips: Sequence[ClipSample], people: Mapping[str, Tensor]) -> Figures:
    """Completion alone on clips without pictures; the faces of `people` show how their mouths go."""
    lengths = np.array([clip.landmarks.seen().sum() for clip in clips], dtype=np.float64)
    near = [lip_distance(_completed(networks, clip, people, turn=0), clip.landmarks) for clip in clips]
    timely = [
        [opening_correlation(_completed(networks, clip, people, turn=turn), clip.landmarks) for turn in TURNS]
        for clip in clips
    ]
    return Figures(
        lip_distance=_mean(np.array(near), lengths),
        correlation=_mean(np.array(timely).T, np.tile(lengths, (len(TURNS), 1))),
    )


def _completed(networks: Networks, clip: ClipSample, people: Mapping[str, Tensor], *, turn: float) -> Landmarks:
    """The clip's speech, spoken by its faces that come later by this share of the clip."""
    by = int(turn * len(clip.frames))
    points = torch.from_numpy(to_units(clip.landmarks.points, SIDE_PX)).roll(by, 0)
    lm_TP2, seen_T = (x.to(networks.device) for x in filled(points))
    audio_TWC = audio_columns(clip.features, clip.times.seconds(), networks.config).to(networks.device)
    made = complete(networks.completion, audio_TWC, lm_TP2, seen_T, people[clip.identity]).cpu().numpy()
    return replace(clip.landmarks, points=to_px(made, SIDE_PX).astype(np.float32))


def _mean(values: np.ndarray, weights: np.ndarray) -> float:
    """Of the values that are numbers; NaN if none is."""
    told = np.isfinite(values)
    return float(np.average(values[told], weights=weights[told])) if told.any() else math.nan


def _is_told(figures: Figures) -> bool:
    return math.isfinite(figures.lip_distance) and math.isfinite(figures.correlation)


def _verdict(before: Figures, after: Figures, settings: AdaptSettings) -> tuple[bool, str]:
    """(kept, why)."""
    if not _is_told(after):
        return False, "after it the mouth does not move in the held-out part"
    gain = 1 - after.lip_distance / before.lip_distance
    said = f"held-out lips {abs(gain):.1%} {'nearer' if gain >= 0 else 'further off'}"
    said += f", correlation of the opening {before.correlation:.2f} -> {after.correlation:.2f}"
    if gain < settings.min_gain:
        return False, f"{said}; at least {settings.min_gain:.0%} nearer is asked"
    if after.correlation < before.correlation - MAY_FALL:
        return False, f"{said}; it must not fall"
    return True, said


def _left(seconds: float, why: str, before: Figures | None = None) -> Adaptation:
    return Adaptation(weights=None, before=before, after=None, steps=0, seconds_of_speech=seconds, why=why)


# -- the training ------------------------------------------------------------------------------------------------------


def _alone(networks: Networks) -> Networks:
    """A copy of completion beside picture networks of next to nothing: training takes whole models, of any size."""
    config = networks.config
    small = config.model_copy(
        update={
            "condition": config.condition.model_copy(update={"crop_px": SIDE_PX}),
            "autoencoder": AutoencoderConfig(channels=(8, 8), norm_groups=4),
            "denoiser": DenoiserConfig(
                channels=(8,), attention=(False,), head_dim=8, landmark_width=8, norm_groups=4, num_references=1
            ),
        }
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        alone = Networks(small)
    alone.completion.load_state_dict(networks.completion.state_dict())
    return alone.to(networks.device).eval().requires_grad_(False)


def _taught(alone: Networks, clips: Sequence[ClipSample], settings: AdaptSettings, seed: int) -> Networks:
    """What the completion stage makes of it in so many steps; nothing of the run outlives the call."""
    off = StageConfig(steps=0, rate=settings.rate)
    with tempfile.TemporaryDirectory(prefix="dubwright-adapt-") as scratch:
        begin, out = Path(scratch, "begin"), Path(scratch, "out")
        pretrained.save(begin, alone, trained={}, card={}, half=False)
        config = TrainConfig(
            model=alone.config,
            seed=seed,
            weights=WEIGHTS,
            # The title is one voice and the dub another: what is learned from many variations of it serves others too.
            augment=True,
            other_pose=1.0,
            autoencoder=off,
            completion=StageConfig(
                steps=settings.steps, rate=settings.rate, clips=4, windows=2, warmup=10, floor=FLOOR
            ),
            diffusion=off,
            joint=off,
            start_from=str(begin),
            checkpoint_every=settings.steps + 1,
            device=str(alone.device),
        )
        if not train(config, ListedClips(clips, seed=seed), out).finished:
            raise KeyboardInterrupt("adapting was interrupted")
        learned, _ = pretrained.load(out)
    return learned.to(alone.device)
